#!/usr/bin/env bash
# Long tests, by name: ./rillw campaign NAME. Each prints what it ran and its figures, and exits 1
# when something failed.
#
#   asan         every unit and black-box test under the address and undefined-behaviour sanitizers
#   tsan         the modules with threads, and the server's tests, under the thread sanitizer
#   clang        build with clang 19, warnings as errors, and the unit tests
#   aarch64      cross build for 64-bit Arm under qemu-user: unit tests, every conformance case, and
#                SmolLM2's logits with each of the Arm instruction sets against this machine's
#   fuzz         every libFuzzer target, SECONDS each with its corpus (default 300)
#   tokenizers   tokenizers against the Python libraries on STRINGS strings (default 1,000,000)
#   templates    chat templates against jinja2, CONVERSATIONS random ones each (default 300)
#   families     every model family against transformers
#   sim          the engine's deterministic simulator, SEEDS histories of 1,000 steps (default 10,000)
#   sim-million  the same over SEEDS short histories (default 1,000,000) on every core
#   soak         a server at 80 % of its capacity with cancels, MINUTES (default 10)
#   restarts     rolling restarts behind nginx and HAProxy, and kills, COUNT each (default 100)
#   slow         slowhttptest with CONNECTIONS (default 1,000); half-open peers, idle connections
#   threats      timings of the threat table that no test asserts, TURNS of them (default 3)
#   streams      greedy streams of 1, 8, 64 and 256 clients with cancels against the serial run: COUNT
#                of them (default 10,000), and as many in lanes
#   clients      real clients of OpenAI's API against the server, and the table in docs/server.md
#   quality      SmolLM2 against transformers: perplexity of the whole of wikitext-2
#   all          all of them
#
# usage: ./rillw campaign NAME [NUMBER]
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"

say() { printf 'campaign: %s\n' "$*" >&2; }
usage() { sed -n '2,/^set -euo/p' "${BASH_SOURCE[0]}" | sed -n 's/^# \{0,1\}//p'; }

jobs=$(getconf _NPROCESSORS_ONLN)
shared_data=${RILL_SHARED_DATA:-$root/../shared/data}
# Where `rill pull smollm2` puts it.
cache=${RILL_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/rill}
smollm2=${RILL_SMOLLM2:-$cache/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf}

need_clang() {
  command -v clang++-19 >/dev/null || {
    say "needs clang++-19 (Debian: apt-get install clang-19 libclang-rt-19-dev)"
    exit 1
  }
}

