#!/usr/bin/env python3
"""Runs a fuzz target of preset `fuzz` from fresh seeds; fails with where the reproducer lies if it finds anything.

  run.py TARGET    MOAI_FUZZ_SECONDS: for how long (60)

Without the build it ends with 77, which ctest counts as skipped; if MOAI_FUZZ_SECONDS is set, it fails.
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LIMITS = ["-timeout=20", "-rss_limit_mb=2048", "-malloc_limit_mb=2048", "-max_len=65536", "-print_final_stats=1"]


def main():
    target = sys.argv[1]
    seconds = os.environ.get("MOAI_FUZZ_SECONDS")
    binary = ROOT / "build-fuzz" / "bin" / f"moai-fuzz-{target}"
    if not binary.exists():
        print(f"{binary} is not built: cmake --preset fuzz && cmake --build --preset fuzz")
        return 1 if seconds else 77
    found = ROOT / "build-fuzz" / "found"
    found.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        subprocess.run([sys.executable, Path(__file__).with_name("make_seeds.py"), target, corpus], check=True)
        command = [binary, *LIMITS, f"-max_total_time={seconds or 60}", f"-artifact_prefix={found}/{target}-", corpus]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    print(run.stdout[-6000:])
    written = [line.split()[-1] for line in run.stdout.splitlines() if "Test unit written to" in line]
    for reproducer in written:
        print(f"reproduce with: {binary} {reproducer}")
    return 1 if run.returncode or written else 0


if __name__ == "__main__":
    sys.exit(main())
