"""What a request brought with it is in memory once, however many choices and prompts it has."""
import json
import threading
import time

import httpx
import pytest

from harness import CHAT_TEMPLATE, Server, copy_with_chat_template, is_sanitized


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


def test_choices_of_a_streamed_batch_take_memory_in_turn(rill, tiny_chat):
    """Three bodies of 250 KB, 6.4 million choices each: those of the prompts under way are in
    memory."""
    if is_sanitized(rill):
        pytest.skip("memory is measured: not with a sanitizer")
    body = json.dumps({"model": "m", "prompt": ["a"] * 50_000, "n": 128, "max_tokens": 200,
                       "stream": True})
    with Server(rill, "m=" + tiny_chat, "--kv-memory", "64M", "--max-sequences", "128",
                "--max-choices", "128", "--limit", "max_prompts=50000",
                "--drain-timeout", "0") as server:
        before = rss_mb(server)
        for _ in range(3):
            post_unheeded(server, "/v1/completions", body)
        end = time.monotonic() + 20
        while server.metric("rill_generated_tokens_total") < 20_000:
            # Most of it is what the text service has of 128 prompts of each: 49,152 choices.
            assert rss_mb(server) < before + 450
            assert time.monotonic() < end
            time.sleep(0.02)
        assert server.metric("rill_requests_waiting") > 128


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


def test_a_conversation_is_freed_once_it_is_tokenised(rill, tiny_chat):
    """Eight bodies of a million values that no template reads, each 40 MB once parsed, wait for
    their turn behind a batch."""
    if is_sanitized(rill):
        pytest.skip("memory is measured: not with a sanitizer")
    batch = json.dumps({"model": "m", "prompt": ["a"] * 2048, "max_tokens": 480, "ignore_eos": True,
                        "priority": -1})
    body = ('{"model":"m","messages":[{"role":"user","content":"hi","x":['
            + ",".join(["0"] * 1_040_000) + ']}],"max_tokens":1}')
    with Server(rill, "m=" + tiny_chat, "--kv-memory", "64M", "--max-sequences", "1",
                "--max-waiting", "400", "--queue-timeout", "0", "--drain-timeout", "0") as server:
        def waiting():
            return server.metric("rill_requests_waiting")

        def wait_for(count):
            end = time.monotonic() + 30
            while waiting() < count:
                assert time.monotonic() < end, waiting()
                time.sleep(0.05)

        # What an allocator keeps for the threads that had such a body is not of this test.
        for _ in range(4):
            answer = httpx.post(server.url + "/v1/chat/completions", content=body, timeout=60,
                                headers={"content-type": "application/json"})
            assert answer.status_code == 200, answer.text
        post_unheeded(server, "/v1/completions", batch)
        wait_for(120)  # of the 128 that a batch may have under way
        before = rss_mb(server)
        for count in range(1, 9):
            post_unheeded(server, "/v1/chat/completions", body)
            wait_for(126 + count)
        end = time.monotonic() + 20
        while rss_mb(server) > before + 150:  # the bodies as they came are kept: 16 MB
            assert time.monotonic() < end, f"{before:.0f} MB before, {rss_mb(server):.0f} now"
            time.sleep(0.1)
        assert waiting() >= 126


def test_conversations_that_wait_have_a_budget(rill, stories, tmp_path):
    """Of 24 at once, 40 MB each, that a slow template is to render, some are 503; none is lost."""
    if is_sanitized(rill):
        pytest.skip("memory is measured: not with a sanitizer")
    path = tmp_path / "slow.gguf"
    copy_with_chat_template(stories, path, "{% for a in range(1000) %}{% for b in range(1000) %}"
                                           "{% endfor %}{% endfor %}" + CHAT_TEMPLATE)
    body = ('{"model":"m","messages":[{"role":"user","content":"hi","x":['
            + ",".join(["0"] * 1_040_000) + ']}],"max_tokens":1}')
    with Server(rill, f"m={path}", "--kv-memory", "64M") as server:
        before, most, codes = rss_mb(server), 0, []

        def send():
            answer = httpx.post(server.url + "/v1/chat/completions", content=body, timeout=120,
                                headers={"content-type": "application/json"})
            codes.append((answer.status_code, answer.headers.get("retry-after")))

        senders = [threading.Thread(target=send) for _ in range(24)]
        for sender in senders:
            sender.start()
        while any(sender.is_alive() for sender in senders):
            most = max(most, rss_mb(server))
            time.sleep(0.05)
        assert len(codes) == 24 and {code for code, _ in codes} == {200, 503}, codes
        assert all(after for code, after in codes if code == 503)
        # 256 MB of them, the bodies as they came, and what three threads parse and one renders.
        assert most < before + 256 + 48 + 500
        # Their places are free again.
        answer = httpx.post(server.url + "/v1/chat/completions", content=body, timeout=60,
                            headers={"content-type": "application/json"})
        assert answer.status_code == 200
        server.wait_idle()
