#!/usr/bin/env bash
# Measures Rill's own side of docs/performance.md again, and writes it under bench/results/.
#
#   tools/measure_performance.sh [--quick] [--threads N] [--rill PATH] [--out FOLDER] [MODEL…]
#
# Per model: `rill bench` with the shapes of the tables (prefill of 128, 512 and 2,048 tokens, decode of
# 1, 8, 16 and 32 sequences at contexts 0 and 4,096, a mixed step), five repetitions, and, on stdout, how
# long a process takes to its first token and its peak memory, five starts (tools/measure_start.py).
# Models: SmolLM2 (pulled when absent; with q8 and f32 activations and the profile of its operators) and
# the synthetic 1.1B in three formats (the first with a profile too); --quick does SmolLM2 alone. Where
# MODELs are named (SmolLM2 in other formats, say), those are measured and no others.
# The peers' side needs their own programs: write the same model for them with
# `rill bench --synthetic llama-1.1b:q4_0 --write-gguf FILE`.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
rill=$root/build/app/apps/rill/rill
out=$root/bench/results
threads=0
quick=0
models=()
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
    -* | '') sed -n '2,/^set -euo/p' "${BASH_SOURCE[0]}" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
    *) models+=("$1") ;;
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

start() {
  python3 "$root/tools/measure_start.py" --rill "$rill" --threads "$threads" "$1"
}

if [[ ${#models[@]} -gt 0 ]]; then
  for model in "${models[@]}"; do
    measure "$model" --activations q8
    start "$model"
  done
  exit
fi

"$rill" pull smollm2 >&2
for activations in q8 f32; do
  measure smollm2 --activations "$activations" --profile
done
start smollm2
if [[ $quick -eq 0 ]]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  for format in q4_0 q4_k_m q8_0; do
    profile=()
    [[ $format == q4_0 ]] && profile=(--profile)
    measure --synthetic "llama-1.1b:$format" --activations q8 "${profile[@]}"
    "$rill" bench --synthetic "llama-1.1b:$format" --write-gguf "$folder/llama-1.1b-$format.gguf" >&2
    start "$folder/llama-1.1b-$format.gguf"
    rm -f "$folder/llama-1.1b-$format.gguf"
  done
fi
