#!/usr/bin/env python3
"""How moai-run trains: its log, split runs that give the losses of one device, which devices it takes, its data, learning rates, metrics and pictures."""
import csv
import errno
import json
import math
import os
import pty
import re
import shutil
import struct
import subprocess
import unittest

from tools import GRAPHS, read_safetensors, tensor_of, write_safetensors
from training import STEP, TWO_STAGES, TrainingTestCase, parse_picture, random_samples

PLANNER = [
    r"The number of candidates is \d+\.",
    r"Parallel Graph Compile start\.\.\.",
    r"Elapsed Time to compile all candidates = \d+ \[ms\]",
    r"Parallel Graph Compile finished\.",
    r"The number of possible candidates is \d+\.",
    r"SelectBestGraphFromCandidates start\.\.\.",
    r"Elapsed Time to compute cost for survived candidates = \d+ \[ms\]",
    r"SelectBestGraphFromCandidates finished\.",
    r"Configuration for parallelism is selected\.",
]


class Log(TrainingTestCase):
    def test_the_lines_of_the_platform_in_their_order(self):
        for accelerator, nodes, chosen in (("Large.256GB", 1, "No PP, No TP, "), ("4xlarge", 4, "num_stages : 4, num_micro_batches : ")):
            done = self.train("--steps=2", f"--accelerator={accelerator}", "--maf=24.2" if nodes > 1 else "--maf=24.5", batch=16)
            name = {1: "Large.256GB", 4: "4xLarge.2048GB"}[nodes]
            expected = [
                rf"{re.escape(str(self.text))}: 112 samples of 16 tokens \(text, a byte a token\)",
                rf"Requesting MoAI Accelerator {re.escape(name)}\.\.\.",
                r"Initializing MoAI Accelerator\.\.\.",
                *(rf"\[{node + 1}/{nodes}\] Connecting to virtual node {node} on this machine\.\.\." for node in range(nodes)),
                r"MoAI Accelerator is ready to use\.",
                *PLANNER,
                rf"{chosen}.*, No TP, recomputation : .*, distribute_param : (true|false).*" if nodes > 1 else rf"{chosen}recomputation : .*",
                "train: true",
            ]
            self.assertEqual(len(done.log), len(expected), done.errors)
            for line, pattern in zip(done.log, expected):
                self.assertRegex(line, rf"\A{pattern}\Z")
            for line in done.errors.splitlines():
                self.assertRegex(line, r"\A\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] \[info\] ")

    def test_steps_on_standard_output_with_losses_that_fall(self):
        done = self.train("--steps=30", "--accelerator=Large.256GB", f"--save={self.folder}/trained")
        lines = done.printed.splitlines()
        self.assertEqual(len(lines), 32)
        for number, line in enumerate(lines[:30], 1):
            step = re.fullmatch(STEP, line)
            self.assertTrue(step, line)
            self.assertEqual((int(step[1]), int(step[2]), step[6]), (number, 30, "tokens"))
            self.assertAlmostEqual(8 * 16 / float(step[4]) / float(step[5]), 1, delta=0.05)
        self.assertRegex(lines[30], r"\A\S+ \S+ \| INFO \| Training Done\Z")
        self.assertRegex(lines[31], rf"\A\S+ \S+ \| INFO \| Model saved in {re.escape(str(self.folder))}/trained\Z")
        self.assertLess(done.losses[-1], 0.8 * done.losses[0])
        self.assertFalse("\033" in done.printed + done.errors or "\r" in done.printed + done.errors)
        tensors, _ = read_safetensors(self.folder / "trained/model.safetensors")
        self.assertIn("transformer.h.0.attn.c_attn.weight", {name.removeprefix("model.") for name in tensors})

    def test_samples_per_second_where_there_is_no_sequence(self):
        done = self.train("--steps=1", "--accelerator=none", model="tiny-vit", data=self.write_images(8))
        self.assertEqual(re.match(STEP, done.printed)[6], "samples")

    def test_a_bar_with_the_time_left_on_a_terminal(self):
        terminal, end = pty.openpty()
        process = subprocess.Popen(self.command("--steps=12", "--accelerator=none"), stdout=subprocess.PIPE, stderr=end, text=True, env=self.environment)
        os.close(end)
        seen = b""
        try:
            while data := os.read(terminal, 65536):
                seen += data
        except OSError as error:
            self.assertEqual(error.errno, errno.EIO)  # how Linux says that the other end is closed
        os.close(terminal)
        printed = process.stdout.read()
        process.stdout.close()
        self.assertEqual(process.wait(), 0)
        bars = re.findall(r"\[=*>? *\] (\d+)/12, (-:--|\d+:\d\d) left", seen.decode())
        self.assertGreaterEqual({int(done) for done, _ in bars}, set(range(1, 13)))
        # Nothing of it is left over, and standard output, which is no terminal, stays plain.
        self.assertTrue(seen.decode().endswith("\r\033[K"), seen[-100:])
        self.assertEqual(len(printed.splitlines()), 13)
        self.assertNotIn("\033", printed)

    def test_every_tenth_step_and_the_last(self):
        done = self.train("--steps=25", "--accelerator=none", "--log-every=10")
        self.assertEqual(done.steps, [10, 20, 25])

    def test_an_epoch_by_default_or_so_many(self):
        data = self.folder / "ids"
        data.write_text("\n".join(" ".join(map(str, sample)) for sample in random_samples(20)))
        self.assertEqual(len(self.train("--accelerator=none", data=data).steps), 3)
        self.assertEqual(len(self.train("--accelerator=none", "--epochs=4", data=data).steps), 10)
        # A number of steps beyond every counter is refused or begun, never another number.
        process = subprocess.Popen(self.command(f"--epochs={1 << 40}", "--accelerator=none"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   text=True, env=self.environment)
        line = process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        self.assertRegex(line, rf"\[Step 1/{(1 << 40) * 112 // 8}\] ")


class SplitRuns(TrainingTestCase):
    """The losses of one device, however the step is split."""

    SPLITS = (("--accelerator=Large.256GB",), ("--accelerator=4xLarge.2048GB", "--maf=24.2"), (TWO_STAGES,), ("--config=num_micro_batches=8",),
              ("--config=data_parallel=4,zero=1",), ("--accelerator=4xLarge.2048GB", "--config=num_stages=2,num_micro_batches=2,data_parallel=16,zero=1"),
              ("--config=num_stages=4,num_micro_batches=8,recomputation=full",))

    def check(self, splits=SPLITS, **options):
        one = self.train("--steps=4", "--seed=3", "--accelerator=none", "--precision=exported", **options)
        self.assertLess(one.losses[-1], one.losses[0])
        for split in splits:
            with self.subTest(split=split):
                done = self.train("--steps=4", "--seed=3", "--precision=exported", *split, **options)
                self.assert_same_losses(done.losses, one.losses)
                self.assertEqual(done.warnings, [])

    def test_gpt2(self):
        self.check(batch=32)

    def test_gpt2_with_dropout(self):
        self.check(model="tiny-gpt2-dropout", batch=32)

    def test_bert(self):
        self.check(model="tiny-bert", batch=32, data=self.write_tokens(random_samples(48)[:16] * 3))

    def test_vit(self):
        self.check(model="tiny-vit", batch=32, data=self.write_images(32))

    def test_the_same_bytes_on_any_number_of_threads(self):
        for precision in ("mixed", "exported"):
            for number, threads in enumerate((1, 2, 7)):
                self.train("--steps=4", TWO_STAGES, f"--precision={precision}", f"--threads={threads}", f"--save={self.folder}/{number}")
            for file in ("model", "training"):
                self.assertEqual(len({self.saved(str(number), file) for number in range(3)}), 1)


class Devices(TrainingTestCase):
    def taken(self, *arguments, **variables):
        done = self.train("--steps=1", *arguments, batch=32, **variables)
        return re.search(r"Requesting MoAI Accelerator (\S+)\.\.\.\n", done.errors)[1], done.log[-2]

    def test_the_given_over_the_environment_over_the_chosen_one(self):
        self.assertEqual(self.taken()[0], "xLarge.512GB")
        self.assertEqual(self.switch("Large.256GB")[0], 0)
        self.assertEqual(self.taken()[0], "Large.256GB")
        self.assertEqual(self.taken(MOAI_ACCELERATOR="medium")[0], "Medium.128GB")
        self.assertEqual(self.taken("--accelerator=Small.64GB", MOAI_ACCELERATOR="medium")[0], "Small.64GB")
        self.assertEqual(self.taken("--accelerator=none", MOAI_ACCELERATOR="medium"),
                         ("Small.64GB", "No PP, No TP, recomputation : none(0), distribute_param : false, distribute_low_prec_param : true"))

    def test_exactly_those_of_a_configuration(self):
        self.switch("4xLarge.2048GB")
        for config, name in (("num_stages=2,data_parallel=2,num_micro_batches=4", "Large.256GB"), ("data_parallel=8", "xLarge.512GB"), ("num_micro_batches=4", "Small.64GB"),
                             ("num_stages=3", ":3")):
            for variables in ({}, {"MOAI_ACCELERATOR": "48xLarge"}, {"MOAI_ACCELERATOR": "nonsense"}):
                self.assertTrue(self.taken(f"--config={config}", **variables)[0].endswith(name))
        self.assertEqual(self.taken("--config=num_stages=2,num_micro_batches=4", "--accelerator=Large.256GB")[0], "Large.256GB")
        self.assert_refused(r"--config=data_parallel=3: ", "--config=data_parallel=3", "--accelerator=Large.256GB")
        self.assert_refused(r"--config=num_stages=0: ", "--config=num_stages=0", code=1)
        self.assert_refused(r"the configuration can.t be compiled: the graph has 12 ops to put on 64 stages\Z", "--config=num_stages=64")

    def test_without_data_it_is_the_bare_graph(self):
        self.switch("4xLarge.2048GB")
        for arguments in ((), ("--accelerator=none",), (TWO_STAGES,)):
            done = self.outcome("--steps=3", *arguments, data=None, MOAI_ACCELERATOR="nonsense" if arguments else "48xLarge")
            self.assertEqual((done.code, done.errors), (0, ""))
            self.assertRegex(done.printed, r"\A(Loss: \d+\.\d+\n){3}\Z")

    def test_contradictions(self):
        text = f"--data={self.text}"
        for expected, arguments in ({
            "--config runs one configuration, so --maf contradicts it; leave one of them out": (text, "--config=num_stages=2", "--maf=24.2"),
            "--config runs one configuration, so --space contradicts it; leave one of them out": (text, "--config=num_stages=2", "--space=moai"),
            "--accelerator=none is one plain device, so --config contradicts it; leave one of them out": (text, "--accelerator=none", "--config=num_stages=2"),
            "--data gives every step another batch, so --inputs contradicts it; leave one of them out": (text, "--inputs=x.safetensors"),
            "--data gives every step another batch, so --save-step contradicts it; leave one of them out": (text, "--save-step=x.safetensors"),
            "--steps and --epochs contradict each other; give one of them": (text, "--steps=1", "--epochs=1"),
            "--load has weights of its own, so --weights contradicts it; leave one of them out": (text, "--load=x", "--weights=y"),
            "--checkpoint-every needs a folder to write to; give --save as well": (text, "--checkpoint-every=1"),
            "--eval-every needs samples; give --eval-data as well": (text, "--eval-every=1"),
            "--data names nothing; leave it out, or give it a value": ("--data=",),
            "--save names nothing; leave it out, or give it a value": (text, "--save="),
            "--speed is for --dry-run; give that as well": (text, "--speed=2"),
            "--accelerator=Large.256GB is for training on --data, or for --dry-run; give one of them, or none to run the graph as it was exported": ("--accelerator=Large.256GB",),
        } | {f"--{flag.partition('=')[0]} is for training on --data; give that as well": (f"--{flag}",)
             for flag in ("data-format=text", "epochs=1", "eval-data=x", "eval-every=1", "lr-schedule=linear", "warmup-steps=1", "save=x", "load=x", "checkpoint-every=1",
                          "log-every=1", "metrics=x", "plot=x", "space=moai", "maf=24.2", "memory-ratio=0.5")}).items():
            self.assert_refused(rf"error: {re.escape(expected)}; see moai-run --help\Z", *arguments, code=2, data=None)

    def test_values_that_are_none(self):
        for flag in ("steps=0", "epochs=0", "seed=-1", "log-every=0", "checkpoint-every=0", "eval-every=0", "warmup-steps=-1", "learning-rate=-1", "learning-rate=nan",
                     "memory-ratio=0", "memory-ratio=1.1", "device-memory=few", "lr-schedule=step", "data-format=csv", "maf=1", "space=all", "threads=0",
                     "global-batch=0", "optimizer=lion", "precision=half"):
            self.assert_refused(rf"error: --{re.escape(flag)}(:| is not known;) ", f"--{flag}", code=2, batch=None)
        self.assert_refused("'9xLarge'", "--accelerator=9xLarge")


class Data(TrainingTestCase):
    def losses(self, data, *arguments, **options):
        return self.train("--steps=7", "--accelerator=none", *arguments, data=data, **options).losses

    def write_ids(self, samples, name="ids"):
        (self.folder / name).write_text("\n".join(" ".join(map(str, sample)) for sample in samples) + "\n")
        return self.folder / name

    def test_the_same_tokens_in_every_format(self):
        samples = [[32 + token % 90 for token in sample] for sample in random_samples(20)]
        flat = [token for sample in samples for token in sample]

        def npy(name, kind, shape, code):
            header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
            header += " " * (-(len(header) + 11) % 64) + "\n"
            (self.folder / name).write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + struct.pack(f"<{len(flat)}{code}", *flat))
            return self.folder / name

        (self.folder / "text").write_bytes(bytes(flat))
        for code, name in (("H", "16.bin"), ("I", "32.bin")):
            (self.folder / name).write_bytes(struct.pack(f"<{len(flat)}{code}", *flat))
        files = [self.write_ids(samples), self.folder / "16.bin", self.folder / "32.bin", npy("flat.npy", "<u2", f"({len(flat)},)", "H"),
                 npy("rows.npy", "<i8", f"({len(samples)}, 16)", "q"), self.write_tokens(samples)]
        expected = self.losses(self.folder / "text")
        for file in files:
            self.assertEqual(self.losses(file), expected, file)
        self.assertEqual(self.losses(self.folder / "16.bin", "--data-format=bin16"), expected)
        shutil.copy(files[0], self.folder / "ids.dat")
        self.assertEqual(self.losses(self.folder / "ids.dat", "--data-format=ids"), expected)
        self.assertNotEqual(self.losses(self.folder / "ids.dat", "--data-format=text"), expected)
        # A checkpoint of one goes on with another, for the samples are the same.
        self.train("--steps=3", "--accelerator=none", f"--save={self.folder}/saved", data=files[0])
        rest = self.train("--steps=7", "--accelerator=none", f"--load={self.folder}/saved", data=files[1])
        self.assertEqual(rest.losses, expected[3:])

    def test_each_sample_once_in_each_epoch(self):
        # 11 samples in batches of 8: epochs end in the middle of batches.
        samples = random_samples(11)
        one = self.losses(self.write_ids(samples), "--no-shuffle")
        self.assertEqual(one, self.losses(self.write_ids(samples * 6, "long"), "--no-shuffle"))
        self.assertNotEqual(one, self.losses(self.write_ids(samples[:10] * 6, "shorter"), "--no-shuffle"))
        # Batches of the whole epoch hold the same samples in any order, others don't.
        whole = [self.losses(self.folder / "ids", *arguments, batch=11)[:1] for arguments in (("--no-shuffle",), ("--seed=0",))]
        self.assertAlmostEqual(whole[0][0], whole[1][0], delta=1e-6 * whole[0][0])
        # Learning nothing, so that a loss is that of the samples: 11 batches of 8 hold each of the 11 samples 8 times, wherever epochs end.
        still = self.train("--steps=11", "--accelerator=none", "--learning-rate=0", "--weight-decay=0", "--seed=9", data=self.folder / "ids").losses
        alone = self.train("--steps=11", "--accelerator=none", "--learning-rate=0", "--weight-decay=0", "--seed=9", "--no-shuffle", data=self.folder / "ids", batch=1).losses
        self.assertAlmostEqual(sum(still) / 11, sum(alone) / 11, delta=2e-6 * sum(alone) / 11)
        self.assertEqual(len(set(still)), 11)

    def test_fewer_samples_than_a_batch(self):
        samples = random_samples(3)
        done = self.train("--steps=3", "--accelerator=none", "--no-shuffle", data=self.write_ids(samples))
        self.assertEqual(done.warnings, ["the data has 3 samples, so a batch of 8 holds some of them several times"])
        self.assertEqual(done.losses, self.train("--steps=3", "--accelerator=none", "--no-shuffle", data=self.write_ids(samples * 8, "long")).losses)

    def test_the_seed_changes_the_order(self):
        # Losses of nothing learned differ by the samples alone; weights are random by the seed too, so they come from the file.
        weights = f"--weights={GRAPHS.parent}/steps/tiny-gpt2.safetensors"
        orders = {seed: tuple(self.losses(self.text, f"--seed={seed}", "--learning-rate=0", weights)) for seed in (1, 2)}
        self.assertEqual(len({*orders[1], *orders[2]}), 14)
        self.assertEqual(tuple(self.losses(self.text, "--seed=1", "--learning-rate=0", weights)), orders[1])
        plain = [self.losses(self.text, f"--seed={seed}", "--no-shuffle", weights) for seed in (1, 2)]
        self.assertEqual(plain[0], plain[1])

    def test_an_input_that_the_graph_does_not_look_at(self):
        # The export of this model was given its labels for ids.
        samples = random_samples(20)
        both = self.write_tokens(samples)
        write_safetensors(self.folder / "labels.safetensors", {"labels": tensor_of("I64", [20, 16], [token for sample in samples for token in sample])})
        losses = {tuple(self.losses(file, model="tiny-gpt2-dropout")) for file in (both, self.folder / "labels.safetensors", self.write_ids(samples))}
        self.assertEqual(len(losses), 1)

    def test_what_is_no_data(self):
        few = random_samples(3)
        ids = self.write_ids([few[0], few[1][:5] + [256] + few[1][6:], few[2]])
        for expected, file in (
                (r"sample 1 \(line 2\) has the token 256 at position 5, the model's vocabulary has 256 ids\Z", ids),
                (r"nowhere: can't be read \(No such file or directory\)\Z", self.folder / "nowhere"),
                (r"is a directory; expected a file of samples\Z", self.folder)):
            self.assert_refused(expected, "--accelerator=none", data=file)
            self.assert_refused(expected, "--accelerator=none", f"--eval-data={file}")
        path = self.folder / "odd"
        path.write_text("")
        self.assert_refused(r"odd: is empty, a sample takes 16 tokens\Z", "--accelerator=none", data=path)
        path.write_text("fifteen letters")
        self.assert_refused(r"odd: has 15 tokens, a sample takes 16\Z", "--accelerator=none", data=path)
        path.write_text("1 2 3\n")
        self.assert_refused(r"odd: line 1 has 3 tokens, a sample takes 16\Z", "--accelerator=none", data=path)
        self.assert_refused(r"vocabulary|which tokens don't tell; give a \.safetensors file with all inputs\Z", "--accelerator=none", model="tiny-vit")
        tensors, _ = read_safetensors(self.write_tokens(few))
        tensors["labels"] = tensor_of("I64", [3, 16], [0] * 20 + [-7] + [0] * 27)
        write_safetensors(self.folder / "wrong.safetensors", tensors)
        self.assert_refused(r"sample 1 of tensor 'labels' has the id -7 at position 4, expected less than 256\Z", "--accelerator=none",
                            data=self.folder / "wrong.safetensors")

    def test_evaluations(self):
        held = self.folder / "held.txt"
        held.write_text("sphinx of black quartz, judge my vow! " * 12)
        arguments = ("--steps=9", f"--eval-data={held}", "--precision=exported")
        one = self.train("--accelerator=none", *arguments, "--eval-every=4")
        self.assertEqual(re.findall(r"\[Step (\d+)/9\] \| Evaluation loss", one.printed), ["4", "8", "9"])
        for line in one.printed.splitlines():
            if "Evaluation" in line:
                self.assertRegex(line, r"\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| INFO \| \[Step \d+/9\] \| Evaluation loss: \d+\.\d+\Z")
        self.assertLess(one.evaluations[-1], one.evaluations[0])
        for where in ("--accelerator=Large.256GB", TWO_STAGES):
            self.assert_same_losses(self.train(where, *arguments, "--eval-every=4").evaluations, one.evaluations)
        # Looking changes nothing.
        self.assertEqual(self.train("--accelerator=none", "--steps=9", "--precision=exported").losses, one.losses)
        self.assertEqual(len(self.train("--accelerator=none", *arguments).evaluations), 9)

    def test_evaluations_without_dropout(self):
        arguments = ("--steps=4", "--accelerator=none", f"--eval-data={self.text}", "--eval-every=1", "--learning-rate=0", "--weight-decay=0")
        done = self.train(*arguments, model="tiny-gpt2-dropout")
        self.assertEqual(len(done.evaluations), 4)
        self.assertEqual(len(set(done.evaluations)), 1)
        # While steps do drop: the same batch, the same weights, another loss.
        (self.folder / "one").write_bytes(self.text.read_bytes()[:16])
        done = self.train(*arguments, data=self.folder / "one", model="tiny-gpt2-dropout")
        self.assertEqual(len(set(done.losses)), 4)

    def test_evaluation_data_of_less_than_a_batch(self):
        (self.folder / "short.txt").write_text("a" * 16 * 7)
        self.assert_refused("the evaluation data has 7 samples, less than one batch of 8; give more, or a smaller --global-batch", "--accelerator=none",
                            f"--eval-data={self.folder}/short.txt")


