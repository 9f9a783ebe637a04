"""/metrics: read by Prometheus's own parser; the names that routers need; small and quick."""
import statistics
import time

import pytest
from harness import Server
from prometheus_client.parser import text_string_to_metric_families

VLLM = """num_requests_waiting num_requests_running kv_cache_usage_perc gpu_cache_usage_perc
cache_config_info prefix_cache_queries prefix_cache_hits gpu_prefix_cache_queries
gpu_prefix_cache_hits num_preemptions prompt_tokens generation_tokens request_success
time_to_first_token_seconds inter_token_latency_seconds time_per_output_token_seconds
request_time_per_output_token_seconds e2e_request_latency_seconds request_queue_time_seconds
request_inference_time_seconds request_prefill_time_seconds request_decode_time_seconds
request_prompt_tokens request_generation_tokens request_params_max_tokens iteration_tokens_total
engine_sleep_state""".split()


def families(server):
    return {f.name: f for f in text_string_to_metric_families(server.get("/metrics").text)}


def test_names_that_routers_read(tiny):
    tiny.post("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 2})
    page = families(tiny)
    missing = [name for name in VLLM if "vllm:" + name not in page]
    assert not missing
    info, = page["vllm:cache_config_info"].samples
    assert int(info.labels["block_size"]) >= 16 and int(info.labels["num_gpu_blocks"]) > 0
    for family in page.values():
        for sample in family.samples:
            assert sample.value == sample.value, sample  # no NaN


def test_counters_count(tiny):
    before = {name: tiny.metric(name) for name in (
        "rill_generated_tokens_total", "rill_prompt_tokens_total",
        "vllm:generation_tokens_total", "vllm:time_to_first_token_seconds_count",
        "vllm:inter_token_latency_seconds_count", "vllm:e2e_request_latency_seconds_count",
        "vllm:request_generation_tokens_sum")}
    answer = tiny.post("/v1/completions", {"model": "gpt-tiny", "prompt": "Once upon", "n": 2,
                                           "max_tokens": 7, "ignore_eos": True}).json()
    after = {name: tiny.metric(name) for name in before}
    assert after["rill_generated_tokens_total"] - before["rill_generated_tokens_total"] == 14
    assert after["vllm:generation_tokens_total"] - before["vllm:generation_tokens_total"] == 14
    assert after["rill_prompt_tokens_total"] - before["rill_prompt_tokens_total"] == \
        answer["usage"]["prompt_tokens"]
    for name, change in (("vllm:time_to_first_token_seconds_count", 1),
                         ("vllm:inter_token_latency_seconds_count", 12),
                         ("vllm:e2e_request_latency_seconds_count", 1),
                         ("vllm:request_generation_tokens_sum", 14)):
        assert after[name] - before[name] == change, name
    assert tiny.metric("rill_choices_finished_total", reason="length") >= 2
    for stage in ("tokenise", "compute", "sample", "detokenise", "return"):
        assert tiny.metric("rill_stage_seconds_total", stage=stage) > 0, stage


def test_what_is_refused_counts_no_prompt(tiny):
    names = ("rill_prompt_tokens_total", "vllm:request_params_n_count",
             "vllm:request_prompt_tokens_count", "vllm:e2e_request_latency_seconds_count")
    def counts():
        return [tiny.metric(name) for name in names] + \
            [tiny.metric("rill_choices_finished_total", reason="error")]
    before = counts()
    for body in ({"prompt": "word " * 3000, "max_tokens": 5}, {"prompt": [5] * 500, "max_tokens": 5000}):
        assert tiny.post("/v1/completions", {"model": "gpt-tiny", **body}).status_code == 400
    assert counts() == before
    # A prompt that is only scored is a request like others.
    answer = tiny.post("/v1/completions", {"model": "gpt-tiny", "prompt": "word one two",
                                           "max_tokens": 0, "echo": True, "logprobs": 1}).json()
    tokens = answer["usage"]["prompt_tokens"]
    assert [b - a for a, b in zip(before, counts())] == [tokens, 1, 1, 1, 0]


def test_start_time_is_that_of_the_process(rill, stories):
    before = time.time()
    with Server(rill, "m=" + stories) as server:
        ready = time.time()
        time.sleep(0.5)  # the first scrape is later
        start = server.metric("process_start_time_seconds")
        assert before - 0.1 < start < ready + 0.1
        time.sleep(0.1)
        assert server.metric("process_start_time_seconds") == start


def test_labels_are_bounded(tiny):
    """Threat F7: what clients choose makes no label."""
    def series():
        return sum(len(f.samples) for f in families(tiny).values())
    before = series()
    for i in range(30):
        tiny.post("/v1/completions", {"model": f"unknown-{i}", "prompt": "a"})
        tiny.get(f"/no/such/path/{i}")
        tiny.post("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 1,
                                      "user": f"user-{i}"}, headers={"x-request-id": f"id-{i}"})
    assert series() == before
    assert "unknown-" not in tiny.get("/metrics").text


