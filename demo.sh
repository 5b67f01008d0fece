#!/bin/bash
# Builds moai-plan and plans Qwen1.5-7B on 32 accelerators the way MoAI does: log on stderr, candidates on stdout.
source "$(dirname "${BASH_SOURCE[0]}")/.ci/common.sh"
install_packages
build release moai-plan
exec build/bin/moai-plan tests/Inputs/models/qwen1.5-7b.pt2 --accelerator=4xLarge.2048GB --global-batch=256 --space=moai -o build/demo
