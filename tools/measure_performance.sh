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
    --threads | --rill | --out)
      [[ $# -ge 2 && -n $2 ]] || { echo "$1: expected a value after it" >&2; exit 2; } ;;
  esac
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

# measure FLAGS…: one new result file, which rill names by machine, instruction set, commit, model and
# options, and tells at the end.
measure() {
  echo "== rill bench $*" >&2
  "$rill" bench "$@" --threads "$threads" --prefill 128,512,2048 --batch 1,8,16,32 --at 0,4096 \
    --mixed 8x512+128 --repetitions 5 --out "$out/"
}

"$rill" pull smollm2 >&2
for activations in q8 f32; do
  measure smollm2 --activations "$activations" --profile
done
if [[ $quick -eq 0 ]]; then
  for format in q4_0 q4_k_m q8_0; do
    measure --synthetic "llama-1.1b:$format" --activations q8
  done
fi
