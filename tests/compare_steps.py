#!/usr/bin/env python3
"""Prints, as a table, how close moai-run comes to what PyTorch computed for the graphs of tests/Inputs/steps."""
import array
import json
import os
import re
import struct
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = Path(os.environ.get("MOAI_BIN", ROOT / "build/bin")) / "moai-run"


def load(path):
    """The floating tensors of a safetensors file."""
    content = Path(path).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    tensors = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if entry.get("dtype") == "F32":
            begin, end = entry["data_offsets"]
            tensors[name] = array.array("f", content[8 + length + begin : 8 + length + end])
    return tensors


def norm(values):
    return sum(value * value for value in values) ** 0.5


def run(graph, steps, *flags):
    return subprocess.run([RUN, graph, f"--weights={steps}", f"--inputs={steps}", *flags], capture_output=True, text=True, check=True).stdout


def compare(steps):
    """Relative differences: loss, worst gradient in float32 and in float64, worst of 20 losses."""
    graph, expected = ROOT / "tests/Inputs/graphs" / f"{steps.stem}.pt2", load(steps)
    largest = max(norm(values) for name, values in expected.items() if name.startswith("grad."))
    worst = []
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("exported", "float64"):
            run(graph, steps, f"--save-step={folder}/step.safetensors", f"--dtype={dtype}")
            found = load(f"{folder}/step.safetensors")
            # Smaller gradients are PyTorch's own rounding noise.
            worst.append(max(norm([a - b for a, b in zip(found[name], values)]) / norm(values)
                             for name, values in expected.items() if name.startswith("grad.") and norm(values) > 1e-3 * largest))
    loss = abs(found["loss"][0] / expected["loss"][0] - 1)
    losses = [float(value) for value in re.findall(r"Loss: (\S+)", run(graph, steps, "--steps=20"))]
    reference = json.loads(steps.with_name(f"{steps.stem}-steps.json").read_text())["losses"]
    return loss, *worst, max(abs(a / b - 1) for a, b in zip(losses, reference))


print("| graph | loss | gradients | in float64 | 20 losses |\n|---|---|---|---|---|")
for steps in sorted((ROOT / "tests/Inputs/steps").glob("*.safetensors")):
    print(f"| {steps.stem} | " + " | ".join(f"{value:.0e}" for value in compare(steps)) + " |")
