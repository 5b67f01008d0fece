"""What the tests of training share: runs of moai-run that train, what they print, and samples for them."""
import random
import re
import subprocess
import xml.etree.ElementTree

from accelerators import UserTestCase
from tools import BIN, GRAPHS, tensor_of, write_safetensors

STEP = (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| INFO \| \[Step (\d+)/(\d+)\] \| Loss: ([0-9.e+-]+) \| Duration: (\d+\.\d{2}(?:\d\d)?)"
        r" \| Throughput: (\d+\.\d\d) (tokens|samples)/sec")
TWO_STAGES = "--config=num_stages=2,num_micro_batches=4,data_parallel=2,zero=1"


class Outcome:
    def __init__(self, code, printed, errors):
        self.code, self.printed, self.errors = code, printed, errors
        self.losses = [float(loss) for loss in re.findall(r"\| Loss: (\S+)", printed)]
        self.evaluations = [float(loss) for loss in re.findall(r"\| Evaluation loss: (\S+)", printed)]
        self.steps = [int(step) for step in re.findall(r"\[Step (\d+)/\d+\] \| Loss", printed)]
        self.log = [line.partition("] [info] ")[2] for line in errors.splitlines() if "] [info] " in line]
        self.warnings = [line.partition("] [warning] ")[2] for line in errors.splitlines() if "] [warning] " in line]

    def __repr__(self):
        return f"exit code {self.code}\n{self.printed}{self.errors}"


class TrainingTestCase(UserTestCase):
    def setUp(self):
        super().setUp()
        self.text = self.folder / "text.txt"
        self.text.write_text("the quick brown fox jumps over the lazy dog. " * 40)

    def command(self, *arguments, model="tiny-gpt2", data="text", batch=8):
        """Without data if that is None; the text unless a file is given."""
        data = self.text if data == "text" else data
        return [str(BIN / "moai-run"), str(GRAPHS / f"{model}.pt2"), *([f"--data={data}"] if data else []),
                *([f"--global-batch={batch}"] if batch else []), *map(str, arguments)]

    def outcome(self, *arguments, model="tiny-gpt2", data="text", batch=8, shell="", timeout=90, **variables):
        """Of a run that may fail; with a shell's words before it."""
        command = self.command(*arguments, model=model, data=data, batch=batch)
        if shell:
            command = ["bash", "-c", shell + ' exec "$@"', "bash", *command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=self.environment | variables)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments, steps=1000000, until=r"\[Step 1/", **options):
        """A run that goes on, after a line that says so."""
        process = subprocess.Popen(self.command(f"--steps={steps}", *arguments, **options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=self.environment)

        def end():
            process.kill()
            process.communicate()

        self.addCleanup(end)
        for line in process.stdout:
            if re.search(until, line):
                return process
        raise AssertionError(process.stderr.read())

    def stop(self, process, number):
        """What it printed since, its log, and its exit code."""
        process.send_signal(number)
        printed, errors = process.communicate(timeout=60)
        return printed, errors, process.returncode

    def train(self, *arguments, **options):
        """Of a run that must not."""
        done = self.outcome(*arguments, **options)
        self.assertEqual(done.code, 0, done)
        self.assertIn("| INFO | Training Done\n", done.printed)
        return done

    def assert_refused(self, expected, *arguments, code=1, **options):
        """One sentence, and nothing of the run before it where it is wrong usage."""
        done = self.outcome(*arguments, **options)
        self.assertEqual(done.code, code, done)
        told = [line for line in done.errors.splitlines() if "error" in line]
        self.assertEqual(len(told), 1, done)
        self.assertRegex(told[0], r"\Amoai-run: error: ")
        self.assertRegex(told[0], expected)
        self.assertEqual(done.losses, [], done)
        self.assertNotIn("Training Done", done.printed)
        return done

    def assert_same_losses(self, some, others, most=1e-6):
        self.assertEqual(len(some), len(others))
        self.assertTrue(some)
        for one, other in zip(some, others):
            self.assertLessEqual(abs(one - other), most * abs(other), (some, others))

    def saved(self, name, file="model"):
        return (self.folder / name / f"{file}.safetensors").read_bytes()

    def write_tokens(self, samples, name="tokens.safetensors", labels=None):
        """input_ids and labels of equally long samples."""
        flat, shape = [token for sample in samples for token in sample], [len(samples), len(samples[0])]
        marks = flat if labels is None else [token for sample in labels for token in sample]
        write_safetensors(self.folder / name, {"input_ids": tensor_of("I64", shape, flat), "labels": tensor_of("I64", shape, marks)})
        return self.folder / name

    def write_images(self, count, name="images.safetensors", classes=10):
        chance = random.Random(5)
        pixels = [chance.gauss(0, 1) for _ in range(count * 3 * 32 * 32)]
        write_safetensors(self.folder / name, {"input.pixel_values": tensor_of("F32", [count, 3, 32, 32], pixels),
                                               "input.labels": tensor_of("I64", [count], [chance.randrange(classes) for _ in range(count)])})
        return self.folder / name


def random_samples(count, length=16, vocabulary=256, seed=1):
    chance = random.Random(seed)
    return [[chance.randrange(vocabulary) for _ in range(length)] for _ in range(count)]


def parse_picture(path):
    """The root of an SVG, and its paths with more than one point."""
    root = xml.etree.ElementTree.parse(path).getroot()
    return root, [element for element in root.iter("{http://www.w3.org/2000/svg}path") if "L" in element.get("d", "") or " l" in element.get("d", "")]
