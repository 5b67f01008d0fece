#!/usr/bin/env python3
"""All C++ is formatted as .clang-format says. Names the files that aren't, and the command that formats them."""
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["include", "lib", "passes", "cost_model", "tools", "tests", "bench"]


def is_formatted(file):
    return subprocess.run(["clang-format-19", "--dry-run", "-Werror", file], cwd=ROOT, stderr=subprocess.DEVNULL).returncode == 0


def main():
    files = sorted(str(f.relative_to(ROOT)) for folder in FOLDERS for ending in ("h", "cpp") for f in (ROOT / folder).rglob(f"*.{ending}"))
    with ThreadPoolExecutor() as pool:
        unformatted = [file for file, good in zip(files, pool.map(is_formatted, files)) if not good]
    if unformatted:
        print(*unformatted, sep="\n")
        print("format them with: clang-format-19 -i " + " ".join(unformatted))
    return 1 if unformatted else 0


if __name__ == "__main__":
    sys.exit(main())