@pytest.mark.parametrize("compat, models", [("vllm", 2), ("off", 5)])
def test_page_of_several_models_is_small_and_quick(rill, stories, compat, models):
    """Names as long as GGUF files have them, figures as long as those of a busy day."""
    names = [f"SmolLM2-{i}35M-Instruct-Q8_0" for i in range(models)]
    with Server(rill, *(f"{name}={stories}" for name in names), "--kv-memory", "32M",
                "--metrics-compat", compat) as server:
        for name in names:
            server.post("/v1/completions", {"model": name, "prompt": "a", "max_tokens": 9})
        times = []
        with server.client() as client:
            for _ in range(50):
                start = time.perf_counter()
                page = client.get("/metrics")
                times.append(time.perf_counter() - start)
    busy = [line if line.startswith("#") else " ".join((series, value.rjust(7, "9")))
            for line in page.text.splitlines() for series, value in [line.rsplit(" ", 1)]]
    size = len("\n".join(busy)) + 1
    print(f"metrics page: {len(page.content)} bytes, {size} when busy, "
          f"median {statistics.median(times) * 1e3:.2f} ms")
    assert len(page.content) <= size < 64 * 1024
    comments = [line.split()[1:3] for line in busy if line.startswith("#")]
    assert len(comments) == len({tuple(words) for words in comments})  # once per family
    # 5 ms is the goal; a busy machine gets some more before this fails.
    assert statistics.median(times) < 0.025, statistics.median(times)


def test_hardware_shares(tiny):
    page = families(tiny)
    assert page["rill_memory_bandwidth_bytes_per_second"].samples[0].value > 1e8
    assert page["rill_multiply_adds_per_second"].samples[0].value > 1e8
    assert page["rill_int8_multiply_adds_per_second"].samples[0].value > 1e8
    for name in ("rill_memory_bandwidth_ratio", "rill_compute_ratio", "rill_kv_usage_ratio"):
        assert 0 <= page[name].samples[0].value <= 2, name


def test_dashboard_shows_what_there_is(tiny):
    """Every metric that the Grafana dashboard reads is on the page."""
    import json
    import pathlib
    import re
    path = pathlib.Path(__file__).parents[2] / "deploy" / "grafana" / "rill.json"
    dashboard = json.loads(path.read_text())
    names = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            names |= set(re.findall(r"\b(?:rill|process|http)_\w+", target["expr"]))
    samples = {s.name for f in families(tiny).values() for s in f.samples}
    assert len(names) > 20
    assert names <= samples, names - samples


def test_promtool_accepts_the_page(tiny):
    import shutil
    import subprocess
    import pytest
    if not shutil.which("promtool"):
        pytest.skip("skipped: promtool is not installed (Debian: prometheus)")
    done = subprocess.run(["promtool", "check", "metrics"], input=tiny.get("/metrics").content,
                          capture_output=True, check=False)
    # Its advice on names (vLLM's have colons) goes to stderr with status 3; 1 is a parse error.
    assert done.returncode in (0, 3), done.stderr
