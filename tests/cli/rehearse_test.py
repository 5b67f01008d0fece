#!/usr/bin/env python3
"""Runs among others: what moai-smi sees of them, how they stop, memory that is true, rehearsals of trainings that are too large, and steps that don't split exactly."""
import json
import re
import signal
import subprocess
import time
import unittest

from accelerators import MIB
from tools import BIN, GRAPHS, QWEN, read_safetensors, tensor_of, write_safetensors
from training import TWO_STAGES, TrainingTestCase, random_samples


class Watched(TrainingTestCase):
    def processes(self):
        return json.loads(self.smi("--json")[1])["processes"]

    def test_a_job_is_shown_and_keeps_the_accelerator(self):
        self.assertEqual(self.switch("Large.256GB")[0], 0)
        process = self.start()
        time.sleep(0.6)  # of a heartbeat
        code, printed, errors = self.smi()
        self.assertEqual((code, errors), (0, ""))
        self.assertRegex(printed, rf"\|       0  \|  \d+  \|  {process.pid:>7}  \|  moai-run .* \|  [1-9]\d* MiB +\|\n")
        job, = self.processes()
        self.assertEqual((job["pid"], job["accelerator"], job["simulated"], job["num_steps"], job["phase"]),
                         (process.pid, "Large.256GB", False, 1000000, "training"))
        self.assertGreater(job["bytes_in_use"], 4 * 154496)
        self.assertGreater(job["loss"], 1)
        before = job["step"]
        time.sleep(1)
        job, = self.processes()
        self.assertGreater(job["step"], before)
        self.assertGreater(job["utilization"], 0)
        code, printed, errors = self.switch("8")
        self.assertEqual((code, printed), (1, ""))
        self.assertRegex(errors, rf"\Amoai-switch-model: error: job {job['job_id']} \(moai-run .*\) is running on Large\.256GB, so the accelerator can't be switched; ")
        self.assertEqual(self.stop(process, signal.SIGTERM)[2], 143)
        self.assertEqual((self.processes(), json.loads(self.smi("--json")[1])["gone"]), ([], []))
        self.assertEqual(self.switch("8")[0], 0)

    def test_two_at_once(self):
        first = self.start("--accelerator=Large.256GB")
        second = self.start("--accelerator=4xLarge.2048GB", "--maf=24.2", model="tiny-bert", data=self.write_tokens(random_samples(40)), batch=32)
        self.assertEqual({job["pid"]: job["accelerator"] for job in self.processes()}, {first.pid: "Large.256GB", second.pid: "4xLarge.2048GB"})
        self.assertEqual(self.smi()[1].count("|  moai-run "), 2)
        code, printed, errors = self.smi("-r", "-y")
        self.assertEqual((code, errors, printed.count("has stopped.")), (0, "", 2))
        for process in (first, second):
            self.assertEqual(process.wait(timeout=30), 143)
        self.assertEqual(self.smi("-r", "-y")[1], "No job is running.\n")

    def test_stopped_between_steps(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            saved = self.folder / f"saved{code}"
            process = self.start("--accelerator=none", f"--save={saved}", "--seed=6", steps=100000)
            printed, errors, ended = self.stop(process, number)
            self.assertEqual(ended, code)
            self.assertNotIn("error", errors)
            lines = printed.splitlines()
            steps = int(re.search(r"Training stopped after step (\d+)\Z", lines[-2])[1])
            self.assertRegex(lines[-1], rf"Model saved in {re.escape(str(saved))}\Z")
            self.assertNotIn("Training Done", printed)
            self.assertEqual(read_safetensors(saved / "training.safetensors")[1]["step"], str(steps))
            self.assertEqual(json.loads(self.smi("--json")[1])["gone"], [])
            # It goes on where it was stopped.
            more = self.train(f"--steps={steps + 2}", "--accelerator=none", f"--load={saved}", f"--save={self.folder}/on")
            self.assertEqual(more.steps, [steps + 1, steps + 2])
        process = self.start("--accelerator=none", steps=100000)
        printed, _, ended = self.stop(process, signal.SIGINT)
        self.assertEqual(ended, 130)
        self.assertNotIn("Model saved", printed)

    def test_it_trains_where_nothing_can_be_published(self):
        self.state.write_text("")
        done = self.train("--steps=1", "--accelerator=none")
        self.assertEqual(len(done.warnings), 1)
        self.assertIn("moai-smi won't see this job: ", done.warnings[0])


class Memory(TrainingTestCase):
    CONFIGS = (("num_stages=2,num_micro_batches=4", 2), ("num_stages=2,num_micro_batches=2,data_parallel=2,zero=1,recomputation=full", 4), ("num_micro_batches=2", 1))

    def planned(self, config, count):
        done = subprocess.run([BIN / "moai-plan", GRAPHS / "tiny-gpt2.pt2", f"--accelerator=h100:{count}", "--global-batch=8", f"--config={config}", "--format=json",
                               "--allocation-granularity=1", "--kernel-workspace=0"], capture_output=True, text=True, env=self.environment)
        return [stage["peak"] for stage in json.loads(done.stdout)["memory_per_stage"]]

    def test_planned_peak_and_executed_peak_and_limit_agree(self):
        for config, count in self.CONFIGS:
            peaks = self.planned(config, count)
            # The smallest device on which it runs, by bisection.
            fails, passes = 0, 1 << 24
            while passes - fails > 1:
                middle = (fails + passes) // 2
                done = self.outcome("--steps=2", f"--config={config}", f"--device-memory={middle}")
                self.assertIn(done.code, (0, 1), done)
                self.assertEqual(done.code != 0, "is out of memory at" in done.errors, done)
                fails, passes = (fails, middle) if done.code == 0 else (middle, passes)
            self.assertEqual(passes, max(peaks), config)
            self.start(f"--config={config}", until=r"\[Step 3/")
            time.sleep(0.6)  # of a heartbeat
            devices = json.loads(self.smi("-p", "--json")[1])["devices"]
            devices = [device for device in devices if device["stage"] is not None]
            self.assertEqual([device["peak_bytes"] for device in devices], [peak for peak in peaks for _ in range(count // len(peaks))], config)
            for device in devices:
                self.assertTrue(0 < device["bytes_in_use"] <= device["peak_bytes"])
            self.smi("-r", "-y")

    def test_what_does_not_fit_is_told_while_it_runs(self):
        config, peak = self.CONFIGS[0][0], self.planned(*self.CONFIGS[0])[0]
        done = self.assert_refused(
            r"tiny-gpt2\.pt2: step 1: in model\.transformer\.h\.1: device 0 \(stage 0\) is out of memory at moai\.elementwise 'mul' of mlp\.act, which needs 1 byte more "
            r"than the 1\.96 MiB of the device; (\S+) without --config would hold it, and so would a --global-batch of 4 on Medium\.128GB\Z",
            f"--config={config}", f"--device-memory={peak - 1}", "--steps=2")
        # The advice is true.
        flavor = re.search(r"; (\S+) without --config", done.errors)[1]
        self.train("--steps=2", f"--accelerator={flavor}", f"--device-memory={peak - 1}")
        self.train("--steps=2", f"--config={config}", f"--device-memory={peak - 1}", batch=4)
        self.assert_refused(r"device 0 \(stage 0\) is out of memory at parameter \S+, which needs .* more than the 1\.00 KiB of the device; no larger accelerator and no "
                            r"smaller --global-batch would hold it; take a smaller model, or devices with more memory\Z", f"--config={config}", "--device-memory=1KiB")
        self.assertEqual(json.loads(self.smi("--json")[1])["gone"], [])

    def test_what_does_not_fit_is_told_when_it_is_planned(self):
        refusal = (r"none of the \d+ candidates fits: the nearest \(num_stages \d+, .*\) is \S+ (bytes?|KiB|MiB) over: device \d+, of stage \d+, needs \S+ MiB at moai\.\S+.*, "
                   r"\S+ [KM]iB of each device may be used; (.*)\Z")
        done = self.assert_refused(refusal + r"(?<=more memory)", "--accelerator=Large.256GB", "--device-memory=1MiB")
        self.assertNotIn("train: true", done.errors)
        done = self.assert_refused(refusal + r"(?<=would hold it)|and so would a --global-batch of \d+ on Large\.256GB\Z", "--accelerator=Large.256GB", "--device-memory=4MiB", batch=128)
        batch = re.search(r"a --global-batch of (\d+) on Large\.256GB", done.errors)
        flavor = re.search(r"; (\d\S*Large\.\S+) would hold it", done.errors)
        self.assertTrue(batch or flavor, done)
        if batch:
            self.train("--steps=1", "--accelerator=Large.256GB", "--device-memory=4MiB", batch=int(batch[1]))
        if flavor:
            self.train("--steps=1", f"--accelerator={flavor[1]}", "--device-memory=4MiB", batch=128)

    def test_a_training_too_large_for_this_machine(self):
        self.assert_refused(r"its step needs about \d+ GiB to run, this machine has \d+; take a smaller model or --global-batch, or rehearse the training with --dry-run, "
                            r"which needs no memory for it\Z", "--accelerator=4xLarge.2048GB", "--maf=24.2", "--steps=1", model="qwen1.5-7b", batch=256,
                            data=self.write_tokens(random_samples(2, 2048)))


class Rehearsals(TrainingTestCase):
    BIG = ("--dry-run", "--maf=24.2", "--accelerator=4xLarge.2048GB")
    STEP = r"\S+ \S+ \| INFO \| \[Step (\d+)/(\d+)\] \(simulated\) \| Duration: (\d+\.\d\d) \| Throughput: (\d+\.\d\d) tokens/sec"

    def rehearse(self, *arguments, batch=256):
        return self.outcome(*self.BIG, *arguments, model="../models/qwen1.5-7b", data=None, batch=batch)

    def plan(self, *arguments):
        done = subprocess.run([BIN / "moai-plan", QWEN, "--accelerator=4xLarge.2048GB", "--global-batch=256", "--format=json", *arguments], capture_output=True, text=True,
                              env=self.environment)
        return json.loads(done.stdout)

    def test_the_plan_in_simulated_time(self):
        plan = self.plan("--maf=24.2")
        seconds = plan["predicted"]["step_seconds"]
        start = time.monotonic()
        done = self.rehearse("--steps=6", "--speed=50")
        took = time.monotonic() - start
        self.assertEqual(done.code, 0, done)
        lines = done.printed.splitlines()
        self.assertEqual(len(lines), 7)
        for number, line in enumerate(lines[:6], 1):
            step = re.fullmatch(self.STEP, line)
            self.assertTrue(step, line)
            self.assertEqual((int(step[1]), int(step[2])), (number, 6))
            self.assertAlmostEqual(float(step[3]), seconds, delta=0.006)
            self.assertAlmostEqual(float(step[4]), 256 * 2048 / seconds, delta=0.006 * 256 * 2048 / seconds)
        self.assertRegex(lines[6], r"Rehearsal done \(simulated\): a step of \d+\.\d\d s, at its peak \d+ MiB on all devices, \d+ MiB on the fullest\Z")
        stages = [stage["peak"] for stage in plan["memory_per_stage"]]
        whole, largest = map(int, re.search(r"peak (\d+) MiB on all devices, (\d+) MiB", lines[6]).groups())
        self.assertAlmostEqual(whole, sum(stages) * 32 / len(stages) / MIB, delta=1)
        self.assertAlmostEqual(largest, max(stages) / MIB, delta=1)
        self.assertNotIn("Loss", done.printed + done.errors)
        self.assertGreaterEqual(took, 6 * seconds / 50)
        self.assertIn("train: true", done.log)
        self.assertIn("This is a rehearsal: nothing is trained, and times and memory are the plan's, played in simulated time.", done.log)
        self.assertEqual([line for line in done.log if "Connecting" in line], [f"[{node + 1}/4] Connecting to virtual node {node} on this machine..." for node in range(4)])
        self.assertIn("num_stages : 2, num_micro_batches : 16, batch_per_device : 1, No TP, recomputation : false, distribute_param : true", done.log)

    def test_smi_shows_it_as_simulated_and_control_c_ends_it(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            process = self.start(*self.BIG, "--speed=20", model="../models/qwen1.5-7b", data=None, batch=256)
            time.sleep(0.3)
            job, = json.loads(self.smi("--json")[1])["processes"]
            self.assertEqual((job["simulated"], job["loss"], job["num_steps"]), (True, None, 1000000))
            self.assertTrue(MIB <= job["bytes_in_use"] <= 2096640 * MIB, job)
            self.assertGreaterEqual(job["step"], 1)
            printed = self.smi()[1]
            used, total = re.search(r"4xLarge\.2048GB  \|  (\d+) MiB +\|  (\d+) MiB", self.smi("-i", "1")[1] + printed).groups()
            self.assertTrue(1 <= int(used) <= int(total) == 2096640)
            self.assertIn("(simulated)", printed)
            printed, errors, ended = self.stop(process, number)
            self.assertEqual(ended, code)
            self.assertRegex(printed, r"Rehearsal stopped after step \d+ \(simulated\): ")
            self.assertNotIn("error", errors)
            self.assertEqual(json.loads(self.smi("--json")[1])["gone"], [])

    def test_speed(self):
        seconds = self.plan("--maf=24.2")["predicted"]["step_seconds"]
        for speed in (10, 1e6):
            start = time.monotonic()
            self.assertEqual(self.rehearse("--steps=2", f"--speed={speed}").code, 0)
            took = time.monotonic() - start
            self.assertGreaterEqual(took, 2 * seconds / speed)
            self.assertLess(took, 2 * seconds / speed + 10)
        for speed in ("0", "-1", "nan", "x", "1e10"):
            self.assert_refused(rf"--speed={re.escape(speed)}: expected a number from 0\.000001 to 1000000000; see moai-run --help\Z", "--dry-run", f"--speed={speed}", data=None,
                                code=2)

    def test_a_configuration_that_does_not_fit(self):
        done = self.outcome("--dry-run", "--steps=1", "--speed=1e6", "--config=num_stages=1", model="../models/qwen1.5-7b", data=None, batch=4)
        self.assertEqual(done.code, 0, done)
        self.assertEqual(len(done.warnings), 1)
        self.assertIn("the configuration doesn't fit: ", done.warnings[0])
        done = self.assert_refused("none of the .* candidates fits", "--dry-run", "--accelerator=Small.64GB", model="../models/qwen1.5-7b", data=None, batch=256)
        self.assertEqual(done.printed, "")

    def test_log_every(self):
        done = self.rehearse("--steps=10", "--speed=1e6", "--log-every=4")
        self.assertEqual(re.findall(r"\[Step (\d+)/10\]", done.printed), ["4", "8", "10"])

    def test_contradictions(self):
        for flag in ("data=x", "data-format=text", "epochs=2", "eval-data=x", "eval-every=2", "save=x", "load=x", "checkpoint-every=2", "metrics=x", "plot=x", "inputs=x",
                     "weights=x", "save-step=x"):
            self.assert_refused(rf"--dry-run trains nothing, so --{flag.partition('=')[0]} contradicts it; leave one of them out; see moai-run --help\Z", "--dry-run", f"--{flag}",
                                data=None, code=2)
        self.assert_refused("--accelerator=none is one plain device, so --dry-run contradicts it; leave one of them out", "--dry-run", "--accelerator=none", data=None, code=2)


class InexactSplits(TrainingTestCase):
    UNEQUAL = ("parts of the batch have unequal numbers of labels that count in 'labels', and the step is the mean of the parts' means, which is not the mean of the whole batch")

    def test_batch_norm(self):
        images = self.write_images(12)
        for where in ("--config=num_micro_batches=2", "--config=data_parallel=2"):
            done = self.train("--steps=3", where, model="family-cnn", data=images, batch=6)
            self.assertEqual(len(done.warnings), 1, done)
            self.assertRegex(done.warnings[0], r"\Asamples see each other in moai\.\S+ .*, so this split step is not exactly the step of the whole batch\Z")
            self.assertLess(done.errors.index("not exactly"), done.errors.index("train: true"))
        self.assertEqual(self.train("--steps=3", "--accelerator=none", model="family-cnn", data=images, batch=6).warnings, [])

    def test_without_data(self):
        for where, warns in (("--config=data_parallel=2", True), ("--config=num_micro_batches=2", True), ("--config=num_stages=1", False)):
            done = self.outcome(where, model="family-cnn", data=None, batch=6)
            self.assertEqual(done.code, 0, done)
            self.assertEqual([w.endswith("so this split step is not exactly the step of the whole batch") for w in done.warnings], [True] * warns, done)
        self.assertEqual(self.outcome("--config=data_parallel=2", data=None).warnings, [])

    def test_a_loss_of_another_form(self):
        sizes = {"x": 5, "values": 3, "shares": 3, "flags": 3}
        write_safetensors(self.folder / "numbers.safetensors", {name: tensor_of("F32", [12, size], [(7 * k % 11) / 11 for k in range(12 * size)]) for name, size in sizes.items()})
        options = dict(model="small-regression", batch=6, data=self.folder / "numbers.safetensors")
        one = self.train("--steps=3", "--accelerator=none", **options)
        self.assertEqual(one.warnings, [])
        split = self.train("--steps=3", "--config=num_micro_batches=3", **options)
        self.assertEqual(split.warnings, ["the loss is not a plain mean over samples, so this split step is not exactly the step of the whole batch"])

    def test_a_sum(self):
        def add(model):
            for node in model["graph_module"]["graph"]["nodes"]:
                if "cross_entropy" in node["target"]:
                    node["inputs"].append({"name": "reduction", "arg": {"as_int": 2}, "kind": node["inputs"][0]["kind"]})

        path = self.edit_model(add, GRAPHS / "tiny-gpt2.pt2").rename(self.folder / "sum.pt2")
        options = dict(model=path.with_suffix(""))
        one = self.train("--steps=1", "--accelerator=none", **options)
        self.assert_same_losses(one.losses, [120 * self.train("--steps=1", "--accelerator=none").losses[0]])
        self.assertEqual(one.warnings, [])
        for where in ("--config=data_parallel=4", "--config=num_micro_batches=4"):
            split = self.train("--steps=1", where, **options)
            self.assertEqual(split.warnings, ["the loss is a sum over samples, not a plain mean, so this split step is not exactly the step of the whole batch"])

    def test_labels_that_do_not_count(self):
        samples = random_samples(16)
        unequal = [list(sample) for sample in samples]
        unequal[3][4:] = [-100] * 12
        equal = [sample[:8] + [-100] * 8 for sample in samples]
        for labels, warnings in ((unequal, [self.UNEQUAL]), (equal, []), (samples, [])):
            data = self.write_tokens(samples, labels=labels)
            done = self.train("--steps=4", TWO_STAGES, "--no-shuffle", "--precision=exported", data=data)
            self.assertEqual(done.warnings, warnings)
            one = self.train("--steps=4", "--accelerator=none", "--no-shuffle", "--precision=exported", data=data)
            self.assertEqual(one.warnings, [])
            if not warnings:
                self.assert_same_losses(done.losses, one.losses)

    def test_a_plain_mean_says_nothing(self):
        self.assertEqual(self.train("--steps=2", TWO_STAGES).warnings, [])


if __name__ == "__main__":
    unittest.main()
