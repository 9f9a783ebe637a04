#!/usr/bin/env bash
# Measures Rill's own side of docs/performance.md again, and writes it under bench/results/.
#
#   tools/measure_performance.sh [--quick] [--threads N] [--rill PATH] [--out FOLDER]
#
# Per model: `rill bench` with the shapes of the tables (prefill 128/512/2048, decode of 1 sequence at
# context 0 and 4096, decode of 8, 16 and 32), five repetitions, and start to first token; then the
# op profile of SmolLM2. Models: SmolLM2 (pulled when absent) and the synthetic 1.1B in three
# formats; --quick does SmolLM2 alone. The peers' side needs their own programs: write the same
# model for them with `rill bench --synthetic llama-1.1b:q4_0 --write-gguf FILE`.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
rill=$root/build/app/apps/rill/rill
out=$root/bench/results
threads=0
quick=0
while [[ $# -gt 0 ]]; do
  case $1 in
    --quick) quick=1 ;;
    --threads) threads=$2; shift ;;
    --rill) rill=$2; shift ;;
    --out) out=$2; shift ;;
    *) sed -n '2,/^set -euo/p' "${BASH_SOURCE[0]}" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
  esac
  shift
done
[[ -x $rill ]] || { echo "no $rill: run ./rillw --help once, or name a binary with --rill" >&2; exit 1; }
mkdir -p "$out"

# measure NAME FLAGS…: one result file, named <machine>-<commit>-NAME.json.
measure() {
  local name=$1 file
  shift
  file=$(mktemp -d)
  echo "== $name: rill bench $*" >&2
  "$rill" bench "$@" --threads "$threads" --prefill 128,512,2048 --batch 1,8,16,32 --at 0,4096 \
    --mixed 8x512+128 --repetitions 5 --out "$file/"
  local made
  made=$(basename "$file"/*.json .json)
  local to=$out/$made-$name number=2
  while [[ -e $to.json ]]; do to=$out/$made-$name-$((number++)); done
  mv "$file/$made.json" "$to.json"
  rmdir "$file"
  echo "-> $to.json" >&2
}

"$rill" pull smollm2 >&2
for activations in q8 f32; do
  measure "smollm2-$activations" smollm2 --activations "$activations" --profile
done
if [[ $quick -eq 0 ]]; then
  for format in q4_0 q4_k_m q8_0; do
    measure "llama-1.1b-$format" --synthetic "llama-1.1b:$format" --activations q8
  done
fi
