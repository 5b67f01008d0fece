#!/usr/bin/env python3
"""Trainings that go on: to the bit or elsewhere to rounding, after kills, full disks and damage; never from a wrong state."""
import json
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

from tools import GRAPHS, read_safetensors, tensor_of, write_safetensors
from training import TWO_STAGES, TrainingTestCase, random_samples

KILLS = int(os.environ.get("MOAI_TEST_KILLS", "50"))


class Resuming(TrainingTestCase):
    def check_to_the_bit(self, *arguments, **options):
        folder = self.folder
        whole = self.train("--steps=6", *arguments, f"--save={folder}/whole", **options)
        self.train("--steps=6", *arguments, f"--save={folder}/again", **options)
        half = self.train("--steps=3", *arguments, f"--save={folder}/half", **options)
        rest = self.train("--steps=6", *arguments, f"--load={folder}/half", f"--save={folder}/rest", **options)
        self.assertEqual(half.losses + rest.losses, whole.losses)
        self.assertEqual(rest.steps, [4, 5, 6])
        for file in ("model", "training"):
            self.assertNotEqual(self.saved("half", file), self.saved("whole", file))
            self.assertTrue(self.saved("rest", file) == self.saved("whole", file) == self.saved("again", file), file)
        self.assertEqual(sorted(path.name for path in (folder / "rest").iterdir()), ["model.safetensors", "training.safetensors"])

    def test_to_the_bit(self):
        for arguments in (("--accelerator=Large.256GB",), (TWO_STAGES, "--seed=5"), ("--accelerator=none", "--no-shuffle", "--dtype=float64")):
            self.check_to_the_bit(*arguments)

    def test_with_dropout(self):
        # Another seed of its masks is another training.
        self.check_to_the_bit(TWO_STAGES, "--seed=7", model="tiny-gpt2-dropout")
        other = self.train("--steps=6", TWO_STAGES, "--seed=8", f"--save={self.folder}/other", model="tiny-gpt2-dropout")
        self.assertNotEqual(self.saved("other"), self.saved("whole"))
        self.assertEqual(len(other.losses), 6)

    def test_with_mixed_precision(self):
        self.check_to_the_bit(TWO_STAGES, "--precision=mixed")
        self.check_to_the_bit("--accelerator=none", "--precision=mixed,parameter=bf16", model="tiny-bert")

    def test_with_momentum(self):
        self.check_to_the_bit(TWO_STAGES, "--optimizer=sgd,momentum=0.9", "--learning-rate=0.05")
        self.check_to_the_bit("--accelerator=none", "--optimizer=sgd", "--learning-rate=0.05")

    def test_with_buffers_that_steps_change(self):
        self.check_to_the_bit("--accelerator=none", model="family-cnn", data=self.write_images(20), batch=6)

    def test_in_the_middle_of_an_epoch_with_evaluations(self):
        data = self.folder / "ids"
        data.write_text("\n".join(" ".join(map(str, sample)) for sample in random_samples(13)))
        self.check_to_the_bit("--accelerator=none", f"--eval-data={data}", "--eval-every=2", data=data)

    def test_weights_that_are_not_trained_and_came_from_a_file(self):
        # The archive's are others: what a step doesn't change is part of what it depends on.
        samples = [[token % 32 for token in sample] for sample in random_samples(24, 10)]
        shape = [len(samples), 10]
        write_safetensors(self.folder / "frozen.safetensors", {name: tensor_of("I64", shape, [token for sample in samples for token in sample])
                                                               for name in ("ids", "labels")})
        given, _ = read_safetensors(GRAPHS.parent / "steps/small-frozen.safetensors")
        weights = {}
        for name, (kind, shape, data) in given.items():
            if name.startswith("param."):
                numbers = memoryview(data).cast("f") if kind == "F32" else None
                weights[name] = tensor_of("F32", shape, [1.25 * number for number in numbers]) if numbers else (kind, shape, data)
        write_safetensors(self.folder / "weights.safetensors", weights)
        options = dict(model="small-frozen", data=self.folder / "frozen.safetensors", batch=6)
        weights = f"--weights={self.folder}/weights.safetensors"
        for where in ("--accelerator=none", "--config=data_parallel=2,zero=1"):
            whole = self.train("--steps=6", where, weights, f"--save={self.folder}/whole", **options)
            half = self.train("--steps=3", where, weights, f"--save={self.folder}/half", **options)
            rest = self.train("--steps=6", where, f"--load={self.folder}/half", f"--save={self.folder}/rest", **options)
            self.assertEqual(half.losses + rest.losses, whole.losses)
            self.assertTrue(self.saved("rest") == self.saved("whole"))
            self.assertNotEqual(self.train("--steps=3", where, **options).losses, half.losses)

    def test_elsewhere_to_rounding(self):
        places = (("--accelerator=none", "--precision=exported"), (TWO_STAGES,), ("--accelerator=Large.256GB", "--precision=exported"),
                  ("--config=num_stages=4,num_micro_batches=2,zero=1,data_parallel=2,recomputation=full",))
        for model in ("tiny-gpt2", "tiny-gpt2-dropout"):
            whole = self.train("--steps=6", *places[0], model=model)
            for before, after in zip(places, places[1:] + places[:1]):
                half = self.train("--steps=3", *before, f"--save={self.folder}/half", model=model)
                rest = self.train("--steps=6", *after, f"--load={self.folder}/half", model=model)
                self.assert_same_losses(half.losses + rest.losses, whole.losses, 1e-5)

    def test_a_training_that_is_done(self):
        self.train("--steps=4", "--accelerator=none", f"--save={self.folder}/done")
        again = self.train("--steps=4", "--accelerator=none", f"--load={self.folder}/done", f"--save={self.folder}/copy")
        self.assertEqual(again.losses, [])
        for file in ("model", "training"):
            self.assertEqual(self.saved("copy", file), self.saved("done", file))
        self.assert_refused(r"done: the checkpoint already has 4 steps, more than the 3 of this training; give a larger --steps\Z", "--steps=3",
                            "--accelerator=none", f"--load={self.folder}/done")

    def test_checkpoints_in_between_hold_what_a_training_of_so_many_steps_does(self):
        self.train("--steps=4", "--accelerator=none", f"--save={self.folder}/four")
        process = subprocess.Popen(self.command("--steps=100000", "--accelerator=none", f"--save={self.folder}/long", "--checkpoint-every=4"),
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self.environment)
        try:
            for line in process.stdout:
                if "[Step 6/" in line:
                    break
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        _, facts = read_safetensors(self.folder / "long/training.safetensors")
        steps = int(facts["step"])
        self.assertEqual(steps % 4, 0)
        if steps == 4:  # a fast machine may be further
            self.assertEqual(self.saved("long", "training"), self.saved("four", "training"))


