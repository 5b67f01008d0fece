#!/usr/bin/env python3
"""Compares the plans of two builds: a redraw changes no number.

  compare_plans.py OLD NEW     folders that hold bin/moai-plan, or moai-plan itself

Every graph of tests/Inputs/graphs and tests/Inputs/models is planned in several spaces and configurations. Numbers must agree to 1e-12
relative; everything else, messages and exit codes included, must be the same.
"""
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

INPUTS = Path(__file__).resolve().parent / "Inputs"
REQUESTS = [
    ["--accelerator=4xLarge.2048GB", "--global-batch=256", "--maf=24.2"],
    ["--accelerator=1.5xLarge.768GB", "--global-batch=96", "--maf=24.5"],
    ["--accelerator=8xLarge.4096GB", "--global-batch=256,1", "--maf=24.5", "--optimizer=adamw,max_gradient_norm=1"],
] + [
    [f"--accelerator={accelerator}", "--global-batch=96", f"--config={config}", *others]
    for accelerator, config, *others in [
        ("Small.64GB", "num_micro_batches=4"),
        ("h100:4", "num_micro_batches=2,zero=1,recomputation=selective"),
        ("h100:2", "num_stages=2,num_micro_batches=4"),
        ("h100:4", "num_stages=4,num_micro_batches=8,recomputation=full", "--precision=mixed"),
        ("h100:12", "num_stages=3,num_micro_batches=4,zero=1,recomputation=full"),
        ("h100:24", "num_stages=4,num_micro_batches=8,zero=1,recomputation=selective", "--precision=mixed"),
        ("v100:6", "num_stages=2,num_micro_batches=2,recomputation=1:2,schedule=gpipe", "--optimizer=sgd,momentum=0.9"),
        ("4xLarge.2048GB", "num_stages=2,num_micro_batches=6,zero=1,low_precision_params=false", "--optimizer=adamw,max_gradient_norm=1"),
        ("2xLarge.1024GB", "num_stages=8,num_micro_batches=12", "--optimizer=adamw,max_gradient_norm=1"),
    ]
]


def differences(old, new, path=""):
    """Where two JSON values differ, as lines."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key in old and key in new:
                yield from differences(old[key], new[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is only in one of them"
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{path} has {len(old)} and {len(new)} elements"
        for i, (a, b) in enumerate(zip(old, new)):
            yield from differences(a, b, f"{path}[{i}]")
    elif isinstance(old, float) and isinstance(new, float):
        if not math.isclose(old, new, rel_tol=1e-12):
            yield f"{path} is {old} and {new}"
    elif type(old) is not type(new) or old != new:
        yield f"{path} is {old!r} and {new!r}"


def plan(binary, graph, request):
    command = [binary, graph, "--format=json", "--no-times", "--threads=1", *request]
    done = subprocess.run(command, capture_output=True, text=True)
    # The log has times in it.
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    return {"code": done.returncode, "errors": errors, "plan": json.loads(done.stdout) if done.stdout else None}


def compare(job):
    old, new, graph, request = job
    before = plan(old, graph, request)
    return before["code"], list(differences(before, plan(new, graph, request)))


def binary(folder):
    file = Path(folder)
    for inside in ("bin/moai-plan", "moai-plan"):
        if (file / inside).is_file():
            return file / inside
    return file


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    old, new = map(binary, sys.argv[1:])
    graphs = sorted([*(INPUTS / "graphs").glob("*.pt2"), *(INPUTS / "models").glob("*.pt2")])
    jobs = [(old, new, graph, request) for graph in graphs for request in REQUESTS]
    planned = different = 0
    with ThreadPoolExecutor(2) as pool:
        for (_, _, graph, request), (code, lines) in zip(jobs, pool.map(compare, jobs)):
            planned += code == 0
            different += bool(lines)
            for line in lines[:5]:
                print(f"{graph.name} {' '.join(request)}: {line}")
    print(f"{len(jobs)} requests, of which {planned} have a plan and {len(jobs) - planned} a refusal: {different} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
