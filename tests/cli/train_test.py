#!/usr/bin/env python3
"""How moai-run trains: its log, split runs that give the losses of one device, which devices it takes, its data, learning rates, metrics and pictures."""
import csv
import errno
import itertools
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


if __name__ == "__main__":
    unittest.main()
