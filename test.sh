#!/bin/bash
# Builds everything and runs every test.
source "$(dirname "${BASH_SOURCE[0]}")/.ci/common.sh"
install_packages
build release
exec ctest --preset release --parallel "$jobs"
