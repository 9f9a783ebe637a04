"""What a request brought with it is in memory once, however many choices and prompts it has."""
import json
import threading
import time

import httpx
import pytest

from harness import Server, is_sanitized


def rss_mb(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def post_unheeded(server, path, body):
    """Sends a request from a thread of its own; its answer is of no interest."""
    def send():
        try:
            httpx.post(server.url + path, content=body, timeout=120,
                       headers={"content-type": "application/json"})
        except httpx.HTTPError:
            pass  # the server was ended
    threading.Thread(target=send, daemon=True).start()


@pytest.fixture
def server(rill, tiny_chat):
    if is_sanitized(rill):
        pytest.skip("memory is measured: not with a sanitizer")
    with Server(rill, "m=" + tiny_chat, "--kv-memory", "64M", "--max-sequences", "64",
                "--drain-timeout", "0") as made:
        yield made


def test_stop_strings_are_shared_by_all_choices_and_prompts(server):
    """One mebibyte of them, and 2,048 choices at once: 18 GiB where each has its own."""
    body = json.dumps({"model": "m", "prompt": ["a"] * 2048, "n": 16, "max_tokens": 300,
                       "ignore_eos": True,
                       "stop": [chr(65 + i) + "z" * 65535 for i in range(16)]})
    before = rss_mb(server)
    post_unheeded(server, "/v1/completions", body)
    end = time.monotonic() + 30
    while (server.metric("rill_requests_waiting") < 100  # of the 128 that are handed over
           or server.metric("rill_generated_tokens_total") < 1000):
        assert rss_mb(server) < before + 250
        assert time.monotonic() < end
        time.sleep(0.02)
    assert rss_mb(server) < before + 250


def test_stop_strings_have_a_limit_in_all(rill, tiny_chat):
    with Server(rill, "m=" + tiny_chat, "--kv-memory", "64M",
                "--limit", "max_stop_strings=64") as server:
        body = {"model": "m", "prompt": "a", "max_tokens": 1}
        stops = [chr(65 + i % 26) * 32768 for i in range(32)]
        assert server.post("/v1/completions", {**body, "stop": stops}).status_code == 200
        answer = server.post("/v1/completions", {**body, "stop": [*stops, "a"]})
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["param"] == "stop" and "1048576 bytes" in error["message"]
