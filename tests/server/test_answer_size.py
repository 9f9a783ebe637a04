"""Small requests that ask for huge answers are refused, and cost no memory."""
import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from harness import Server

ROWS = {"model": "m", "max_tokens": 0, "echo": True, "logprobs": 20}


def rss_mb(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


@pytest.fixture(scope="module")
def server(rill, stories):
    with Server(rill, "m=" + stories, "--kv-memory", "64M") as made:
        yield made


@pytest.mark.parametrize("prompts", [[[5] * 400] * 40, ["word " * 60] * 200], ids=["ids", "text"])
def test_an_answer_of_hundreds_of_megabytes_is_refused(server, prompts):
    before = rss_mb(server)
    answer = server.post("/v1/completions", {**ROWS, "prompt": prompts, "n": 16})
    assert answer.status_code == 400, answer.text[:200]
    error = answer.json()["error"]
    assert error["code"] == "answer_too_large" and "64 MiB" in error["message"]
    assert rss_mb(server) < before + 250
    server.wait_idle()


def test_an_echo_of_hundreds_of_megabytes_is_refused_before_anything_is_computed(server):
    text = " little" * 600
    ids = server.post("/tokenize", {"prompt": text}).json()["tokens"][:400]
    for name, prompts in [("text", [text] * 2048), ("ids", [ids] * 2048)]:
        before, computed = rss_mb(server), server.metric("rill_prompt_tokens_total")
        answer = server.post("/v1/completions", {"model": "m", "max_tokens": 0, "echo": True,
                                                 "n": 16, "prompt": prompts})
        assert answer.status_code == 400, (name, answer.text[:200])
        assert answer.json()["error"]["code"] == "answer_too_large", name
        assert rss_mb(server) < before + 250, name
        assert server.metric("rill_prompt_tokens_total") == computed, name
    # Control characters, each six bytes of JSON.
    answer = server.post("/v1/completions", {"model": "m", "max_tokens": 0, "echo": True, "n": 16,
                                             "prompt": ["\x01" * 400] * 2048})
    assert answer.status_code == 400, answer.text[:200]
    assert answer.json()["error"]["code"] == "answer_too_large"


def test_prompt_ids_of_hundreds_of_megabytes_are_refused(server):
    body = {"model": "m", "max_tokens": 1, "n": 16, "return_token_ids": True}
    for prompts in [[[5] * 400] * 2048, ["word " * 300] * 2048]:
        answer = server.post("/v1/completions", {**body, "prompt": prompts})
        assert answer.status_code == 400, answer.text[:200]
        assert answer.json()["error"]["code"] == "answer_too_large"
    server.wait_idle()


def test_large_answers_that_fit_are_given_again_and_again(server):
    body = {**ROWS, "prompt": [[5] * 400] * 20, "n": 2}
    for _ in range(13):  # together more than all answers may hold at once
        answer = server.post("/v1/completions", body)
        assert answer.status_code == 200, answer.text[:200]
        choices = answer.json()["choices"]
        assert len(choices) == 40 and len(choices[-1]["logprobs"]["tokens"]) == 400


def test_a_large_answer_does_not_hold_up_other_streams(server):
    body = {**ROWS, "prompt": [[5] * 400] * 6, "n": 16}  # 2,400 positions, each written 16 times
    times, stop = [], threading.Event()

    def read():
        with server.client() as client:
            while not stop.is_set():
                with client.stream("POST", "/v1/completions",
                                   json={"model": "m", "prompt": "Once", "max_tokens": 1900,
                                         "stream": True, "ignore_eos": True}) as answer:
                    for _ in answer.iter_raw():
                        times.append(time.monotonic())
                        if stop.is_set():
                            break

    reader = threading.Thread(target=read)
    reader.start()
    while len(times) < 20:
        time.sleep(0.01)
    # In a process of its own: reading it must not hold up the thread above.
    post = ("import sys, time, httpx; body = sys.stdin.buffer.read(); start = time.monotonic(); "
            "answer = httpx.post(sys.argv[1], content=body, timeout=120, trust_env=False); "
            "print(answer.status_code, time.monotonic() - start)")
    code, took = subprocess.run([sys.executable, "-c", post, server.url + "/v1/completions"],
                                input=json.dumps(body), text=True, capture_output=True, timeout=150,
                                check=True).stdout.split()
    took = float(took)
    stop.set()
    reader.join()
    assert code == "200"
    gap = max(b - a for a, b in zip(times, times[1:]))
    # Written where tokens are handed on, it was four fifths of the time and more.
    assert gap < took / 2, f"{gap:.2f} s without a token while {took:.2f} s passed"


def test_a_client_that_reads_is_not_cut_by_a_burst(rill, stories):
    """The choices of a prompt echo it all at once: three times what a stream may have unsent."""
    prompt = "\x01" * 2000  # six bytes each of the answer, one token each
    with Server(rill, "m=" + stories, "--kv-memory", "64M", "--max-sequences", "64",
                "--max-choices", "64") as server:
        for count, n in [(1, 64), (6, 16)]:
            body = {"model": "m", "prompt": [prompt] * count, "n": n, "echo": True, "stream": True,
                    "max_tokens": 2, "ignore_eos": True}
            texts = {}
            with server.client() as client, client.stream("POST", "/v1/completions",
                                                          json=body) as answer:
                lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
            assert lines.pop() == "[DONE]"
            for line in lines:
                for choice in json.loads(line)["choices"]:
                    texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
            assert len(texts) == count * n
            assert all(text.startswith(prompt) for text in texts.values())
        assert server.metric("rill_http_slow_readers_total") == 0
        server.wait_idle()


def test_a_client_that_does_not_read_is_cut_long_before_its_write_stalls(rill, stories, tmp_path):
    path = tmp_path / "socket"
    body = json.dumps({"model": "m", "prompt": "a", "n": 64, "stream": True, "max_tokens": 1900,
                       "ignore_eos": True}).encode()
    with Server(rill, "m=" + stories, "--kv-memory", "128M", "--max-sequences", "64",
                "--max-choices", "64", "--unix", path) as server:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            start = time.monotonic()
            sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                         b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                         % (len(body), body))
            while server.metric("rill_http_slow_readers_total") == 0:
                assert time.monotonic() - start < 20, "write_stall_ms is 30,000"
                time.sleep(0.05)
        server.wait_idle()
