#!/usr/bin/env python3
"""What moai-plan prints and writes: the log, plan.json, determinism, and files that are whole or absent."""
import json
import re
import resource
import subprocess
import unittest

from tools import GRAPHS, QWEN, TINY, TOOL, TestCase, run

PLAN = ("--accelerator=4xLarge.2048GB", "--global-batch=256", "--space=moai")
CHOSEN = "num_stages : 2, num_micro_batches : 16, batch_per_device : 1, No TP, recomputation : false, distribute_param : true"


class Output(TestCase):
    def test_the_log_goes_to_standard_error_and_the_table_to_standard_output(self):
        code, printed, errors = run(QWEN, *PLAN, "-o", self.folder / "plan")
        self.assertEqual(code, 0)
        lines = errors.splitlines()
        for line in lines:
            self.assertRegex(line, r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] \[info\] ")
        self.assertEqual([re.sub(r"\d+ \[ms\]", "... [ms]", line.split("[info] ")[1]) for line in lines], [
            "The number of candidates is 16.",
            "Parallel Graph Compile start...",
            "Elapsed Time to compile all candidates = ... [ms]",
            "Parallel Graph Compile finished.",
            "The number of possible candidates is 13.",
            "SelectBestGraphFromCandidates start...",
            "Elapsed Time to compute cost for survived candidates = ... [ms]",
            "SelectBestGraphFromCandidates finished.",
            "Configuration for parallelism is selected.",
            CHOSEN,
        ])
        self.assertNotIn("[info]", printed)
        self.assertIn("7,721,324,544 parameters", printed)
        self.assertIn(f"Wrote {self.folder}/plan/plan.json and {self.folder}/plan/selected.mlir", printed)

    def test_what_is_written_is_what_is_printed(self):
        code, printed, _ = run(TINY, *PLAN, "--format=json", "--no-times", "-o", self.folder / "plan")
        self.assertEqual(code, 0)
        self.assertEqual((self.folder / "plan/plan.json").read_text(), printed)
        self.assertEqual(sorted(path.name for path in (self.folder / "plan").iterdir()), ["plan.json", "selected.mlir"])
        verified = subprocess.run([TOOL.parent / "moai-opt", self.folder / "plan/selected.mlir"], capture_output=True)
        self.assertEqual(verified.returncode, 0, verified.stderr)

    def test_saved_tensors(self):
        # PyTorch's autograd holds 70 storages after this forward, the activations among them 2,986,114,052 bytes.
        describe = (GRAPHS / "llama-3-8b-2l-autocast.pt2", "--describe", "--saved-tensors", "--global-batch=1", "--seq-len=1024")
        code, printed, errors = run(*describe)
        self.assertEqual(code, 0, errors)
        self.assertIn("Saved for the backward: 70 storages, of which activations hold 2,986,114,052 bytes\n", printed)
        self.assertIn("""     2 x      29,360,128  bf16 1 x 1024 x 14336
         model.model.layers.*.mlp.gate_proj: moai.contract
         held by model.model.layers.*.mlp.act_fn: moai.elementwise silu
""", printed)
        code, printed, errors = run(*describe, "--format=json")
        self.assertEqual(code, 0, errors)
        saved = json.loads(printed)["saved_tensors"]
        self.assertEqual(len(saved), 70)
        self.assertEqual(sum(tensor["bytes"] for tensor in saved if tensor["role"] == "activation"), 2986114052)
        gate, = (tensor for tensor in saved if tensor.get("made_by", {}).get("module") == "model.model.layers.1.mlp.gate_proj"
                 and tensor["made_by"]["op"] == "moai.contract")
        self.assertEqual((gate["type"], gate["shape"], gate["bytes"]), ("bf16", [1, 1024, 14336], 29360128))
        self.assertEqual(gate["held_by"], [{"module": "model.model.layers.1.mlp.act_fn", "op": "moai.elementwise silu", "shape": [1, 1024, 14336]}])

    def test_plan_json(self):
        code, printed, _ = run(QWEN, *PLAN, "--format=json")
        self.assertEqual(code, 0)
        plan = json.loads(printed)
        self.assertEqual(plan["schema_version"], 2)
        self.assertEqual(plan["number_of_candidates"], 16)
        self.assertEqual(len(plan["candidates"]), 16)
        rejected = [candidate["rejected"] for candidate in plan["candidates"] if "rejected" in candidate]
        self.assertEqual(plan["number_of_possible_candidates"], 16 - len(rejected))
        for reason in rejected:
            self.assertEqual(reason["phase"], "memory")
            self.assertGreater(reason["bytes_over"], 0)
            self.assertIn("may be used", reason["reason"])
        for candidate in plan["candidates"]:
            config = candidate["config"]
            self.assertEqual(config["batch_per_device"] * config["num_micro_batches"] * config["data_parallel"], 256)
            self.assertEqual(config["num_stages"] * config["data_parallel"], 32)
        costs = [candidate["cost"]["step_seconds"] for candidate in plan["candidates"] if "cost" in candidate]
        self.assertEqual(plan["predicted"]["step_seconds"], min(costs))
        breakdown = dict(plan["predicted"]["breakdown"])
        total = breakdown.pop("total")
        self.assertAlmostEqual(sum(breakdown.values()), total)
        self.assertAlmostEqual(plan["predicted"]["tokens_per_second"], 256 * 2048 / total)
        self.assertEqual(plan["selected"]["line"], CHOSEN)
        self.assertEqual(len(plan["memory_per_stage"]), 2)
        self.assertEqual(plan["model"]["parameters"], 7721324544)
        self.assertEqual(plan["model"]["forward_flops"], 256 * 31273804365824)
        self.assertEqual(plan["model"]["opaque_ops"], [])
        self.assertEqual(plan["model"]["blocks"][0]["repeats"], 32)
        self.assertEqual(set(plan["elapsed"]), {"import_ms", "compile_ms", "select_ms", "total_ms"})

    def test_the_same_bytes_on_any_number_of_threads(self):
        for graph, accelerator in (("qwen1.5-7b", "4xLarge.2048GB"), ("mixtral-8x7b-grouped", "8xLarge.4096GB")):
            outputs = {run(GRAPHS / f"{graph}.pt2", f"--accelerator={accelerator}", "--global-batch=512", "--format=json", "--no-times",
                           f"--threads={threads}")[:2] for threads in (1, 2, 7, 16)}
            self.assertEqual(len(outputs), 1)
            self.assertEqual(outputs.pop()[0], 0)

    def test_several_batch_sizes(self):
        code, printed, errors = run(GRAPHS / "llama-3-8b.pt2", "--accelerator=4xLarge.2048GB", "--global-batch=256,1", "--maf=24.5", "--format=json")
        self.assertEqual(code, 0)
        self.assertIn("[warning] Various batch size detected : 256, 1", errors)
        plan = json.loads(printed)
        self.assertEqual(plan["number_of_candidates"], 6)
        self.assertEqual(plan["global_batches"], [256, 1])
        self.assertEqual(plan["selected"]["num_stages"], 1)

    def test_one_configuration_even_if_it_does_not_fit(self):
        one = (QWEN, "--accelerator=h100:1", "--global-batch=4", "--config=num_stages=1,num_micro_batches=1,recomputation=full", "--format=json")
        code, printed, _ = run(*one, "--precision=mixed")
        self.assertEqual(code, 0)
        plan = json.loads(printed)
        self.assertEqual(plan["number_of_candidates"], 1)
        self.assertEqual(plan["candidates"][0]["rejected"]["phase"], "memory")
        self.assertGreater(plan["candidates"][0]["rejected"]["bytes_over"], 0)
        self.assertEqual((plan["selected"]["batch_per_device"], plan["selected"]["recomputation"]), (4, "full"))
        self.assertGreater(plan["predicted"]["step_seconds"], 0)
        # A master and both moments in fp32; by default both moments in the exported type, bf16, as PyTorch keeps them.
        stage = plan["memory_per_stage"][0]
        self.assertEqual(stage["at_peak"]["optimizer_states"], 12 * 7721324544)
        _, printed, _ = run(*one)
        exported = json.loads(printed)["memory_per_stage"][0]
        self.assertEqual(exported["at_peak"]["optimizer_states"], 4 * 7721324544)
        self.assertEqual(sum(exported["at_peak"].values()), exported["peak"])
        self.assertEqual(exported["peak_phase"], "backward")
        self.assertIn("moai.", exported["peak_op"])

    def test_memory_timeline(self):
        config = "--config=num_stages=2,num_micro_batches=4"
        code, printed, _ = run(TINY, "--accelerator=h100:2", "--global-batch=8", config, "--memory-timeline", "-o", self.folder / "plan", "--format=json")
        self.assertEqual(code, 0)
        stages = json.loads((self.folder / "plan/memory.json").read_text())["stages"]
        planned = json.loads(printed)["memory_per_stage"]
        self.assertEqual([stage["peak"] for stage in stages], [stage["peak"] for stage in planned])
        for stage in stages:
            self.assertGreaterEqual(stage["arena"], stage["peak"] - stage["workspace"])
            self.assertEqual([task["phase"] for task in stage["tasks"]].count("backward"), 4)

    def test_imbalanced_experts_take_longer(self):
        seconds = []
        for imbalance in (1, 1.5):
            code, printed, _ = run(GRAPHS / "mixtral-8x7b-grouped.pt2", "--accelerator=8xLarge.4096GB", "--global-batch=512", "--format=json",
                                   f"--expert-imbalance={imbalance}")
            self.assertEqual(code, 0)
            seconds.append(json.loads(printed)["predicted"]["step_seconds"])
        self.assertGreater(seconds[1], 1.1 * seconds[0])

    def test_standard_output_that_is_full(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([TOOL, "--list-accelerators"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("standard output can't be written", done.stderr)

    def test_lists_and_help(self):
        code, printed, _ = run("--list-accelerators")
        self.assertEqual(code, 0)
        for flavor in ("Small.64GB", "4xLarge.2048GB", "48xLarge.24576GB", "MI300X", "H100"):
            self.assertIn(flavor, printed)
        code, printed, _ = run("--help")
        self.assertEqual(code, 0)
        for flag in ("--accelerator", "--global-batch", "--maf", "--dump-candidates", "--no-times", "--seq-len", "--shape", "--strict"):
            self.assertIn(flag, printed)


class Run(TestCase):
    def test_prints_losses_and_saves_the_last_step(self):
        steps = GRAPHS.parent / "steps/tiny-gpt2.safetensors"
        saved = self.folder / "step.safetensors"
        code, printed, errors = run(GRAPHS / "tiny-gpt2.pt2", f"--weights={steps}", f"--inputs={steps}", "--steps=2", f"--save-step={saved}", tool="moai-run")
        self.assertEqual((code, errors), (0, ""))
        self.assertRegex(printed, r"\ALoss: 5\.59818\d+\nLoss: 5\.\d+\n\Z")
        content = saved.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        self.assertEqual(header["loss"], {"dtype": "F32", "shape": [], "data_offsets": header["loss"]["data_offsets"]})
        for prefix in ("grad.", "updated."):
            self.assertIn(prefix + "model.transformer.wte.weight", header)
            self.assertIn(prefix + "model.lm_head.weight", header)  # tied

    def test_a_disk_that_is_full(self):
        saved = self.folder / "step.safetensors"
        saved.write_text("old")
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        # Python ignores the signal that would end the tool, and so does what it starts.
        done = subprocess.run([TOOL.with_name("moai-run"), TINY, f"--save-step={saved}"], capture_output=True, text=True, preexec_fn=limit, restore_signals=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, f"moai-run: error: {saved}: can't be written (File too large)\n")
        self.assertEqual(saved.read_text(), "old")
        self.assertEqual(sorted(self.folder.iterdir()), [saved])

    def test_standard_output_that_is_full(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([TOOL.with_name("moai-run"), TINY], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertIn("moai-run: error: standard output can't be written", done.stderr)

    def test_the_same_seed_gives_the_same_losses(self):
        outputs = {seed: run(TINY, "--steps=2", f"--seed={seed}", tool="moai-run")[1] for seed in ("3", "03", "4")}
        self.assertEqual(outputs["3"], outputs["03"])
        self.assertNotEqual(outputs["3"], outputs["4"])


if __name__ == "__main__":
    unittest.main()
