#!/bin/bash
# A user's walk, each command shown as it is typed: choose an accelerator, train on it, look at it meanwhile, rehearse a large
# training. Leaves the user's own choice of an accelerator alone. demo.sh --tour builds and runs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tour=build/demo/tour
rm -rf "$tour"
mkdir -p "$tour"
export PATH=$PWD/build/bin:$PATH XDG_CONFIG_HOME=$PWD/$tour/config XDG_STATE_HOME=$PWD/$tour/state
unset MOAI_ACCELERATOR

say() { printf '\n# %s\n' "$*"; }
show() { printf '\n$ %s\n' "$*"; }
run() {
  show "$*"
  "$@"
}
# Lines typed with a pause before each, so that they are seen where they are asked for.
type_slowly() {
  for line in "$@"; do
    sleep 0.5
    echo "$line" >&2
    echo "$line"
  done
}
# watch_while PID: looks at the accelerator in the middle of a job.
watch_while() {
  sleep 2
  run moai-smi
  run moai-smi -p "${@:2}"
  wait "$1"
}

say "One virtual accelerator, whatever it is made of."
run moai-smi
say "Its model is switched with one command."
show moai-switch-model
type_slowly 3 q | moai-switch-model
run moai-smi

say "Training: the script says how many samples are in a batch, the rest is found."
train=(moai-run tests/Inputs/graphs/tiny-gpt2.pt2 --data=tests/Inputs/texts/accelerators.txt --global-batch=32 --steps=80 --log-every=8
  --save="$tour/trained")
show "${train[*]} &"
"${train[@]}" &
watch_while $!
run ls -l "$tour/trained"
run moai-smi

say "A model that no laptop can train is rehearsed: its plan is played, here thirty times as fast."
run moai-switch-model 4xLarge.2048GB
rehearse=(moai-run tests/Inputs/models/qwen1.5-7b.pt2 --dry-run --maf=24.2 --global-batch=256 --steps=12 --speed=30)
show "${rehearse[*]} &"
"${rehearse[@]}" &
watch_while $! -i 0
