#!/bin/bash
# Installs what building, testing and formatting moai needs and is not there yet. All of it is in Debian 12 itself.
set -euo pipefail

packages=(
  # build
  cmake g++ ninja-build mold ccache pkgconf
  llvm-19-dev libmlir-19-dev mlir-19-tools zlib1g-dev libzstd1
  libabsl-dev libeigen3-dev libsimdjson-dev libtbb-dev libzip-dev
  # tests and benchmarks; llvm-19-tools brings lit, FileCheck, not and split-file
  libgtest-dev libgmock-dev libbenchmark-dev llvm-19-tools clang-format-19 python3
  # fuzz targets
  clang-19 libclang-rt-19-dev
  # pictures of losses
  gnuplot-nox
)

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  echo "moai's packages can only be installed by apt; on this system, install the equivalents of: ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  # A package of several architectures answers once for each.
  [[ $status == installed* ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID)); then
  if ! command -v sudo >/dev/null; then
    echo "as root, install: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
as_root+=(env DEBIAN_FRONTEND=noninteractive)

log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
  "$@" >"$log" 2>&1 && return
  tail -n 30 "$log" >&2
  echo "failed: $*" >&2
  exit 1
}

echo "installing ${missing[*]}" >&2
quietly "${as_root[@]}" apt-get update
quietly "${as_root[@]}" apt-get install -y --no-install-recommends "${missing[@]}"
