"""Small requests that ask for huge answers are refused, and cost no memory."""
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


def test_large_answers_that_fit_are_given_again_and_again(server):
    body = {**ROWS, "prompt": [[5] * 400] * 20, "n": 2}
    for _ in range(20):  # together more than all answers may hold at once
        answer = server.post("/v1/completions", body)
        assert answer.status_code == 200, answer.text[:200]
        choices = answer.json()["choices"]
        assert len(choices) == 40 and len(choices[-1]["logprobs"]["tokens"]) == 400
