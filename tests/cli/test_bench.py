"""rill bench: the shape of its JSON, ceilings, profiles, synthetic models and their GGUF files."""
import json
import math
import os
import pathlib
import re
import resource
import signal
import shutil
import subprocess
import time

import pytest

QUICK = ["-r", "1", "--min-time", "0", "--kv-memory", "64"]
LIMITS = {"dram_read", "cache_read", "int8_dot", "f32_fma"}


def rill_json(rill, *words):
    done = subprocess.run([rill, *map(str, words), "--json"], capture_output=True, timeout=120,
                          stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def bench_text(rill, *words) -> str:
    return subprocess.run([rill, *map(str, words)], capture_output=True, text=True, timeout=120, check=True,
                          stdin=subprocess.DEVNULL).stdout


def fingerprint(rill, model, *flags):
    return rill_json(rill, "eval", "fingerprint", model, *flags)["fingerprint"]


@pytest.fixture(scope="module")
def report(rill):
    return rill_json(rill, "bench", "--synthetic", "llama-tiny:q4_0", "-p", "16,32", "-b", "1,4",
                     "--at", "0,64", "--mixed", "3x32+16", "--profile", *QUICK)


def test_json_has_the_promised_keys(report):
    assert isinstance(report["machine"], str) and report["machine"]
    assert isinstance(report["commit"], str) and report["commit"]
    for key in ("load_s", "first_token_s", "resident_mb"):
        assert report[key] > 0, key
    assert report["first_token_s"] > report["load_s"]
    shapes = {(r["phase"], r["num_seqs"], r["num_tokens"], r["context"]) for r in report["runs"]}
    assert shapes == {("prefill", 1, 16, 0), ("prefill", 1, 32, 0), ("decode", 1, 1, 0),
                      ("decode", 1, 1, 64), ("decode", 4, 4, 0), ("decode", 4, 4, 64),
                      ("mixed", 4, 19, 32)}
    for run in report["runs"]:
        assert run["limit"] in LIMITS
        assert run["pct_of_limit"] > 0
        assert math.isclose(run["tokens_per_s"], run["num_tokens"] / run["seconds"])


def test_ceilings_are_plausible(report):
    ceilings = report["ceilings"]
    # How fast is for no test to say.
    assert 0 < ceilings["dram_read_gbs"] < 5000
    assert 0 < ceilings["int8_dot_gmacs"] < 1e6
    assert 0 < ceilings["f32_fma_gflops"] < 1e5
    assert ceilings["barrier_ns"] > 0
    assert ceilings["threads"] >= 1 and ceilings["isa"]
    sizes = [read["working_set_mb"] for read in ceilings["reads"]]
    assert sizes == sorted(sizes)


def test_costs_of_a_decode_are_those_counted_by_hand(report):
    run = next(r for r in report["runs"] if (r["phase"], r["num_seqs"], r["context"]) ==
               ("decode", 4, 64))
    # llama-tiny: hidden 256, inner 512, 2 layers, 4 heads of 64, 2 of them for keys, 512 tokens.
    products = 2 * (256 * (256 + 2 * 128) + 256 * 256 + 3 * 256 * 512) + 512 * 256
    attention = 2 * 65 * 4 * 128
    assert run["int8_macs"] + run["f32_macs"] == 4 * (products + attention)
    # int8 keys and values of 2 heads of 64 (8 bytes and an f16 scale for 8), 65 positions read and
    # one written, 2 layers.
    assert run["kv_bytes"] == 4 * (65 + 1) * 2 * 2 * 128 * 10 // 8
    # At least 4.5 bits a weight, at most a tenth more than q4_0 and q6_k have in a file.
    bits = 8 * run["weight_bytes"] / products
    assert 4.5 < bits < 6


def test_profile_accounts_for_the_time(report):
    assert {p["phase"] for p in report["profiles"]} == {"prefill", "decode"}
    for profile in report["profiles"]:
        for rows in (profile["by_op"], profile["by_place"]):
            assert math.isclose(sum(row["share"] for row in rows), 1, rel_tol=1e-6)
            assert math.isclose(sum(row["seconds"] for row in rows), profile["seconds"],
                                rel_tol=1e-6)
        names = {row["name"] for row in profile["by_op"]}
        assert {"linear", "norm_linear", "linear_glu", "logits", "paged_attention"} <= names
        assert "layers.*.attn.qkv" in {row["name"] for row in profile["by_place"]}
        shares = {row["name"]: row["share"] for row in profile["by_op"]}
        products = sum(shares[op] for op in ("linear", "norm_linear", "linear_glu", "logits"))
        assert math.isclose(profile["matmul_share"], products, rel_tol=1e-6)


def test_a_profile_is_the_repetition_of_median_time(rill):
    words = ["bench", "--synthetic", "llama-tiny:q4_0", "-p", "none", "-b", "2", "--at", "0", "--mixed", "none",
             "--profile", "--kv-memory", "64", "--min-time", "0"]
    report = rill_json(rill, *words, "-r", "5")
    assert {p["num_seqs"] for p in report["profiles"]} == {1, 2}
    for profile in report["profiles"]:
        assert profile["repetitions"] == 5
        for key in ("seconds", "matmul_share", "attention_share"):
            assert profile["min_" + key] <= profile[key] <= profile["max_" + key], key
        assert profile["min_seconds"] < profile["max_seconds"]
        assert math.isclose(sum(row["seconds"] for row in profile["by_op"]), profile["seconds"])
    text = bench_text(rill, *words, "-r", "5")
    assert len(re.findall(r"ms \(median of 5, spread \d+%\); matrix products [\d.]+ % \(\d+ to \d+\)", text)) == len(
        report["profiles"])
    assert "median" not in bench_text(rill, *words, "-r", "1")
    timed = rill_json(rill, *words[:-1], "0.05", "-r", "1")  # and --min-time counts, too
    assert all(profile["repetitions"] > 1 for profile in timed["profiles"])


def test_profiles_that_do_not_fit_are_left_out_with_a_reason(rill):
    words = ["bench", "--synthetic", "llama-tiny:q4_0", "-c", "256", "-p", "none", "-b", "none", "--mixed", "none",
             "--profile", *QUICK]
    report = rill_json(rill, *words)
    shapes = [(p["phase"], p["num_seqs"], p["num_tokens"], p["context"]) for p in report["profiles"]]
    assert shapes == [("prefill", 1, 256, 0), ("decode", 1, 1, 128), ("decode", 8, 8, 128)]
    left_out = [(s["num_seqs"], s["context"]) for s in report["skipped"] if s["profile"]]
    assert left_out == [(1, 1024), (1, 4096), (1, 8191), (8, 1024)]
    assert all("256 (--context)" in s["reason"] for s in report["skipped"])
    assert "left out: profile of a decode of 8 sequences at context 1024: 1025 positions" in bench_text(rill, *words)


def test_repetitions_that_were_asked_for_are_made_of_long_cases_too(rill):
    # Whatever takes over 2 s: a prefill by the slow reference backend.
    words = ["bench", "--synthetic", "llama-tiny:f32", "--backend", "reference", "-p", "1536", "-b", "none",
             "--mixed", "none", "--kv-memory", "64"]
    line = next(line for line in bench_text(rill, *words).splitlines() if line.startswith("prefill")).split()
    if float(line[5]) < 2000:
        pytest.skip("skipped: a case that was to take over 2 s did not")
    assert line[6] == "-"  # no spread of one
    (run,) = rill_json(rill, *words, "-r", "2", "--min-time", "0")["runs"]
    assert run["repetitions"] == 2


def test_the_buffer_for_dram_is_as_large_as_memory_allows(rill):
    if pathlib.Path(rill).parents[2].name in ("asan", "tsan"):
        pytest.skip("skipped: a sanitizer reserves all of the address space")
    words = [rill, "bench", "--synthetic", "llama-tiny:q4_0", "-p", "16", "-b", "none", "--mixed", "none", "-t", "1",
             *QUICK, "--json"]
    limit = 900_000 << 10
    done = subprocess.run(words, capture_output=True, timeout=120, check=False,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert done.returncode == 0, done.stderr.decode()
    assert 64 < json.loads(done.stdout)["ceilings"]["reads"][-1]["working_set_mb"] < 600


def test_a_context_of_one_position_is_refused_by_name(rill):
    done = subprocess.run([rill, "bench", "--synthetic", "llama-tiny:q4_0", "-c", "1", "-p", "1", "-b", "1", "--at",
                           "0", "--mixed", "none"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "--context: expected at least 2 positions" in done.stderr


def test_cases_that_do_not_fit_are_left_out_with_a_reason(rill):
    report = rill_json(rill, "bench", "--synthetic", "llama-tiny:q8_0", "-p", "100000", "-b", "1",
                       "--at", "0", "--mixed", "none", *QUICK)
    assert [r["phase"] for r in report["runs"]] == ["decode"]
    assert "positions" in report["skipped"][0]["reason"]


def test_report_says_what_was_measured(rill, report):
    assert (report["weights"], report["activations"], report["kv_dtype"]) == ("file", "f32", "int8")
    words = ["bench", "--synthetic", "llama-tiny:f16", "-p", "8", "-b", "1", "--at", "0", "--mixed",
             "none", "--weights", "w8a8", *QUICK]
    assert rill_json(rill, *words)["weights"] == "w8a8"
    done = subprocess.run([rill, *words], capture_output=True, timeout=120, check=True)
    header = done.stdout.decode().splitlines()[1]
    assert "weights w8a8 | activations int8 per token" in header and "kv int8" in header


def test_report_names_the_model_without_its_folder(rill, stories):
    report = rill_json(rill, "bench", stories, "-p", "8", "-b", "none", "--mixed", "none", *QUICK)
    assert report["model"] == pathlib.Path(stories).name


def test_place_of_the_result_is_looked_at_first(rill, tmp_path):
    (tmp_path / "file").write_text("")
    # A measurement would take longer than the test waits.
    words = [rill, "bench", "--synthetic", "llama-tiny:f16", "-p", "8", "-b", "1", "--at", "0",
             "--mixed", "none", "--min-time", "100", "--json", "--out"]
    for place, code in [("none/", 3), ("none/x.json", 3), ("file/x.json", None)]:
        done = subprocess.run([*words, f"{tmp_path}/{place}"], capture_output=True, timeout=60,
                              check=False)
        assert done.returncode == code if code else done.returncode, done.stderr
        assert f"{tmp_path}/{place}" in json.loads(done.stdout)["error"]["message"]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_writing_a_model_is_told_to_machines(rill, tmp_path):
    file = tmp_path / "model.gguf"
    out = rill_json(rill, "bench", "--synthetic", "llama-tiny:q4_0", "--write-gguf", file)
    assert out == {"out": str(file), "model": "synthetic:llama-tiny:q4_0",
                   "size_bytes": file.stat().st_size}
    done = subprocess.run([rill, "bench", "--synthetic", "llama-tiny:q4_0", "--write-gguf",
                           str(file), "--out", str(tmp_path)], capture_output=True, timeout=60,
                          check=False)
    assert done.returncode == 2 and b"--out" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_signal_leaves_half_a_model(rill, tmp_path, number):
    # 1.1 billion weights are being made for seconds; the signal comes while they are written.
    process = subprocess.Popen([rill, "bench", "--synthetic", "llama-1.1b:q4_0", "--write-gguf",
                                str(tmp_path / "model.gguf")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100

    def written():
        for fd in pathlib.Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                if str(tmp_path) in os.readlink(fd) and os.stat(fd).st_size > 0:
                    return True
            except FileNotFoundError:
                pass
        return False

    while process.poll() is None and not written() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    code = process.wait(60)
    if code == 0:
        pytest.skip("skipped: written before the signal came")
    assert list(tmp_path.iterdir()) == []


def test_out_names_each_run_and_overwrites_none(rill, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    odd = tmp_path / ("o\u00e4d (1)'" + "x" * 150 + ".gguf")
    subprocess.run([rill, "bench", "--synthetic", "llama-tiny:q4_0", "--write-gguf", str(odd)],
                   check=True, capture_output=True, timeout=120)
    runs = [(["--synthetic", "llama-tiny:f16"], "synthetic-llama-tiny-f16-f32-kv-int8-1-threads"),
            (["--synthetic", "llama-tiny:q4_0"], "synthetic-llama-tiny-q4_0-f32-kv-int8-1-threads"),
            (["--synthetic", "llama-tiny:q4_0", "--activations", "q8"],
             "synthetic-llama-tiny-q4_0-q8-kv-int8-1-threads"),
            (["--synthetic", "llama-tiny:f16", "--weights", "w8a8", "--kv-dtype", "f16"],
             "synthetic-llama-tiny-f16-w8a8-f32-kv-f16-1-threads"),
            ([str(odd)], "o-d-1-" + "x" * 71 + "-f32-kv-int8-1-threads"),
            (["--synthetic", "llama-tiny:f16"],
             "synthetic-llama-tiny-f16-f32-kv-int8-1-threads-2")]
    contents = {}
    for words, name in runs:
        done = subprocess.run([rill, "bench", *words, "-t", "1", "-p", "8", "-b", "1", "--at", "0",
                               "--mixed", "none", "--out", str(results), *QUICK], check=True,
                              capture_output=True, timeout=120)
        new = [file for file in results.iterdir() if file.name not in contents]
        assert len(new) == 1 and new[0].name in done.stderr.decode(), name
        contents[new[0].name] = new[0].read_bytes()
        report = json.loads(contents[new[0].name])
        assert new[0].name.endswith(f"-{report['commit'].lower()}-{name}.json"), new[0].name
        assert set(new[0].name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-")
    assert {file.name: file.read_bytes() for file in results.iterdir()} == contents
    assert len(contents) == len(runs)


FORMATS = ["f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k",
           "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4", "q4_k_m"]


@pytest.mark.parametrize("spec", [f"llama-tiny:{f}" for f in FORMATS] + ["mixtral-tiny:q4_0"])
def test_synthetic_model_and_its_file_are_the_same_model(rill, spec, tmp_path):
    file = tmp_path / "model.gguf"
    subprocess.run([rill, "bench", "--synthetic", spec, "--write-gguf", str(file)], check=True,
                   capture_output=True, timeout=120)
    assert fingerprint(rill, f"synthetic:{spec}") == fingerprint(rill, str(file))
    if spec not in ("llama-tiny:q4_0", "mixtral-tiny:q4_0", "llama-tiny:q4_k_m"):
        return
    # Another reader: shapes, types and finite weights by the gguf package.
    gguf = pytest.importorskip("gguf")
    numpy = pytest.importorskip("numpy")
    reader = gguf.GGUFReader(file)
    assert reader.get_field("general.architecture").contents() == "llama"
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    assert len(tokens) == 512 and len(set(tokens)) == 512
    tensors = {t.name: t for t in reader.tensors}
    assert list(tensors["token_embd.weight"].shape) == [256, 512]
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert numpy.isfinite(values).all()
        if len(tensor.shape) > 1:
            columns = int(tensor.shape[0])
            assert abs(numpy.sqrt((values**2).mean()) * columns**0.5 - 1) < 0.15, tensor.name


def test_synthetic_models_run_like_others(rill):
    out = rill_json(rill, "run", "synthetic:mixtral-tiny:q8_0", "hello", "-n", "4", "--ignore-eos")
    assert len(out["output_ids"]) == 4


@pytest.mark.parametrize("words, code, expected", [
    (["--synthetic", "llama-2b:q4_0"], 2, "llama-1.1b"),
    (["--synthetic", "llama-tiny:q9"], 4, "q4_k_m"),
    (["--synthetic", "llama-tiny:w8a8"], 4, "--weights w8a8"),
    (["--synthetic", "llama-tiny"], 2, "SHAPE:FORMAT"),
    (["--write-gguf", "x.gguf"], 2, "--synthetic"),
    (["--synthetic", "llama-tiny:q4_0", "--mixed", "8by2"], 2, "8x512+128"),
    (["--synthetic", "llama-tiny:q4_0", "-p", "none,32"], 2, "--prefill: expected 'none' alone"),
    (["--synthetic", "llama-tiny:q4_0", "-p", "16", "-p", "none"], 2, "--prefill: expected 'none'"),
    (["--synthetic", "llama-tiny:q4_0", "-b", "1,0"], 2, "--batch: expected 'none' alone"),
    (["--synthetic", "llama-tiny:q4_0", "--mixed", "none,3x32+16"], 2, "--mixed: expected 'none'"),
    (["--synthetic", "llama-tiny:q4_0", "--mixed", "4096x0+1048576", "-p", "none", "-b", "none"], 2,
     "--mixed 4096x0+1048576: expected at most 1048576 tokens"),
    (["kernels", "--only", "linear:q9"], 2, "linear:q4_0"),
    (["kernels", "--only", "rms_norm:q4_0"], 2, "expected one of rms_norm"),
    (["kernels", "--only", "linea"], 2, " linear linear_glu "),
    (["kernels", "--only", "linear", "--kv-dtype", "q8"], 2, "int8"),
    (["kernels", "--only", "linear", "--activations", "q4"], 2, "q8"),
    (["kernels", "--only", "linear", "--backend", "gpu"], 2, "reference"),
    (["kernels", "--only", "linear:q4_0", "--cols", "33"], 2, "whole blocks")])
def test_errors_name_what_there_is(rill, words, code, expected):
    done = subprocess.run([rill, "bench", *words], capture_output=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr.decode()
    assert expected in done.stderr.decode()


def test_a_backend_without_ceilings_is_timed_without_a_limit(rill, tmp_path):
    words = ["--synthetic", "llama-tiny:q4_0", "-p", "8", "-b", "1", "--at", "0", "--mixed", "none",
             "--profile", "--backend", "reference", "--out", str(tmp_path), *QUICK]
    out = rill_json(rill, "bench", *words)
    assert out["runs"] and out["profiles"]
    for run in out["runs"]:
        assert run["tokens_per_s"] > 0
        assert (run["limit"], run["pct_of_limit"]) == ("none", 0)
    assert out["ceilings"]["dram_read_gbs"] == 0 and out["ceilings"]["isa"] == "reference"
    assert "-reference-" in next(tmp_path.iterdir()).name
    text = subprocess.run([rill, "bench", *words], capture_output=True, timeout=120,
                          check=True).stdout.decode()
    assert "ceilings: none" in text and " -  none\n" in text  # one repetition has no spread
    out = rill_json(rill, "bench", "kernels", "--only", "linear", "--backend", "reference", "--rows",
                    64, "--cols", 64, "--matrices", 1, "--seconds", "0.01")
    assert out["seconds_per_call"] > 0 and out["limit"] == "none"


MEASURE = pathlib.Path(__file__).parents[2] / "tools" / "measure_performance.sh"


def test_measuring_again_keeps_the_names_of_results(tmp_path):
    """One name each, which rill gives: nothing is said twice."""
    stub = tmp_path / "rill"
    stub.write_text("#!/bin/sh\n[ $1 = bench ] || exit 0\n[ \"$4\" = --write-gguf ] && exit 0\n"
                    "for last; do :; done\n"
                    "echo \"$@\" > \"$last/$(echo \"$2-$3-$4-$5\" | tr -d : | tr / _).json\"\n")
    stub.chmod(0o755)
    out = tmp_path / "new" / "results"
    done = subprocess.run([MEASURE, "--rill", stub, "--out", out], check=True, capture_output=True,
                          timeout=60)
    assert [line.split(":")[0] for line in done.stdout.decode().splitlines()] == [
        "smollm2", *[f"llama-1.1b-{f}.gguf" for f in ("q4_0", "q4_k_m", "q8_0")]]
    assert all("5 starts" in line for line in done.stdout.decode().splitlines())
    assert sorted(file.name for file in out.iterdir()) == [
        "--synthetic-llama-1.1bq4_0---activations-q8.json",
        "--synthetic-llama-1.1bq4_k_m---activations-q8.json",
        "--synthetic-llama-1.1bq8_0---activations-q8.json",
        "smollm2---activations-f32---profile.json", "smollm2---activations-q8---profile.json"]
    assert all("--repetitions 5" in file.read_text() for file in out.iterdir())
    shutil.rmtree(out)
    done = subprocess.run([MEASURE, "--rill", stub, "--out", out, "a.gguf"], check=True,
                          capture_output=True, timeout=60)
    assert [file.name for file in out.iterdir()] == ["a.gguf---activations-q8---threads.json"]
    assert done.stdout.decode().startswith("a.gguf: first token after ")


@pytest.mark.parametrize("words", [["--out"], ["--rill"], ["--threads"], ["--out", ""]])
def test_measuring_again_tells_which_value_is_missing(words):
    done = subprocess.run([MEASURE, *words], capture_output=True, timeout=60, check=False)
    assert done.returncode == 2 and done.stderr.decode() == f"{words[0]}: expected a value after it\n"


def kernel_json(rill, name):
    return rill_json(rill, "bench", "kernels", "--only", name, "--tokens", 2, "--rows", 256,
                     "--cols", 256, "--at", 64, "--matrices", 2, "--seconds", "0.01")


@pytest.mark.parametrize("name", ["linear_glu:q4_k", "norm_linear:q8_0", "linear:w8a8",
                                  "gated_ffn:w8a8", "moe_ffn:w8a8", "embedding:q6_k"])
def test_one_kernel_alone(rill, name):
    out = kernel_json(rill, name)
    assert out["seconds_per_call"] > 0 and out["calls"] >= 3
    if name == "linear:w8a8":
        assert out["int8_macs"] == 2 * 256 * 256
    if name == "moe_ffn:w8a8":  # two tokens, two of the experts each, whose gate, up and down
        assert out["int8_macs"] == 2 * 2 * 3 * 256 * 256
        # A byte a weight and a scale of four a row, in whole panels of rows.
        assert 1 <= out["weight_bytes"] / (4 * 3 * 256 * 256) < 1.05


def test_a_small_kernel_is_measured_against_the_cache_that_holds_it(rill):
    """Of 3 KB; it is no faster than a first-level cache. (How near it comes, on a busy machine, is open.)"""
    out = rill_json(rill, "bench", "kernels", "--only", "add", "--cols", 256, "--tokens", 1, "-t", 1, "--seconds",
                    "0.02")
    assert out["limit_bytes"] == 3 * 1024
    assert out["limit"] == "cache_read" and out["pct_of_limit"] < 200


def test_every_product_has_a_kernel_bench_of_w8a8(rill):
    listed = subprocess.run([rill, "bench", "kernels", "--list"], capture_output=True, check=True,
                            timeout=60).stdout.decode().split()
    products = {name.split(":")[0] for name in listed if name.endswith(":q4_0")}
    assert {name.split(":")[0] for name in listed if name.endswith(":w8a8")} == products - {
        "embedding", "position_embedding"}


# Rows of 256 f32 that two tokens move.
ROWS_MOVED = {"activation": 4, "add": 6, "clamp": 4, "copy": 4, "glu": 6, "scale": 4, "softcap": 4}


def test_every_operator_of_the_cpu_has_a_kernel_bench(rill):
    """What `rill ops` lists can be measured, and ends with its share of a limit."""
    ops = [op for op in rill_json(rill, "ops")["ops"] if "cpu" in op["kernels"]]
    listed = subprocess.run([rill, "bench", "kernels", "--list"], capture_output=True, check=True,
                            timeout=60).stdout.decode().split()
    assert {op["name"] for op in ops} == {name.split(":")[0] for name in listed}
    assert len(ops) >= 25
    for op in (op["name"] for op in ops):
        out = kernel_json(rill, op)
        assert out["kernel"].startswith(op + " "), op
        assert out["seconds_per_call"] > 0 and out["calls"] >= 3, op
        assert out["limit"] in LIMITS and out["pct_of_limit"] > 0, op
        assert out["limit_bytes"] > 0, op
        has_weight = f"{op}:q4_0" in listed
        assert (out["weight_bytes"] > 0) == has_weight, op
        if op in ROWS_MOVED:
            assert out["limit_bytes"] == out["activation_bytes"] == ROWS_MOVED[op] * 256 * 4, op
        if op == "linear":  # q4_0 where no format is named: a product reads its weights
            assert out["int8_macs"] == 2 * 256 * 256
            assert out["limit_bytes"] == out["weight_bytes"]


def test_kernels_that_do_not_fit_are_refused_by_name(rill):
    for words in (["--only", "linear:q4_0", "--rows", "1048576", "--cols", "1048576"],
                  ["--only", "rms_norm", "--tokens", "65536", "--cols", "1048576"],
                  ["--only", "paged_attention", "--tokens", "65536", "--at", "1048576"]):
        done = subprocess.run([rill, "bench", "kernels", *words], capture_output=True, timeout=60,
                              check=False)
        text = done.stderr.decode()
        assert done.returncode == 5 and words[1] in text and "GB" in text, text
    done = subprocess.run([rill, "bench", "kernels", "--only", "paged_attention", "--kv-dtype",
                           "foo"], capture_output=True, timeout=60, check=False)
    assert done.returncode == 2 and "int8" in done.stderr.decode() and "foo" in done.stderr.decode()


def test_kernels_are_listed(rill):
    done = subprocess.run([rill, "bench", "kernels", "--list"], capture_output=True, check=True,
                          timeout=60)
    names = done.stdout.decode().split()
    assert "linear:q4_0" in names and "paged_attention" in names
    assert rill_json(rill, "bench", "kernels", "--list") == {"kernels": names}


def test_w8a8_is_measured_as_w8a8_or_not_at_all(rill):
    for words, told in ((["--cols", "40"], "multiple of 32"),
                        (["--activations", "f32"], "int8")):
        done = subprocess.run([rill, "bench", "kernels", "--only", "linear:w8a8", *words],
                              capture_output=True, timeout=60, check=False)
        assert done.returncode == 2 and told in done.stderr.decode(), done.stderr


def test_quality_table(rill, stories, tmp_path):
    text = tmp_path / "text"
    text.write_text("Once upon a time there was a little girl. She liked to play in the park. " * 4)
    table = rill_json(rill, "eval", "quality", stories, "--text", text, "--tokens", 64, "--window",
                      32, "--formats", "f16,q8_0,q4_0,q4_k,w8a8,w4g128,file", "--kv-formats",
                      "f32,f16", "--file-kv-formats", "int8")
    rows = {(r["format"], r["activations"], r["kv_dtype"]): r for r in table["rows"]}
    assert len(rows) == 4 * 2 * 2 + 2 + 4 + 2 * 3 and table["num_tokens"] == 64
    base = rows["f16", "f32", "f32"]
    assert base["mean_kl"] < 1e-9 and base["same_top"] == 1
    assert math.isclose(base["perplexity"], table["base_perplexity"], rel_tol=1e-9)
    better, worse = rows["q8_0", "f32", "f32"], rows["q4_0", "f32", "f32"]
    assert 0 < better["mean_kl"] < worse["mean_kl"] < 1
    assert better["mean_kl"] <= better["p99_kl"] <= better["max_kl"]
    assert 8 < better["bits_per_weight"] < 11  # rows of 172 stay f16
    # K-quants need rows of a multiple of 256: rows of 64 get q5_0, rows of 172 stay f16.
    assert set(rows["q4_k", "f32", "f32"]["stored"]) == {"q5_0", "f16"}
    assert set(rows["f16", "f32", "f32"]["stored"]) == {"f16"}
    # What --weights makes is run as it runs anywhere: int8 activations with w8a8, in one row.
    w8a8 = [r for r in table["rows"] if r["format"] == "w8a8"]
    assert {r["activations"] for r in w8a8} == {"q8"} and len(w8a8) == 2
    assert all("error" in r or 0 < r["mean_kl"] < 1 for r in w8a8), w8a8
    assert ("file", "f32", "int8") in rows and ("f16", "f32", "int8") not in rows


@pytest.mark.parametrize("flags, word", [
    (["--kv-formats", "f16,bogus"], "int8"), (["--file-kv-formats", "bogus"], "int8"),
    (["--modes", "bogus"], "q8"), (["--formats", "q4_0,bogus"], "q5_1")])
def test_quality_refuses_unknown_names_at_once(rill, flags, word, tmp_path):
    (tmp_path / "text").write_text("Once upon a time")
    (tmp_path / "none.gguf").write_text("")  # no model: names come first
    done = subprocess.run([rill, "eval", "quality", str(tmp_path / "none.gguf"), "--text",
                           str(tmp_path / "text"), *flags], capture_output=True, timeout=60,
                          check=False)
    text = done.stderr.decode()
    assert done.returncode == 2 and "bogus" in text and word in text, text


def test_quality_ignores_no_flag(rill, stories, tmp_path):
    (tmp_path / "text").write_text("Once upon a time there was a little girl. " * 3)
    words = ["eval", "quality", stories, "--text", tmp_path / "text", "--tokens", 16, "--window",
             16, "--formats", "f16", "--modes", "f32", "--kv-formats", "f32"]
    for flags in (["--weights", "w8a8"], ["--activations", "q8"], ["--kv-dtype", "int4"],
                  ["-c", "100"], ["--pack-cache"]):  # what the rows say is no flag
        done = subprocess.run([rill, *map(str, words), *flags], capture_output=True, timeout=60,
                              check=False)
        assert done.returncode == 2 and flags[0] in done.stderr.decode()
    plain = rill_json(rill, *words)
    other = rill_json(rill, *words, "--backend", "reference", "--page-size", 16, "--chunk", 4,
                      "--no-mmap")
    # Another backend, so other bits; the same model.
    assert plain["base_perplexity"] != other["base_perplexity"]
    assert math.isclose(plain["base_perplexity"], other["base_perplexity"], rel_tol=1e-4)


def test_quality_counts_tables_that_are_read_in_place(rill, tmp_path):
    """Bits of the whole: an embedding beside an lm_head of its own is in no packed weight."""
    gguf = pytest.importorskip("gguf")
    file = tmp_path / "model.gguf"
    subprocess.run([rill, "bench", "--synthetic", "llama-tiny:f16", "--write-gguf", str(file)],
                   check=True, capture_output=True, timeout=120)
    matrices = {t.name: t.data.shape for t in gguf.GGUFReader(file).tensors if t.data.ndim == 2}
    assert {"token_embd.weight", "output.weight"} < set(matrices)
    weights = sum(rows * cols for rows, cols in matrices.values())
    bits = {"w8a8": 0, "w4g128": 0}  # int8 and an f32 a row; 4 bits and an f16 a group of 128
    for name, (rows, cols) in matrices.items():
        for made, of_layer in (("w8a8", 8 + 32 / cols), ("w4g128", 4 + 16 / 128)):
            bits[made] += rows * cols * (of_layer if name.startswith("blk.") else 16) / weights
    (tmp_path / "text").write_text("Once upon a time there was a little girl. ")
    for backend in ("cpu", "reference"):
        table = rill_json(rill, "eval", "quality", file, "--text", tmp_path / "text", "--tokens", 4,
                          "--formats", "w8a8,w4g128,f16", "--modes", "f32", "--kv-formats", "f32",
                          "--backend", backend)
        got = {row["format"]: row["bits_per_weight"] for row in table["rows"]}
        assert got["f16"] == 16 and math.isclose(got["w8a8"], bits["w8a8"], rel_tol=1e-3), backend
        # A zero point of up to a byte a group, where a row is no multiple of 128 of 64 or 32.
        assert bits["w4g128"] <= got["w4g128"] < bits["w4g128"] + 0.8, backend


def quality_rows(markdown):
    """Weights, activations and KV of each row of its long table."""
    rows = [line.split("|")[1:-1] for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row[:3]] for row in rows if len(row) > 3]


def test_quality_document_has_the_rows_that_the_command_prints(rill, stories, tmp_path):
    """And in that order: it was not made by another command, nor before a format was added."""
    (tmp_path / "text").write_text("Once upon a time there was a little girl. " * 4)
    printed = subprocess.run([rill, "eval", "quality", stories, "--text", tmp_path / "text",
                              "--tokens", "8", "--window", "8"], check=True, capture_output=True,
                             text=True, timeout=300).stdout
    document = (pathlib.Path(__file__).parents[2] / "docs" / "quality.md").read_text()
    section = document.split("\n## SmolLM2", 1)[1].split("\n## ", 1)[0]
    rows = quality_rows(section)
    assert len(rows) > 100 and rows == quality_rows(printed)


def test_quality_tells_what_f16_cannot_hold_from_what_is_wrong_with_the_file(rill, tmp_path):
    file = tmp_path / "model.gguf"
    subprocess.run([rill, "bench", "--synthetic", "llama-tiny:bf16", "--write-gguf", str(file)],
                   check=True, capture_output=True, timeout=120)
    gguf = pytest.importorskip("gguf")
    # The row of the last token, which the text has not: what is computed stays finite.
    tensor = next(t for t in gguf.GGUFReader(file).tensors if t.name == "token_embd.weight")
    data = bytearray(file.read_bytes())
    end = int(tensor.data_offset) + int(tensor.n_bytes)
    data[end - 2:end] = (0x47C3).to_bytes(2, "little")  # 1e5 in bf16; f16 ends at 65504
    file.write_bytes(data)
    assert rill_json(rill, "inspect", str(file))["check"]["nan_or_inf"] == "none"
    (tmp_path / "text").write_text("Once upon a time")
    words = [rill, "eval", "quality", str(file), "--text", str(tmp_path / "text"), "--tokens", "4",
             "--formats", "file", "--modes", "f32", "--kv-formats", "f32", "--json"]
    done = subprocess.run(words, capture_output=True, timeout=60, check=True)
    warnings = [line for line in done.stderr.decode().splitlines() if "token_embd.weight" in line]
    assert len(warnings) == 1 and "as f16" in warnings[0] and "65504" in warnings[0], warnings
    assert "--check-tensors" not in warnings[0]
    row, = json.loads(done.stdout)["rows"]
    assert "error" not in row and row["mean_kl"] < 1e-3, row
    # Which would refuse nothing.
    done = subprocess.run([rill, "eval", "fingerprint", str(file), "--check-tensors"],
                          capture_output=True, timeout=60, check=True)
    assert b"warning" not in done.stderr
    done = subprocess.run([*words, "--check-tensors"], capture_output=True, timeout=60, check=True)
    assert "error" not in json.loads(done.stdout)["rows"][0]
    data[end - 2:end] = (0x7FC0).to_bytes(2, "little")  # NaN
    file.write_bytes(data)
    done = subprocess.run([*words, "--check-tensors"], capture_output=True, timeout=60, check=False)
    assert done.returncode != 0 and b"token_embd.weight" in done.stderr, done


@pytest.mark.parametrize("flags", [[], ["--no-mmap"]])
def test_nan_weights_are_told_at_load(rill, tmp_path, flags):
    file = tmp_path / "model.gguf"
    subprocess.run([rill, "bench", "--synthetic", "llama-tiny:q4_0", "--write-gguf", str(file)],
                   check=True, capture_output=True, timeout=120)
    done = subprocess.run([rill, "eval", "fingerprint", str(file)], capture_output=True, timeout=60,
                          check=True)
    assert b"warning" not in done.stderr
    gguf = pytest.importorskip("gguf")
    tensor = next(t for t in gguf.GGUFReader(file).tensors if t.name == "blk.1.ffn_up.weight")
    data = bytearray(file.read_bytes())
    data[int(tensor.data_offset) + 18 * 5 + 1] = 0x7E  # the sixth block's scale: NaN
    file.write_bytes(data)
    words = [rill, "tokenize", str(file), "hi"]
    assert subprocess.run(words, capture_output=True, timeout=60, check=True).returncode == 0
    done = subprocess.run([rill, "run", str(file), "hi", "-n", "1", *flags], capture_output=True,
                          timeout=60, check=False)
    text = done.stderr.decode()
    assert "warning" in text and "blk.1.ffn_up.weight" in text and "element 160" in text
    report = rill_json(rill, "inspect", str(file), *flags)
    assert "blk.1.ffn_up.weight" in report["check"]["nan_or_inf"]
    (tmp_path / "text").write_text("Once upon a time")
    for formats in ("file", "q8_0"):
        done = subprocess.run([rill, "eval", "quality", str(file), "--text", str(tmp_path / "text"),
                               "--tokens", "4", "--formats", formats, "--modes", "f32", "--kv-formats",
                               "f32", *flags], capture_output=True, timeout=60, check=False)
        text = done.stderr.decode()
        assert text.count("blk.1.ffn_up.weight") == 1 and "warning" in text and "element 160" in text
    done = subprocess.run([rill, "run", str(file), "hi", "--check-tensors"], capture_output=True,
                          timeout=60, check=False)
    assert done.returncode == 2 and "blk.1.ffn_up.weight" in done.stderr.decode()
