#!/usr/bin/env python3
"""Writes what the fuzz targets start from, made of tests/Inputs.

  make_seeds.py pt2|safetensors|data FOLDER
"""
import json
import struct
import sys
import zipfile
from pathlib import Path

INPUTS = Path(__file__).resolve().parent.parent / "Inputs"
WINDOW = 8  # nodes
MOST_BYTES = 60_000  # a node with a graph inside can be a whole model


def program_of(path):
    archive = zipfile.ZipFile(path)
    name = next(name for name in archive.namelist() if name.endswith("models/model.json"))
    return json.loads(archive.read(name))


def names_in(argument):
    """The tensors that an argument of a node names."""
    if isinstance(argument, dict):
        for kind, value in argument.items():
            if kind == "as_tensor":
                yield value["name"]
            elif kind == "as_tensors":
                yield from (item["name"] for item in value)
            elif kind != "as_graph":
                yield from names_in(value)
    elif isinstance(argument, list):
        for value in argument:
            yield from names_in(value)


def slim(node):
    stack = node.get("metadata", {}).get("nn_module_stack")
    return {"target": node["target"], "inputs": node["inputs"], "outputs": node["outputs"], "metadata": {"nn_module_stack": stack} if stack else {}}


def window_of(program, first):
    """A program of a few nodes: what they read becomes its inputs, their last result its output."""
    graph = program["graph_module"]["graph"]
    nodes = [slim(node) for node in graph["nodes"][first : first + WINDOW]]
    made = [name for node in nodes for name in names_in(node["outputs"])]
    read = [name for node in nodes for name in names_in(node["inputs"])]
    inputs = [name for name in dict.fromkeys(read) if name not in made]
    if not made or any(name not in graph["tensor_values"] for name in inputs + made):
        return None
    known = {"parameter", "buffer", "tensor_constant"}
    specs = {}
    for spec in program["graph_module"]["signature"]["input_specs"]:
        (kind, content), = spec.items()
        if kind in known:
            specs[content["arg"]["name"]] = spec
    values = {name: {key: graph["tensor_values"][name][key] for key in ("dtype", "sizes")} for name in dict.fromkeys(inputs + made)}
    output = {"as_tensor": {"name": made[-1]}}
    return {
        "schema_version": program["schema_version"],
        "graph_module": {
            "graph": {"inputs": [{"as_tensor": {"name": name}} for name in inputs], "outputs": [output], "nodes": nodes, "tensor_values": values},
            "signature": {
                "input_specs": [specs.get(name, {"user_input": {"arg": {"as_tensor": {"name": name}}}}) for name in inputs],
                "output_specs": [{"user_output": {"arg": output}}],
            },
        },
    }


def windows():
    """Windows until every op of every graph is in one."""
    seen = set()
    for path in sorted(INPUTS.glob("graphs/*.pt2")):
        program = program_of(path)
        nodes = program["graph_module"]["graph"]["nodes"]
        for first in range(0, len(nodes), WINDOW // 2):
            targets = {node["target"] for node in nodes[first : first + WINDOW]}
            if targets <= seen:
                continue
            window = window_of(program, first)
            if window and len(json.dumps(window)) < MOST_BYTES:
                seen |= targets
                yield f"{path.stem}-{first}", window


def pt2_seeds():
    for name, program in windows():
        yield name, b"p\0" + json.dumps(program, separators=(",", ":")).encode()
    whole = INPUTS / "graphs" / "family-cnn.pt2"
    yield "program", b"p\0" + json.dumps(program_of(whole), separators=(",", ":")).encode()
    yield "archive", b"a\0" + whole.read_bytes()
    meta = {"dtype": 7, "sizes": [{"as_int": 2}, {"as_int": 2}], "strides": [{"as_int": 2}, {"as_int": 1}], "storage_offset": {"as_int": 0}}
    entries = {name: {"path_name": f"weight_{i}", "is_param": True, "use_pickle": False, "tensor_meta": meta} for i, name in enumerate("ab")}
    yield "weights", b"w\0" + json.dumps({"config": entries}).encode()


def safetensors_seeds():
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
        "c": {"dtype": "I64", "shape": [], "data_offsets": [32, 40]},
        "d": {"dtype": "BOOL", "shape": [0, 7], "data_offsets": [40, 40]},
    }
    text = json.dumps(header).encode()
    yield "file", b"f" + struct.pack("<Q", len(text)) + text + bytes(range(40))
    yield "header", b"h" + text
    yield "strided", b"t" + bytes([1, 2]) + struct.pack("<5q", 1, 2, 3, 4, 1) + bytes(64)
    yield "shared", b"t" + bytes([8, 1]) + struct.pack("<3q", 0, 5, 0) + bytes(8)


def data_seeds():
    tokens = [1, 2, 3, 4, 5, 6]
    yield "text", b"t" + bytes(tokens)
    yield "ids", b"i1 2 3\n4, 5, 6\r\n"
    yield "bin16", b"2" + struct.pack("<6H", *tokens)
    yield "bin32", b"4" + struct.pack("<6I", *tokens)
    for version, shape in ((1, "(6,)"), (2, "(2, 3)")):
        header = f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        length = struct.pack("<H" if version == 1 else "<I", len(header))
        yield f"npy{version}", b"n\x93NUMPY" + bytes([version, 0]) + length + header + struct.pack("<6i", *tokens)
    header = {
        "input.ids": {"dtype": "I64", "shape": [2, 2], "data_offsets": [0, 32]},
        "labels": {"dtype": "U8", "shape": [2, 2], "data_offsets": [32, 36]},
        "attention_mask": {"dtype": "BOOL", "shape": [2, 2], "data_offsets": [36, 40]},
    }
    text = json.dumps(header).encode()
    yield "safetensors", b"s" + struct.pack("<Q", len(text)) + text + struct.pack("<4q", 1, 2, 3, 4) + bytes([1, 2, 3, 4, 1, 1, 1, 0])


SEEDS = {"pt2": pt2_seeds, "safetensors": safetensors_seeds, "data": data_seeds}


def main():
    target, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in SEEDS[target]():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
