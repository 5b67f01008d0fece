#!/usr/bin/env python3
"""Every bad input is refused with one sentence that says where, what and what to do; nothing is written."""
import json
import os
import unittest
import zipfile

from tools import GRAPHS, QWEN, TINY, TestCase, read_model, run


JOINT = GRAPHS / "tiny-llama-joint.pt2"


def graph(model):
    return model["graph_module"]["graph"]


class BadInput(TestCase):
    def refuse(self, sentence, *arguments, code=1, names=""):
        """Runs with an output folder that must not appear; the last line of standard error must hold the sentence and the name."""
        output = self.folder / "output"
        wants_output = "--describe" not in arguments and "-o" not in arguments
        found, printed, errors = run(*arguments, *(["-o", output] if wants_output else []))
        self.assertEqual(found, code, errors)
        self.assertEqual(printed, "")
        lines = errors.splitlines()
        self.assertEqual([line for line in lines if "error" in line], lines[-1:], errors)
        self.assertTrue(lines[-1].startswith("moai-plan: error: "), errors)
        self.assertIn(sentence, lines[-1])
        self.assertIn(str(names), lines[-1])
        self.assertFalse(output.exists())

    def refuse_model(self, sentence, path):
        self.refuse(sentence, path, "--accelerator=Large.256GB", "--global-batch=64", "--maf=24.5", names=path)

    def refuse_flags(self, sentence, *arguments, code=2):
        self.refuse(sentence, TINY, *arguments, code=code)