class Metrics(TrainingTestCase):
    HEADER = ["step", "loss", "seconds", "throughput", "learning_rate", "evaluation_loss"]

    def read(self, name="metrics.csv"):
        with open(self.folder / name, newline="") as file:
            header, *rows = csv.reader(file)
        self.assertEqual(header, self.HEADER)
        return rows

    def rates(self, *arguments, steps=12):
        self.train(f"--steps={steps}", "--accelerator=none", f"--metrics={self.folder}/metrics.csv", *arguments)
        rows = self.read()
        self.assertEqual([int(row[0]) for row in rows], list(range(1, steps + 1)))
        return [float(row[4]) for row in rows]

    def test_learning_rates(self):
        def check(rates, expected):
            self.assertEqual(len(rates), len(expected))
            for rate, other in zip(rates, expected):
                self.assertAlmostEqual(rate, other, delta=1e-8 * max(expected))

        check(self.rates(), [1e-3] * 12)
        check(self.rates("--learning-rate=0.02", "--lr-schedule=linear"), [0.02 * (1 - k / 12) for k in range(12)])
        check(self.rates("--lr-schedule=cosine"), [1e-3 * (1 + math.cos(math.pi * k / 12)) / 2 for k in range(12)])
        check(self.rates("--warmup-steps=4"), [1e-3 * min(1, k / 4) for k in range(12)])
        check(self.rates("--warmup-steps=4", "--lr-schedule=linear"), [1e-3 * (k / 4 if k < 4 else 1 - (k - 4) / 8) for k in range(12)])
        check(self.rates("--warmup-steps=4", "--lr-schedule=cosine", "--optimizer=sgd,learning_rate=0.5"),
              [0.5 * (k / 4 if k < 4 else (1 + math.cos(math.pi * (k - 4) / 8)) / 2) for k in range(12)])
        check(self.rates("--warmup-steps=20", "--lr-schedule=cosine"), [1e-3 * k / 20 for k in range(12)])

    def test_the_rate_is_what_the_optimizer_takes(self):
        # Of SGD, twice the rate makes a first step twice as long; a warm-up makes none.
        weights = {}
        for name, arguments in {"none": ("--learning-rate=0",), "one": ("--learning-rate=0.1",), "two": ("--learning-rate=0.2",), "warm": ("--warmup-steps=1",)}.items():
            self.train("--steps=1", "--accelerator=none", "--optimizer=sgd", f"--save={self.folder}/{name}", *arguments)
            kind, _, data = read_safetensors(self.folder / name / "model.safetensors")[0]["model.transformer.wte.weight"]
            weights[name] = memoryview(data).cast("f")
        self.assertEqual(weights["warm"], weights["none"])
        moved = [(one - none, two - none) for none, one, two in zip(weights["none"], weights["one"], weights["two"])]
        self.assertAlmostEqual(sum(two * one for one, two in moved) / sum(one * one for one, two in moved), 2, delta=1e-3)

    def test_rows(self):
        done = self.train("--steps=6", "--accelerator=none", f"--metrics={self.folder}/metrics.csv", f"--eval-data={self.text}", "--eval-every=4", "--log-every=3")
        rows = self.read()
        self.assertEqual(done.steps, [3, 6])
        self.assertEqual([int(row[0]) for row in rows], [1, 2, 3, 4, 5, 6])
        self.assertEqual([float(rows[2][1]), float(rows[5][1])], done.losses)
        self.assertEqual([row[5] for row in rows], ["", "", "", f"{done.evaluations[0]:.9g}", "", f"{done.evaluations[1]:.9g}"])
        for row in rows:
            self.assertAlmostEqual(float(row[2]) * float(row[3]) / 128, 1, delta=1e-3)

    def test_a_resumed_run_keeps_the_rows_before(self):
        arguments = ("--accelerator=none", f"--metrics={self.folder}/metrics.csv", f"--eval-data={self.text}", "--eval-every=3", f"--save={self.folder}/saved",
                     "--checkpoint-every=2")
        self.train("--steps=9", *arguments)
        whole = [row[:2] + row[4:] for row in self.read()]
        self.train("--steps=5", *arguments)
        # Rows of steps that the checkpoint is before, and one that a kill has cut off.
        with open(self.folder / "metrics.csv", "a") as file:
            file.write("6,1,1,1,1,\n7,5.")
        self.train("--steps=9", *arguments, f"--load={self.folder}/saved")
        again = [row[:2] + row[4:] for row in self.read()]
        # The evaluation that ended the training of 5 steps is one more.
        self.assertEqual([row[:3] for row in again], [row[:3] for row in whole])
        self.assertEqual([row[0] for row in again if row[3]], ["3", "5", "6", "9"])
        self.assertEqual([row[0] for row in whole if row[3]], ["3", "6", "9"])
        (self.folder / "metrics.csv").write_text("a file of the user's")
        self.assert_refused(r"metrics\.csv: is no file of metrics that moai-run wrote, so it can't be gone on with; name another with --metrics\Z", "--steps=12", *arguments,
                            f"--load={self.folder}/saved")
        self.assertEqual((self.folder / "metrics.csv").read_text(), "a file of the user's")

    def test_a_picture(self):
        if not shutil.which("gnuplot"):
            self.assert_refused(r"--plot draws with gnuplot, which is not installed; ", f"--plot={self.folder}/losses.svg")
            self.skipTest("gnuplot is not installed")
        for arguments in (("--steps=5",), ("--steps=5", f"--eval-data={self.text}", "--eval-every=2"), ("--steps=1",)):
            done = self.train("--accelerator=none", *arguments, f"--plot={self.folder}/losses.svg")
            self.assertEqual(done.warnings, [])
            root, curves = parse_picture(self.folder / "losses.svg")
            self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
            if "--steps=1" not in arguments:
                self.assertTrue(curves)
            self.assertEqual("evaluation" in (self.folder / "losses.svg").read_text(), len(arguments) > 1)