class Refusals(TrainingTestCase):
    def setUp(self):
        super().setUp()
        self.good = self.folder / "good"
        self.train("--steps=2", "--accelerator=none", "--seed=3", f"--save={self.good}")
        self.content = (self.good / "training.safetensors").read_bytes()

    def resume(self, expected, *arguments, folder=None, **options):
        return self.assert_refused(expected, "--steps=4", "--accelerator=none", f"--load={folder or self.good}", *arguments, **options)

    def damage(self, content):
        folder = self.folder / "damaged"
        folder.mkdir(exist_ok=True)
        (folder / "training.safetensors").write_bytes(content)
        return folder

    def test_of_another_training(self):
        other = self.folder / "other.txt"
        other.write_text("pack my box with five dozen liquor jugs. " * 40)
        metrics = self.folder / "metrics.csv"
        for expected, arguments, options in (
                ("was trained on other data, so its place in it means nothing here; give the same --data, ", (), {"data": other}),
                ("holds the states of adamw, this training uses sgd; give the same --optimizer", ("--optimizer=sgd",), {}),
                ("has no tensor|holds the states of adamw, this training uses sgd with momentum", ("--optimizer=sgd,momentum=0.9",), {}),
                ("has the seed 3, this training 4; give the same --seed, or leave it out", ("--seed=4",), {}),
                ("takes shuffled samples; leave --no-shuffle out", ("--no-shuffle",), {}),
                ("has the shape|has no tensor|other data", (), {"model": "tiny-bert"})):
            metrics.write_text("a file of the user's")
            self.resume(expected, *arguments, f"--metrics={metrics}", **options)
            # Nothing was begun.
            self.assertEqual(metrics.read_text(), "a file of the user's")
        self.assertEqual(len(self.train("--steps=4", "--accelerator=none", f"--load={self.good}").losses), 2)

    def test_no_checkpoint(self):
        (self.folder / "empty").mkdir()
        (self.folder / "folder/training.safetensors").mkdir(parents=True)
        (self.folder / "weights").mkdir()
        shutil.copy(self.good / "model.safetensors", self.folder / "weights/training.safetensors")
        for name in ("nowhere", "empty"):
            self.resume(rf"{name}/training\.safetensors: there is none; expected a folder that moai-run --save wrote", folder=self.folder / name)
        self.resume(r"folder/training\.safetensors: ", folder=self.folder / "folder")
        self.resume(r"weights/training\.safetensors: is no checkpoint of a training", folder=self.folder / "weights")
        self.resume(r"training\.safetensors", folder=self.good / "training.safetensors")

    def test_of_a_newer_version(self):
        tensors, facts = read_safetensors(self.good / "training.safetensors")
        folder = self.damage(b"")
        write_safetensors(folder / "training.safetensors", tensors, facts | {"version": "2"})
        self.resume(r"is of version 2, this moai reads version 1; use the moai that wrote it, or a newer one\Z", folder=folder)

    def test_facts_that_were_edited(self):
        tensors, facts = read_safetensors(self.good / "training.safetensors")
        folder = self.damage(b"")
        for key, value in facts.items():
            for edited in (facts | {key: "7"}, {other: facts[other] for other in facts if other != key}):
                write_safetensors(folder / "training.safetensors", tensors, edited)
                self.resume(r"training\.safetensors: is ", folder=folder)
        names = list(tensors)
        swapped = tensors | {names[0]: tensors[names[1]]} if tensors[names[0]][1] == tensors[names[1]][1] else None
        fewer = {name: tensors[name] for name in names[1:]}
        for wrong in filter(None, (swapped, fewer, tensors | {"more": tensors[names[0]]})):
            write_safetensors(folder / "training.safetensors", wrong, facts)
            self.resume("is damaged: its checksum is another than that of its content; take another checkpoint", folder=folder)

    def test_cut_off(self):
        chance = random.Random(1)
        lengths = [0, 1, 7, 8, 9, len(self.content) - 1] + [chance.randrange(len(self.content)) for _ in range(20)]
        for length in lengths:
            self.resume(r"damaged/training\.safetensors: ", folder=self.damage(self.content[:length]))

    def test_one_byte_of_it(self):
        chance = random.Random(2)
        header = 8 + int.from_bytes(self.content[:8], "little")
        places = [*range(8), *(chance.randrange(8, header) for _ in range(30)), *(chance.randrange(header, len(self.content)) for _ in range(30))]
        for place in places:
            changed = bytearray(self.content)
            changed[place] ^= 1 << chance.randrange(8)
            self.resume(r"damaged/training\.safetensors: ", folder=self.damage(changed))

    def test_a_folder_that_cannot_be_written(self):
        (self.folder / "file").write_text("")
        for name in ("file", "file/below"):
            done = self.assert_refused(r"file.* can't be written as a folder", "--steps=2", "--accelerator=none", f"--save={self.folder}/{name}")
            self.assertNotIn("Requesting", done.errors)
        for option in ("metrics", "plot"):
            self.assert_refused("nowhere: can't be written as a folder|gnuplot", "--steps=2", "--accelerator=none", f"--{option}={self.folder}/file/nowhere/x")

    def test_a_full_disk_leaves_the_checkpoint_before(self):
        before = {path.name: path.read_bytes() for path in self.good.iterdir()}
        for blocks in (0, 4, 600):
            done = self.outcome("--steps=4", "--accelerator=none", f"--load={self.good}", f"--save={self.good}", shell=f"trap '' XFSZ; ulimit -f {blocks};")
            self.assertEqual(done.code, 1, done)
            told = [line for line in done.errors.splitlines() if "error" in line]
            self.assertEqual(len(told), 1, done)
            self.assertRegex(told[0], r"\Amoai-run: error: \S*training\.safetensors: can't be written \(File too large\)\Z")
            self.assertNotIn("Model saved", done.printed)
            self.assertEqual({path.name: path.read_bytes() for path in self.good.iterdir()}, before)