# build PRESET [TARGET…]: configures and builds, quiet unless it fails.
build() {
  local targets=()
  [[ $# -eq 1 ]] || targets=(--target "${@:2}")
  say "building ($*)"
  [[ -f build/$1/build.ninja ]] || cmake --preset "$1" >/dev/null
  cmake --build "build/$1" --parallel "$jobs" "${targets[@]}" -- -k 0 >"build/$1/build.log" 2>&1 || {
    grep -E -A8 'error|FAILED' "build/$1/build.log" | head -n 60 >&2
    say "the build failed; all of it in build/$1/build.log"
    return 1
  }
}

# The Python of the test environment.
python() {
  [[ -n ${venv:-} ]] || venv=$(./rillw setup-tests)
  "$venv/bin/python" "$@"
}

# Unit tests of a build; further arguments go to ctest. The sum of GoogleTest's own counts.
unit_tests() {
  local preset=$1 status=0
  shift
  local reports=$root/build/$preset/test-reports
  rm -rf "$reports"
  mkdir -p "$reports"
  GTEST_OUTPUT=xml:$reports/ ctest --test-dir "build/$preset" -j "$jobs" --output-on-failure "$@" ||
    status=1
  local counts
  counts=$(sed -n 's/^<testsuites tests="\([0-9]*\)" failures="\([0-9]*\)".*/\1 \2/p' "$reports"/*.xml |
    awk '{ tests += $1; failures += $2 } END { printf "%d test cases, %d failed", tests, failures }')
  say "$preset: $counts"
  return "$status"
}

run_asan() {
  need_clang
  build asan || return 1
  local status=0
  export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1
  export UBSAN_OPTIONS=print_stacktrace=1
  unit_tests asan || status=1
  RILL_BUILD=build/asan python -m pytest tests -q -p no:cacheprovider || status=1
  return "$status"
}

run_tsan() {
  need_clang
  build tsan || return 1
  local status=0 reports=$root/build/tsan/reports
  TSAN_OPTIONS=halt_on_error=1 unit_tests tsan -R '^(base|kv|engine|model|sampling|backends|llm|server)$' ||
    status=1
  # Into files: a test may look at nothing that its server wrote.
  rm -rf "$reports"
  mkdir -p "$reports"
  TSAN_OPTIONS=log_path=$reports/report RILL_BUILD=build/tsan \
    python -m pytest tests/server -q -p no:cacheprovider || status=1
  local found
  found=$({ grep -rl 'WARNING: ThreadSanitizer: ' "$reports" || true; } | wc -l)
  say "tsan: $found processes of the server's tests with reports, in build/tsan/reports"
  if ((found > 0)); then
    status=1
  fi
  return "$status"
}

run_clang() {
  need_clang
  build clang || return 1
  unit_tests clang
}

# The kernels and the modules below them; then a real model's logits, byte for byte.
run_aarch64() {
  local tool status=0
  for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
    command -v "$tool" >/dev/null || {
      say "needs $tool (Debian 12: apt install g++-aarch64-linux-gnu qemu-user)"
      return 1
    }
  done
  tools/aarch64_sysroot.sh || return 1
  build aarch64 rill_base_test rill_quant_test rill_ops_test rill_backends_test \
    rill_conformance_test logits_tool || return 1
  unit_tests aarch64 -R '^(base|quant|ops|backends|conformance)$' || status=1

  [[ -f $smollm2 ]] || {
    say "aarch64: no SmolLM2 for the logits (./rillw pull smollm2)"
    return 1
  }
  build ci logits_tool || return 1
  local out=build/aarch64/logits cpu isa mode
  mkdir -p "$out"
  # The ids of `rill eval fingerprint`.
  python3 - >"$out/ids.json" <<'END'
state, ids = 0x9E3779B97F4A7C15, []
for _ in range(48):
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    ids.append((state >> 33) % 49152)
print([ids])
END
  for mode in q8 f32; do
    local options=("$out/ids.json" "$out/here.npy" --backend cpu --kv int8 --batch --activations "$mode")
    build/ci/tests/logits_tool "$smollm2" "${options[@]}" || return 1
    for cpu in cortex-a53:neon cortex-a76:neon_dotprod max:i8mm; do
      isa=${cpu#*:}
      options[1]=$out/$isa.npy
      if RILL_CPU_ISA=$isa qemu-aarch64 -cpu "${cpu%:*}" -L build/aarch64-sysroot \
        build/aarch64/tests/logits_tool "$smollm2" "${options[@]}" &&
        cmp "$out/here.npy" "$out/$isa.npy"; then
        say "SmolLM2, activations $mode: $isa (${cpu%:*}) gives the bits of this machine"
      else
        say "SmolLM2, activations $mode: $isa (${cpu%:*}) gives OTHER bits"
        status=1
      fi
    done
  done
  return "$status"
}

run_fuzz() {
  need_clang
  local seconds=${1:-300} status=0 target name total=0
  build asan || return 1
  mkdir -p build/asan/fuzz/corpus build/asan/fuzz/findings
  python3 tests/fuzz/make_corpus.py build/asan/fuzz/seeds build/families >/dev/null
  for target in build/asan/tests/fuzz/*_fuzz; do
    [[ -x $target ]] || continue
    name=$(basename "$target")
    name=${name%_fuzz}
    local corpora=("build/asan/fuzz/corpus/$name") folder
    mkdir -p "${corpora[0]}"
    for folder in "tests/fuzz/corpus/$name" "build/asan/fuzz/seeds/$name"; do
      [[ -d $folder ]] && corpora+=("$folder")
    done
    local log=build/asan/fuzz/$name.log
    if "$target" -max_total_time="$seconds" -print_final_stats=1 -timeout=10 -rss_limit_mb=2048 \
      -artifact_prefix="build/asan/fuzz/findings/$name-" "${corpora[@]}" >"$log" 2>&1; then
      local runs
      runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
      total=$((total + ${runs:-0}))
      say "fuzz $name: ${runs:-?} executions in $seconds s, no finding"
    else
      status=1
      say "fuzz $name: FOUND something; its end (all in $log, input in build/asan/fuzz/findings/):"
      tail -n 25 "$log" >&2
    fi
  done
  say "fuzz: $total executions in all"
  return "$status"
}

# Python comparisons; their own variables make them long.
run_pytest() {
  RILL_BUILD=build/ci python -m pytest "$@" -q -s -p no:cacheprovider
}

run_tokenizers() {
  build ci tokenizer_tool || return 1
  RILL_TOKENIZER_STRINGS=${1:-1000000} run_pytest tests/oracle/test_tokenizers.py
}
run_templates() {
  build ci template_tool || return 1
  RILL_TEMPLATE_CAMPAIGN=1 RILL_TEMPLATE_CONVERSATIONS=${1:-300} run_pytest \
    tests/oracle/test_templates.py
}
run_families() {
  build ci logits_tool || return 1
  run_pytest tests/oracle/test_families.py tests/oracle/test_hf_oracle.py
}

run_sim() {
  build ci engine_sim || return 1
  build/ci/tests/engine_sim --seeds "${1:-10000}"
}

run_sim-million() {
  local seeds=${1:-1000000} share first=1 status=0 job pids=()
  build ci engine_sim || return 1
  share=$(((seeds + jobs - 1) / jobs))
  for ((job = 0; job < jobs; ++job, first += share)); do
    build/ci/tests/engine_sim --first-seed "$first" --seeds "$share" --steps 60 &
    pids+=($!)
  done
  for job in "${pids[@]}"; do wait "$job" || status=1; done
  return "$status"
}

run_soak() {
  build ci rill || return 1
  RILL_BUILD=$root/build/ci python tests/server/soak.py build/ci/apps/rill/rill \
    "$shared_data/models/stories260K/stories260K.gguf" "${1:-10}"
}

run_restarts() {
  build ci rill || return 1
  RILL_ROLLING_RESTARTS=${1:-100} RILL_KILLS=${1:-100} run_pytest tests/server/test_deploy.py \
    tests/server/test_process.py -k 'rolling or kill_9'
}

run_slow() {
  build ci rill http_tool || return 1
  RILL_SLOW_CONNECTIONS=${1:-1000} RILL_IDLE_CONNECTIONS=10000 RILL_HALF_OPEN_MS=30000 run_pytest \
    tests/server/test_process.py tests/server/test_connections.py -k 'slow or half_open or idle'
}

run_threats() {
  build ci rill || return 1
  [[ -f $smollm2 ]] || {
    say "threats: needs SmolLM2 (./rillw pull smollm2)"
    return 1
  }
  python tests/server/threat_timings.py build/ci/apps/rill/rill "$smollm2" "${1:-3}"
}

run_streams() {
  build ci rill http_tool || return 1
  RILL_STREAMS=${1:-10000} run_pytest tests/server/test_concurrency.py -k 'serial_run'
}

# Clients with many dependencies, in environments of their own; npm's need node.
run_clients() {
  local env=$root/build/clients-venv modules=$root/build/clients-node
  build ci rill || return 1
  if [[ ! -x $env/bin/pytest ]]; then
    python3 -m venv "$env"
    "$env/bin/pip" install --quiet -r tests/server/clients-requirements.txt
  fi
  if command -v npm >/dev/null && [[ ! -d $modules/node_modules ]]; then
    mkdir -p "$modules"
    cp tests/server/node/package.json "$modules/"
    npm install --prefix "$modules" --no-audit --no-fund --silent
  fi
  RILL_BUILD=$root/build/ci RILL_WRITE_MATRIX=1 RILL_NODE_MODULES=$modules/node_modules \
    RILL_SCHEMATHESIS_EXAMPLES=${1:-500} "$env/bin/python" -m pytest -q -p no:cacheprovider \
    tests/server/test_clients.py tests/server/test_lm_eval.py tests/server/test_deploy.py \
    -k 'not rolling'
}

run_quality() {
  build ci rill || return 1
  local text
  text=$(find -L "$shared_data/eval" -name 'wiki.test.raw' -print -quit 2>/dev/null || true)
  [[ -f $smollm2 && -n $text ]] || {
    say "quality: needs SmolLM2 (./rillw pull smollm2) and wiki.test.raw in the shared data"
    return 1
  }
  python tests/oracle/smollm2_quality.py build/ci/apps/rill/rill "$smollm2" "$text"
}

run_one() {
  local start=$SECONDS status=0
  say "$1 at $(git log -1 --format=%h 2>/dev/null || echo '?'), $(uname -m), $jobs cores"
  "run_$1" "${@:2}" || status=$?
  say "$1: $([[ $status -eq 0 ]] && echo passed || echo FAILED) after $((SECONDS - start)) s"
  return "$status"
}

names=(asan tsan clang aarch64 fuzz tokenizers templates families sim sim-million soak restarts slow threats streams clients quality)
case " ${names[*]} " in
  *" ${1:-} "*) run_one "$@" ;;
  *)
    if [[ ${1:-} == all ]]; then
      failed=()
      for name in "${names[@]}"; do
        # A process each, so that `set -e` keeps its meaning inside.
        "$0" "$name" || failed+=("$name")
      done
      [[ ${#failed[@]} -eq 0 ]] || say "failed: ${failed[*]}"
      exit $((${#failed[@]} > 0))
    fi
    usage
    [[ ${1:-} == --help || $# -eq 0 ]] || exit 2
    ;;
esac