class Weights(TrainingTestCase):
    def test_of_a_sharded_checkpoint(self):
        whole = GRAPHS.parent / "steps/tiny-gpt2.safetensors"
        tensors, _ = read_safetensors(whole)
        names = sorted(name for name in tensors if name.startswith("param."))
        shards, parts = {}, self.folder / "parts"
        parts.mkdir()
        for number in range(3):
            file = f"model-{number + 1:05}-of-00003.safetensors"
            write_safetensors(parts / file, {name.removeprefix("param.model."): tensors[name] for name in names[number::3]})
            shards |= {name.removeprefix("param.model."): file for name in names[number::3]}
        (parts / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": shards}))
        expected = self.train("--steps=2", "--accelerator=none", f"--weights={whole}").losses
        self.assertNotEqual(self.train("--steps=2", "--accelerator=none").losses, expected)
        for path in (parts, parts / "model.safetensors.index.json"):
            self.assertEqual(self.train("--steps=2", "--accelerator=none", f"--weights={path}").losses, expected)
        (parts / "model-00002-of-00003.safetensors").unlink()
        self.assert_refused(r"model-00002-of-00003\.safetensors", "--accelerator=none", f"--weights={parts}")
        # What a training saved, a folder of the same kind.
        self.train("--steps=2", "--accelerator=none", f"--weights={whole}", f"--save={self.folder}/saved")
        self.assertLess(self.train("--steps=2", "--accelerator=none", f"--weights={self.folder}/saved").losses[0], expected[0])


if __name__ == "__main__":
    unittest.main()