class Kills(TrainingTestCase):
    def test_at_random_moments(self):
        command = ("--steps=8", "--checkpoint-every=1", TWO_STAGES, "--seed=2")
        whole = self.train(*command, f"--save={self.folder}/whole", f"--metrics={self.folder}/whole.csv", model="tiny-gpt2-dropout")
        start = time.monotonic()
        self.train(*command, f"--save={self.folder}/timed", model="tiny-gpt2-dropout")
        usual = time.monotonic() - start
        chance = random.Random(int(os.environ.get("MOAI_TEST_SEED", "4")))
        resumed = 0
        for kill in range(KILLS):
            folder, metrics = self.folder / "killed", self.folder / "killed.csv"
            shutil.rmtree(folder, ignore_errors=True)
            metrics.unlink(missing_ok=True)
            saving = (f"--save={folder}", f"--metrics={metrics}")
            process = subprocess.Popen(self.command(*command, *saving, model="tiny-gpt2-dropout"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       env=self.environment)
            time.sleep(chance.uniform(0, usual))
            process.send_signal(signal.SIGKILL)
            process.wait()
            loading = (f"--load={folder}",) if (folder / "training.safetensors").exists() else ()
            resumed += bool(loading)
            done = self.train(*command, *saving, *loading, model="tiny-gpt2-dropout")
            for file in ("model", "training"):
                self.assertTrue(self.saved("killed", file) == self.saved("whole", file), (kill, file))
            self.assertEqual(done.losses, whole.losses[len(whole.losses) - len(done.losses):])
            rows = [line.split(",")[:2] for line in metrics.read_text().splitlines()]
            self.assertEqual(rows, [line.split(",")[:2] for line in (self.folder / "whole.csv").read_text().splitlines()], kill)
        self.assertGreater(resumed, KILLS // 4)

    def test_smi_says_that_the_job_is_gone(self):
        process = subprocess.Popen(self.command("--steps=1000000", "--accelerator=Large.256GB"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                   env=self.environment)
        self.assertIn("[Step 1/", process.stdout.readline())
        code, printed, _ = self.smi()
        self.assertEqual(code, 0)
        self.assertIn(f"|  {process.pid:>7}  |  moai-run ", printed)
        process.kill()
        process.wait()
        process.stdout.close()
        _, printed, _ = self.smi()
        self.assertNotIn("Processes:", printed)
        self.assertRegex(printed, rf"Job \d+ \(moai-run .*\) is gone: its process {process.pid} ended without a word ")
        self.assertNotIn("gone", self.smi()[1])


if __name__ == "__main__":
    unittest.main()
