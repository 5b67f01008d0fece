#!/bin/bash
# Builds everything and runs every test.
#   ./test.sh [--fuzz-seconds=N]    N: seconds for which each fuzz target runs, 60 by default
source "$(dirname "${BASH_SOURCE[0]}")/.ci/common.sh"
export MOAI_FUZZ_SECONDS=60
for option in "$@"; do
  if [[ ! $option =~ ^--fuzz-seconds=([1-9][0-9]*)$ ]]; then
    echo "test.sh: $option is not known; expected --fuzz-seconds=N" >&2
    exit 2
  fi
  MOAI_FUZZ_SECONDS=${BASH_REMATCH[1]}
done
install_packages
build release
build fuzz
exec ctest --preset release --parallel "$jobs"
