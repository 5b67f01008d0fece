#!/bin/bash
# Plans Qwen1.5-7B on 32 accelerators the way MoAI does, then trains a small model on four virtual ones.
#   ./demo.sh [--tour]    --tour: a user's walk instead, from the choice of an accelerator to the trained model
source "$(dirname "${BASH_SOURCE[0]}")/.ci/common.sh"
if [[ $# -gt 1 || ($# -eq 1 && $1 != --tour) ]]; then
  echo "demo.sh: $* is not known; expected nothing or --tour" >&2
  exit 2
fi
install_packages
build release moai-plan moai-run moai-smi moai-switch-model
if [[ $# -eq 1 ]]; then
  exec bash .ci/tour.sh
fi
build/bin/moai-plan tests/Inputs/models/qwen1.5-7b.pt2 --accelerator=4xLarge.2048GB --global-batch=256 --space=moai -o build/demo
printf '\nA small model is trained on a virtual accelerator of four devices:\n\n'
exec build/bin/moai-run tests/Inputs/graphs/tiny-gpt2.pt2 --data=tests/Inputs/texts/accelerators.txt --accelerator=Large.256GB --global-batch=32 \
  --steps=40 --log-every=4 --save=build/demo/tiny-gpt2