class Files(BadInput):
    def file(self, content):
        path = self.folder / "model.pt2"
        path.write_bytes(content)
        return path

    def test_no_such_file(self):
        self.refuse_model("no such file; expected a model exported by torch.export.save", self.folder / "none.pt2")

    def test_directory(self):
        self.refuse_model("is a directory; expected a .pt2 file", self.folder)

    def test_not_a_zip(self):
        self.refuse_model("not a readable zip archive", self.file(b"hello"))

    def test_empty(self):
        self.refuse_model("not a readable zip archive", self.file(b""))

    def test_truncated_zip(self):
        whole = TINY.read_bytes()
        self.refuse_model("not a readable zip archive", self.file(whole[:len(whole) // 2]))

    def test_damaged_entry(self):
        damaged = bytearray(TINY.read_bytes())
        damaged[len(damaged) // 3] ^= 0xFF
        self.refuse_model("models/model.json", self.file(bytes(damaged)))

    def test_zip_bomb(self):
        path = self.folder / "model.pt2"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("model/models/model.json", "w", force_zip64=True) as entry:
                for _ in range(1100):
                    entry.write(b" " * 1_000_000)
        self.refuse_model("models/model.json claims 1100000000 bytes out of a tiny entry; refused, at most 1073741824 are expected", path)

    def test_no_model_json(self):
        self.refuse_model("the archive has no models/model.json", self.write_model("", name=None))


class Json(BadInput):
    def test_cut_off(self):
        text = read_model()
        self.refuse_model("model.json is not valid JSON", self.write_model(text[:len(text) // 2]))

    def test_empty(self):
        self.refuse_model("model.json is not valid JSON (Empty: no JSON found)", self.write_model(""))

    def test_not_an_object(self):
        self.refuse_model("model.json: the document is an array, expected an object", self.write_model("[1, 2]"))

    def test_wrong_type(self):
        self.refuse_model("model.json: graph.nodes is a number, expected an array",
                          self.edit_model(lambda m: graph(m).update(nodes=5)))
        self.refuse_model("model.json: node 3 is a number, expected a string",
                          self.edit_model(lambda m: graph(m)["nodes"][3].update(target=5)))

    def test_missing_key(self):
        self.refuse_model("model.json: graph has no 'nodes'", self.edit_model(lambda m: graph(m).pop("nodes")))

    def test_unknown_schema(self):
        self.refuse_model("has torch.export schema 99.20, expected major 8; export it again with PyTorch 2.9 or newer",
                          self.edit_model(lambda m: m["schema_version"].update(major=99)))


class Graphs(BadInput):
    def test_input_that_does_not_exist(self):
        def edit(model):
            graph(model)["nodes"][6]["inputs"][0]["arg"] = {"as_tensor": {"name": "ghost"}}
        self.refuse_model("model.json: node 'sub' (aten.sub.Tensor): reads tensor 'ghost', which no earlier node and no input defines",
                          self.edit_model(edit))

    def test_cycle(self):
        def edit(model):
            nodes = [node for node in graph(model)["nodes"] if node["outputs"]]
            nodes[4]["inputs"][0]["arg"] = {"as_tensor": {"name": nodes[9]["outputs"][0]["as_tensor"]["name"]}}
        self.refuse_model("which no earlier node and no input defines", self.edit_model(edit))

    def resize(self, size):
        def edit(model):
            for tensor in graph(model)["tensor_values"].values():
                for dimension in tensor["sizes"]:
                    if dimension.get("as_int") == 64:
                        dimension["as_int"] = size
        return self.edit_model(edit)

    def test_sizes(self):
        self.refuse_model("model.json: tensor 'p_model_model_embed_tokens_weight' has a dimension of size 1000000000000000000; expected 0 to 2^48",
                          self.resize(10**18))
        self.refuse_model("has a dimension of size -3; expected 0 to 2^48", self.resize(-3))
        self.refuse_model("is a number, expected an integer", self.resize(2**63))
        self.refuse_model("is a number, expected an integer", self.resize(1.5))

    def test_unknown_dtype(self):
        def edit(model):
            for tensor in graph(model)["tensor_values"].values():
                tensor["dtype"] = 77
        self.refuse_model("model.json: tensor 'p_model_model_embed_tokens_weight' has the unknown dtype 77; known are 1 to 13 and 28 to 32",
                          self.edit_model(edit))

    def test_no_output(self):
        def edit(model):
            graph(model)["outputs"] = []
            model["graph_module"]["signature"]["output_specs"] = []
        self.refuse_model("model.json: the graph has no output; export a module whose forward returns the loss", self.edit_model(edit))

    def test_two_outputs_and_no_loss(self):
        def edit(model):
            linear = [node for node in graph(model)["nodes"] if node["target"].endswith("linear.default")][:2]
            outputs = [{"as_tensor": {"name": node["outputs"][0]["as_tensor"]["name"]}} for node in linear]
            graph(model)["outputs"] = outputs
            model["graph_module"]["signature"]["output_specs"] = [{"user_output": {"arg": output}} for output in outputs]
        self.refuse_model("model.json: the graph has 2 outputs and 0 of them are scalars, so none is plainly the loss; export a module whose "
                          "forward returns only the loss", self.edit_model(edit))

    def test_no_loss(self):
        self.refuse_model("the graph returns no loss, so there is no training step to plan", GRAPHS / "llama-3-8b-logits.pt2")

    def test_gradient_of_another_shape(self):
        def edit(model):
            spec = next(spec["gradient_to_parameter"] for spec in model["graph_module"]["signature"]["output_specs"]
                        if "norm.weight" in str(spec.get("gradient_to_parameter")))
            graph(model)["tensor_values"][spec["arg"]["name"]]["sizes"] = [{"as_int": 63}]
        self.refuse_model("model.json: the gradient of parameter 'model.model.layers.0.input_layernorm.weight' has the shape [63], the "
                          "parameter [64]; export the graph again", self.edit_model(edit, JOINT))

    def test_nothing_to_train(self):
        def edit(model):
            for tensor in graph(model)["tensor_values"].values():
                tensor["requires_grad"] = False
        self.refuse_model("model.json: no parameter requires a gradient, so there is no training step", self.edit_model(edit))

    def test_gradient_of_no_parameter(self):
        def edit(model):
            specs = model["graph_module"]["signature"]["output_specs"]
            next(spec for spec in specs if "gradient_to_parameter" in spec)["gradient_to_parameter"]["parameter_name"] = "other"
        self.refuse_model("is the gradient of 'other', which is no parameter of the graph", self.edit_model(edit, JOINT))

    def test_gradients_without_a_loss(self):
        def edit(model):
            specs = model["graph_module"]["signature"]["output_specs"]
            specs[:] = [spec for spec in specs if "loss_output" not in spec]
        self.refuse_model("model.json: the graph carries gradients and 0 of its outputs are marked as the loss, expected 1",
                          self.edit_model(edit, JOINT))

    def unknown_op(self):
        def edit(model):
            node = next(node for node in graph(model)["nodes"] if "silu" in node["target"])
            node["target"] = "torch.ops.mylib.fancy.default"
        return self.edit_model(edit)

    def test_unknown_op_is_a_warning(self):
        code, _, errors = run(self.unknown_op(), "--accelerator=Large.256GB", "--global-batch=64", "--maf=24.5")
        self.assertEqual(code, 0)
        warnings = [line for line in errors.splitlines() if line.startswith("moai-plan: warning: ")]
        self.assertEqual(len(warnings), 1)
        self.assertIn("op mylib.fancy.default (1 times) is not known: it is costed by the bytes it reads and writes, and nothing is split through it",
                      warnings[0])

    def test_unknown_op_when_strict(self):
        path = self.unknown_op()
        self.refuse(f"{path}: --strict refuses ops that moai doesn't know: mylib.fancy.default", path, "--describe", "--strict")


class Nodes(BadInput):
    """Nodes whose arguments don't go together, put ahead of those of the tiny model. The fuzz targets found most of them."""
    TABLE, SCALE = "p_model_model_embed_tokens_weight", "p_model_model_norm_weight"  # [256, 64] and [64]

    @staticmethod
    def node(target, output, sizes, /, **arguments):
        return {"target": f"torch.ops.aten.{target}", "inputs": [{"name": name, "arg": value, "kind": 1} for name, value in arguments.items()],
                "outputs": [{"as_tensor": {"name": output}}], "metadata": {}}, output, sizes

    def refuse_nodes(self, sentence, *nodes):
        def edit(model):
            for position, (node, output, sizes) in enumerate(nodes):
                graph(model)["nodes"].insert(position, node)
                graph(model)["tensor_values"].setdefault(output, {"dtype": 7, "sizes": [{"as_int": size} for size in sizes]})
        self.refuse_model(sentence, self.edit_model(edit))

    def test_shapes(self):
        table, scale, scalar = ({"as_tensor": {"name": name}} for name in (self.TABLE, self.SCALE, "scalar"))
        make_scalar = self.node("full.default", "scalar", [], size={"as_ints": []}, fill_value={"as_float": 1.0})
        self.refuse_nodes("writes a tensor of another shape to 'self'", self.node("add_.Tensor", "x", [256, 64], self=scale, other=table))
        self.refuse_nodes("halves a scalar", make_scalar, self.node("glu.default", "x", [], self=scalar, dim={"as_int": 0}))
        self.refuse_nodes("joins scalars", make_scalar, self.node("cat.default", "x", [1], tensors={"as_tensors": [{"name": "scalar"}]}))
        self.refuse_nodes("writes a tensor of rank 0 into one of rank 2", make_scalar,
                          self.node("select_scatter.default", "x", [256, 64], self=table, src=scalar, dim={"as_int": 1}, index={"as_int": 0}))
        self.refuse_nodes("writes with step 0", self.node("slice_scatter.default", "x", [256, 64], self=table, src=table, step={"as_int": 0}))
        self.refuse_nodes("prepends a tensor of another rank", self.node("diff.default", "x", [256, 63], self=table, prepend=scale))
        self.refuse_nodes("argument 'tensors' lacks a tensor", self.node("meshgrid.default", "x", [64], tensors={"as_tensors": [{"name": ""}]}))

    def refuse_as_unknown(self, target, **arguments):
        node, output, sizes = self.node(target, "x", [], self={"as_tensor": {"name": self.TABLE}}, **arguments)

        def edit(model):
            graph(model)["nodes"].insert(0, node)
            graph(model)["tensor_values"][output] = {"dtype": 7, "sizes": []}
        self.refuse(f"--strict refuses ops that moai doesn't know: aten.{target}", self.edit_model(edit), "--describe", "--strict")

    def test_reductions_of_another_order(self):
        self.refuse_as_unknown("linalg_vector_norm.default", ord={"as_float": 0.0})
        self.refuse_as_unknown("norm.Scalar", p={"as_int": -3})

    def test_numbers(self):
        table = {"as_tensor": {"name": self.TABLE}}
        self.refuse_nodes("pads by -9223372036854775808, expected 2^48 at most",
                          self.node("pad.default", "x", [256, 64], self=table, pad={"as_ints": [-2**63, 0]}))

    def test_windows(self):
        for target, name, number in (("avg_pool2d", "stride", 2**63 - 1), ("avg_pool2d", "kernel_size", -1), ("conv2d", "padding", 2**62)):
            def edit(model):
                node = next(node for node in graph(model)["nodes"] if node["target"] == f"torch.ops.aten.{target}.default")
                next(argument for argument in node["inputs"] if argument["name"] == name)["arg"] = {"as_ints": [number, number]}
            self.refuse_model(f"has {number} in its {name}; expected a size from 0 to 2147483647",
                              self.edit_model(edit, GRAPHS / "family-cnn.pt2"))

    def test_names(self):
        table = {"as_tensor": {"name": self.TABLE}}
        self.refuse_nodes(f"defines tensor '{self.TABLE}', which is already there", self.node("alias.default", self.TABLE, [256, 64], self=table))
        chain = [self.node("alias.default", f"view{i}", [256, 64], self={"as_tensor": {"name": f"view{i - 1}" if i else self.TABLE}}) for i in range(300)]
        self.refuse_nodes("is a view of more than 256 views, one of the other", *chain)

    def test_a_parameter_as_result(self):
        def edit(model):
            output = {"as_tensor": {"name": self.SCALE}}
            graph(model)["outputs"] = [output]
            model["graph_module"]["signature"]["output_specs"] = [{"user_output": {"arg": output}}]
        self.refuse_model("the graph returns no loss", self.edit_model(edit))


class Requests(BadInput):
    ACCELERATOR = "--accelerator=4xLarge.2048GB"

    def test_batch_that_does_not_divide(self):
        self.refuse_flags("has no candidate for a global batch of 250 on 32 devices in 4 nodes; the nearest that have one are 248 and 256",
                          self.ACCELERATOR, "--global-batch=250", code=1)
        self.refuse_flags("a global batch of 3 on 32 devices in 4 nodes; the nearest that has one is 16", self.ACCELERATOR, "--global-batch=3", code=1)

    def test_batch_that_is_no_number(self):
        for batch in ("0", "-4", "abc", "256,", "1e3", "99999999999999999999"):
            self.refuse_flags(f"--global-batch={batch}: expected one or more whole numbers from 1 to 2^40", self.ACCELERATOR, f"--global-batch={batch}")

    def test_unknown_accelerator(self):
        self.refuse_flags("unknown accelerator '4xlarg', did you mean '4xLarge'?", "--accelerator=4xlarg", "--global-batch=256", code=1)
        self.refuse_flags("unknown accelerator 'h10:8', did you mean 'h100'?", "--accelerator=h10:8", "--global-batch=256", code=1)
        self.refuse_flags("accelerator 'h100:0' has the device count '0', expected a whole number", "--accelerator=h100:0", "--global-batch=256", code=1)

    def test_nothing_fits(self):
        self.refuse("none of the 6 candidates fits: the nearest (num_stages 1, num_micro_batches 1, batch_per_device 64, recomputation full) is ",
                    QWEN, "--accelerator=Large.256GB", "--global-batch=256", "--maf=24.5")

    def test_a_tensor_out_of_proportion(self):
        self.refuse("the graph makes a tensor of 1.92 TB per sample (moai.gather), which no splitting of layers helps against",
                    GRAPHS / "mixtral-8x7b-batched.pt2", self.ACCELERATOR, "--global-batch=256")

    def test_output_folder(self):
        file = self.folder / "file"
        file.write_text("kept")
        self.refuse_flags(f"{file}: can't be written as a folder", self.ACCELERATOR, "--global-batch=256", "-o", file, code=1)
        self.refuse_flags(f"{file}/below: can't be written as a folder", self.ACCELERATOR, "--global-batch=256", "-o", file / "below", code=1)
        self.assertEqual(file.read_text(), "kept")

    def test_output_folder_that_no_one_can_make(self):
        self.refuse_flags("/proc/moai/plan: can't be written as a folder", self.ACCELERATOR, "--global-batch=256", "-o", "/proc/moai/plan", code=1)

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_output_folder_without_permission(self):
        self.folder.chmod(0o500)
        self.addCleanup(self.folder.chmod, 0o700)
        self.refuse_flags("can't be written as a folder", self.ACCELERATOR, "--global-batch=256", "-o", self.folder / "output", code=1)

    def test_shapes(self):
        plan = (self.ACCELERATOR, "--global-batch=256")
        self.refuse_flags("--shape=foo names no dimension of the model; it has b, batch, s, sequence", *plan, "--shape=foo=3", code=1)
        self.refuse_flags("--shape=b is the batch, which --global-batch sets; leave it out", *plan, "--shape=b=3", code=1)
        self.refuse_flags("--shape=s=8 contradicts --seq-len=9; give one of them", *plan, "--shape=s=8", "--seq-len=9", code=1)
        for shape in ("foo", "s=0", "s=", "=3", "s=x"):
            self.refuse_flags(f"--shape={shape}: expected NAME=N with a whole number from 1 to 2^32", *plan, f"--shape={shape}")
        self.refuse_flags("--shape=s is given twice; give it once", *plan, "--shape=s=8", "--shape=s=8")

    def test_sequence(self):
        for length in ("0", "-1", "x"):
            self.refuse_flags(f"--seq-len={length}: expected a whole number from 1 to 2^32", self.ACCELERATOR, "--global-batch=256", f"--seq-len={length}")
        self.refuse("the model has no sequence dimension, so --seq-len=7 means nothing", GRAPHS / "tiny-vit.pt2", "--describe", "--seq-len=7")

    def test_wrong_usage(self):
        plan = (self.ACCELERATOR, "--global-batch=256")
        self.refuse("name a model", code=2)
        self.refuse_flags("--accelerator is missing: name one that --list-accelerators prints", "--global-batch=4")
        self.refuse_flags("--global-batch is missing", self.ACCELERATOR)
        self.refuse_flags("--space=all is not known; expected moai", *plan, "--space=all")
        self.refuse_flags("unknown MoAI release '23', expected 24.2, 24.3, 24.4 or 24.5", *plan, "--maf=23")
        self.refuse_flags("--optimizer=lion: 'lion' is not known; expected adamw, adam or sgd", *plan, "--optimizer=lion")
        self.refuse_flags("--optimizer=sgd,beta1=0.9: sgd has no beta1; leave it out", *plan, "--optimizer=sgd,beta1=0.9")
        self.refuse_flags("--precision=half: 'half' is not known; expected exported or mixed", *plan, "--precision=half")
        self.refuse_flags("--format=yaml is not known; expected text or json", *plan, "--format=yaml")
        for ratio in ("2", "0", "nan", "x"):
            self.refuse_flags(f"--memory-ratio={ratio}: expected a number of more than 0, and 1 at most", *plan, f"--memory-ratio={ratio}")
        self.refuse_flags("--expert-imbalance=0.5: expected a number of 1 or more", *plan, "--expert-imbalance=0.5")
        for threads in ("0", "-2", "x", "5000"):
            self.refuse_flags(f"--threads={threads}: expected a whole number from 1 to 1024", *plan, f"--threads={threads}")
        self.refuse_flags("Unknown command line argument '--frmat=json'; Did you mean '--format=json'?", *plan, "--frmat=json")
        self.refuse_flags("Too many positional arguments", "extra", *plan)
        self.refuse_flags("--describe plans nothing, so --accelerator contradicts it", "--describe", self.ACCELERATOR)
        self.refuse_flags("--saved-tensors is for --describe; give that as well", *plan, "--saved-tensors")


class Configuration(BadInput):
    def refuse_config(self, sentence, config, code=1, extra=()):
        self.refuse(sentence, TINY, "--accelerator=h100:8", "--global-batch=64", f"--config={config}", *extra, code=code)

    def test_each(self):
        self.refuse_config("unknown configuration key 'stages'", "stages=2")
        self.refuse_config("has no '='", "num_stages")
        self.refuse_config("expected a divisor of the 8 devices: 1, 2, 4 or 8", "num_stages=3")
        self.refuse_config("expected a divisor of the 8 samples of one data-parallel replica: 1, 2, 4 or 8", "num_micro_batches=3")
        self.refuse_config("the global batch is 64; leave one of them out", "num_micro_batches=2,batch_per_device=1")
        self.refuse_config("tensor_parallel is 2, but moai splits by 1 at most so far", "tensor_parallel=2")
        self.refuse_config("--space contradicts it", "num_stages=1", code=2, extra=["--space=moai"])


class MemoryModel(BadInput):
    def test_each(self):
        one = ["--accelerator=h100:1", "--global-batch=4"]
        self.refuse_flags("--memory-model=cuda is not known; expected gpu or pytorch-cpu", *one, "--memory-model=cuda")
        self.refuse_flags("--autocast=tpu is not known; expected cuda or cpu", *one, "--autocast=tpu")
        self.refuse_flags("give --config as well", *one, "--memory-model=pytorch-cpu")
        self.refuse_flags("--optimizer-implementation=slow is not known", *one, "--config=", "--memory-model=pytorch-cpu", "--optimizer-implementation=slow")
        self.refuse_flags("give that as well", *one, "--optimizer-implementation=fused")
        cpu = ["--memory-model=pytorch-cpu"]
        self.refuse_flags("is known for one device and zero=0", *one, "--config=zero=1", *cpu, code=1)
        self.refuse_flags("is known for adamw and adam in exported types without clipping", *one, "--config=", "--precision=mixed", *cpu, code=1)
        self.refuse_flags("--allocation-granularity=0: expected a whole number from 1 to 2^40", *one, "--allocation-granularity=0")
        self.refuse_flags("--kernel-workspace=some: expected a whole number from 0 to 2^40", *one, "--kernel-workspace=some")
        code, printed, errors = run(TINY, *one, "--memory-timeline")
        self.assertEqual((code, printed), (2, ""))
        self.assertIn("--memory-timeline writes memory.json into the folder of -o; give that as well", errors)


class Run(BadInput):
    """moai-run, on the same kinds of input."""

    def refuse_run(self, sentence, *arguments, code=1):
        saved = self.folder / "step.safetensors"
        found, printed, errors = run(*arguments, f"--save-step={saved}", tool="moai-run")
        self.assertEqual(found, code, errors)
        self.assertEqual(printed, "")
        self.assertTrue(errors.startswith("moai-run: error: "), errors)
        self.assertEqual(len(errors.splitlines()), 1, errors)
        self.assertIn(sentence, errors)
        self.assertFalse(saved.exists())

    def test_flags(self):
        self.refuse_run("name a model", code=2)
        self.refuse_run("Did you mean '--steps=3'?", TINY, "--step=3", code=2)
        self.refuse_run("--steps=0: expected a whole number of 1 or more", TINY, "--steps=0", code=2)
        self.refuse_run("--learning-rate=fast: expected a number", TINY, "--learning-rate=fast", code=2)
        self.refuse_run("--dtype=float8 is not known", TINY, "--dtype=float8", code=2)
        self.refuse_run("--accelerator=h100 is for training on --data, or for --dry-run; give one of them, or none", TINY, "--accelerator=h100", code=2)

    def test_configuration(self):
        self.refuse_run("--config=stages=2: unknown configuration key 'stages'", TINY, "--config=stages=2")
        self.refuse_run("expected a divisor of the 8 samples of one data-parallel replica: 1, 2, 4 or 8", TINY, "--config=num_micro_batches=3")
        self.refuse_run("expected a divisor of the global batch of 7: 1 or 7", TINY, "--global-batch=7", "--config=data_parallel=2")
        self.refuse_run("tensor_parallel is 2, but moai splits by 1 at most so far", TINY, "--config=tensor_parallel=2")
        self.refuse_run("zero is 3, but moai splits by 1 at most so far", TINY, "--config=data_parallel=2,zero=3")
        self.refuse_run("recomputation is to repeat 9 blocks of stage 0, which has 4", TINY, "--config=recomputation=9")
        self.refuse_run("--global-batch=0: expected a whole number from 1 to 2^40", TINY, "--global-batch=0", code=2)
        self.refuse_run("--optimizer=sgd,beta1=0.5: sgd has no beta1; leave it out", TINY, "--optimizer=sgd,beta1=0.5", code=2)
        self.refuse_run("--precision=mixed,state=f8: state is 'f8', expected exported, f32, bf16 or f16", TINY, "--precision=mixed,state=f8", code=2)

    def test_sizes_beyond_memory(self):
        self.refuse_run("GiB to run, this machine has", GRAPHS / "llama-3-70b.pt2")
        self.refuse_run("GiB to run, this machine has", TINY, f"--global-batch={2 ** 40}")

    def test_unknown_op(self):
        model = json.loads(read_model())
        node = next(node for node in graph(model)["nodes"] if "silu" in node["target"])
        node["target"] = "torch.ops.mylib.fancy.default"
        self.refuse_run("op mylib.fancy.default in model.model.layers.0.mlp.act_fn has no gradient rule, and the loss reaches parameter "
                        "'model.model.", self.write_model(json.dumps(model)))

    def test_op_without_a_gradient(self):
        model = json.loads(read_model())
        nodes = graph(model)["nodes"]
        node = next(node for node in nodes if "silu" in node["target"])
        node["target"] = "torch.ops.aten.cumprod.default"
        node["inputs"].append({"name": "dim", "arg": {"as_int": 1}, "kind": 1})
        self.refuse_run("'moai.scan' op of kind 'cumprod' in model.model.layers.0.mlp.act_fn has no gradient rule, and the loss reaches parameter "
                        "'model.model.", self.write_model(json.dumps(model)))

    def tensors(self, **entries):
        """A .safetensors file of the tensors of a step, with some replaced (or dropped, if None): name -> (type, shape, bytes)."""
        source = (GRAPHS.parent / "steps/tiny-llama.safetensors").read_bytes()
        length = int.from_bytes(source[:8], "little")
        header, data = json.loads(source[8:8 + length]), source[8 + length:]
        for name, replacement in entries.items():
            if replacement is None:
                del header[name]
                continue
            dtype, shape, size = replacement
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}
            data += b"\0" * size
        text = json.dumps(header).encode()
        path = self.folder / "edited.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + data)
        return path

    def test_tensors(self):
        norm = "param.model.model.norm.weight"

        def refuse(sentence, flag="--weights", **entries):
            path = self.tensors(**entries)
            self.refuse_run(f"{path}: {sentence}", TINY, f"{flag}={path}")

        refuse(f"has no tensor '{norm}', which the graph needs", **{norm: None})
        refuse("the graph has no parameter for tensor 'param.more'", **{"param.more": ("F32", [1], 4)})
        refuse(f"tensor '{norm}' has the shape [32, 2], the graph takes [64]", **{norm: ("F32", [32, 2], 256)})
        refuse(f"tensor '{norm}' is of type F64, the graph takes F32", **{norm: ("F64", [64], 512)})
        refuse(f"tensor '{norm}' has 64 elements of 4 bytes in 252 bytes", **{norm: ("F32", [64], 252)})
        refuse("has no tensor 'input.labels', which the graph needs", "--inputs", **{"input.labels": None})
        refuse("the graph has no input for tensor 'input.more'", "--inputs", **{"input.more": ("I64", [1], 8)})
        refuse("tensor 'input.labels' has the shape [8, 15], the graph takes [8, 16]", "--inputs", **{"input.labels": ("I64", [8, 15], 960)})
        refuse("tensor 'input.labels' is of type F32, the graph takes I64", "--inputs", **{"input.labels": ("F32", [8, 16], 512)})

    def test_weights_inside_the_archive(self):
        def archive(config, weight=b"\0" * 16):
            path = self.folder / "weights.pt2"
            with zipfile.ZipFile(TINY) as source, zipfile.ZipFile(path, "w") as target:
                for member in source.namelist():
                    target.writestr(member, source.read(member))
                target.writestr("x/data/weights/model_weights_config.json", json.dumps({"config": {"w": config}}))
                target.writestr("x/data/weights/weight_0", weight)
            return path

        meta = {"dtype": 7, "sizes": [{"as_int": 4}], "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}}
        entry = {"path_name": "weight_0", "use_pickle": False, "tensor_meta": meta}
        self.refuse_run("the entry of 'w' can't be understood", archive({**entry, "tensor_meta": {"dtype": 7}}))
        self.refuse_run("the entry of 'w' can't be understood", archive({**entry, "tensor_meta": {**meta, "sizes": [{"as_int": -4}]}}))
        self.refuse_run("tensor 'w' reaches beyond its data", archive(entry, b"\0" * 12))
        self.refuse_run("has more elements than can be counted", archive({**entry, "tensor_meta": {**meta, "sizes": [{"as_int": 2**62}] * 2, "strides": [{"as_int": 8}] * 2}}))

    def test_files(self):
        self.refuse_run("no such file", self.folder / "none.pt2")
        self.refuse_run("can't be read", TINY, f"--weights={self.folder}/none.safetensors")
        self.refuse_run("holds neither model.safetensors nor model.safetensors.index.json", TINY, f"--weights={self.folder}")
        self.refuse_run("is a directory", TINY, f"--inputs={self.folder}")
        cut = self.folder / "cut.safetensors"
        cut.write_bytes((GRAPHS.parent / "steps/tiny-llama.safetensors").read_bytes()[:-4])
        self.refuse_run("the file is cut off or damaged", TINY, f"--weights={cut}")
        self.refuse_run("which the graph needs", TINY, f"--weights={GRAPHS.parent}/steps/tiny-vit.safetensors")
        self.refuse_run("returns no loss", GRAPHS / "llama-3-8b-logits.pt2")


if __name__ == "__main__":
    unittest.main()
