# Sourced by demo.sh and test.sh: goes to the root of the checkout and builds there, saying little.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p build

# Objects compiled in another checkout serve here too.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1

# One compiler per core, and 1.5 GB of memory for each: files that include MLIR need about one.
jobs=$(nproc)
if [[ -r /proc/meminfo ]]; then
  fitting=$(awk '/^MemAvailable:/ { print int($2 / 1500000) }' /proc/meminfo)
  ((fitting >= jobs)) || jobs=$((fitting > 0 ? fitting : 1))
fi

# step "what it does" COMMAND...: runs the command with its output in build/<first word>.log. A terminal sees what goes
# on and for how long; otherwise there is one line when it is done. A failure shows the end of the log and ends the script.
step() {
  local title=$1 log=build/${1%% *}.log start=$SECONDS status=0
  shift
  "$@" >"$log" 2>&1 &
  local pid=$!
  if [[ -t 2 ]]; then
    while kill -0 "$pid" 2>/dev/null; do
      # Ninja's last `[12/80]`, where there is one.
      local progress
      progress=$(tail -c 4000 "$log" | tr '\r' '\n' | grep -oE '^\[[0-9]+/[0-9]+\]' | tail -n 1 || true)
      printf '\r\033[K%s %s %ds' "$title" "$progress" $((SECONDS - start)) >&2
      sleep 0.2
    done
    printf '\r\033[K' >&2
  fi
  wait "$pid" || status=$?
  if ((status)); then
    tail -n 40 "$log" >&2
    echo "failed: $title: \`$*\` ended with $status; everything it said is in $log" >&2
    exit "$status"
  fi
  echo "$title: $((SECONDS - start)) s" >&2
}

install_packages() { bash .ci/install-packages.sh; }

# build PRESET [TARGET...]: all of it without a target.
build() {
  local preset=$1
  shift
  step "configure $preset" cmake --preset "$preset"
  step "build $preset" cmake --build --preset "$preset" --parallel "$jobs" ${1:+--target "$@"}
}
