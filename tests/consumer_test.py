#!/usr/bin/env python3
"""A project of its own finds an installed moai, links it, imports a model, plans it and trains it.

  consumer_test.py BUILD_FOLDER CMAKE
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent
MODEL = TESTS / "Inputs/graphs/tiny-llama.pt2"
EXPECTED = """\
devices 32, global batch 256
candidates 16
parameters 180800
losses 6, falling
"""


def run(*command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\nfailed: {' '.join(map(str, command))}")
    return done.stdout


def main():
    build, cmake = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        prefix, consumer = Path(folder) / "prefix", Path(folder) / "consumer"
        run(cmake, "--install", build, "--prefix", prefix)
        # CXXFLAGS: moai built with sanitizers needs a consumer built with them.
        cache = (Path(build) / "CMakeCache.txt").read_text().splitlines()
        flags = next((line.partition("=")[2] for line in cache if line.startswith("CMAKE_CXX_FLAGS:")), "")
        run(cmake, "-G", "Ninja", "-S", TESTS / "consumer", "-B", consumer, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_FLAGS={flags}",
            "-DCMAKE_BUILD_TYPE=Release")
        run(cmake, "--build", consumer)
        text = Path(folder) / "text.txt"
        text.write_text("pack my box with five dozen liquor jugs. " * 100)
        printed = run(consumer / "consumer", MODEL, text)
        if printed != EXPECTED:
            sys.exit(f"expected:\n{EXPECTED}\ngot:\n{printed}")
        tool = prefix / "bin/moai-plan"
        if not os.access(tool, os.X_OK):
            sys.exit(f"{tool} was not installed")


if __name__ == "__main__":
    main()
