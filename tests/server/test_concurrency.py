"""Many streams at once give each the tokens it would have had alone; who leaves costs nothing."""
import asyncio
import os
import random
import time

import httpx
import pytest

from harness import Server

PROMPTS = ["Once upon a time", "The dog", "Lily and Tom", "One day a big", "She was", "In the park",
           "He saw a red", "A little bird", "Mom said", "The end of"]
LENGTHS = [5, 12, 20, 33]
STREAMS = int(os.environ.get("RILL_STREAMS", "1000"))  # 10,000 in the campaign


def body(prompt: str, length: int, stream=True) -> dict:
    return {"model": "tiny", "prompt": prompt, "max_tokens": length, "temperature": 0,
            "ignore_eos": True, "stream": stream, "return_token_ids": True}


def serial_answers(server) -> dict:
    """Token ids of each request, one after another."""
    out = {}
    with server.client() as client:
        for prompt in PROMPTS:
            for length in LENGTHS:
                answer = client.post("/v1/completions", json=body(prompt, length, False)).json()
                out[prompt, length] = answer["choices"][0]["token_ids"]
                assert len(out[prompt, length]) == length
    return out


@pytest.fixture(scope="module")
def serial(tiny):
    return serial_answers(tiny)


async def run_streams(url: str, clients: int, count: int, cancel_share: float, serial) -> tuple:
    """`count` streams by `clients` at once. Returns (compared, cancelled, wrong)."""
    import json
    rng = random.Random(clients)
    jobs = [(rng.choice(PROMPTS), rng.choice(LENGTHS), rng.random() < cancel_share,
             rng.randint(0, 8)) for _ in range(count)]
    compared = cancelled = 0
    wrong = []

    async def worker(client):
        nonlocal compared, cancelled
        while jobs:
            prompt, length, leaves, after = jobs.pop()
            ids = []
            async with client.stream("POST", "/v1/completions", json=body(prompt, length)) as r:
                assert r.status_code == 200
                async for line in r.aiter_lines():
                    if line.startswith("data: {"):
                        event = json.loads(line[6:])
                        assert "error" not in event, event
                        ids += event["choices"][0].get("token_ids") or []
                    if leaves and len(ids) >= after:
                        break
            expected = serial[prompt, length]
            if leaves:
                cancelled += 1
                expected = expected[:len(ids)]
            else:
                compared += 1
            if ids != expected:
                wrong.append((prompt, length, ids, expected))

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        await asyncio.gather(*(worker(client) for _ in range(clients)))
    return compared, cancelled, wrong


@pytest.mark.parametrize("clients,count", [(1, STREAMS // 20), (8, STREAMS // 4), (64, STREAMS * 2 // 5),
                                           (256, STREAMS * 3 // 10)])
def test_streams_equal_the_serial_run(tiny, serial, clients, count):
    compared, cancelled, wrong = asyncio.run(run_streams(tiny.url, clients, count, 0.25, serial))
    assert compared + cancelled == count and compared > count // 2
    assert wrong == []
    tiny.wait_idle()
    assert tiny.alive()


def test_steps_cut_for_two_threads_equal_the_serial_run(rill, tiny_chat):
    """Of 16 tokens and more each thread takes a part (model/lanes.h); one client never has so many,
    but in its prompts."""
    count = int(os.environ.get("RILL_STREAMS", "300"))
    with Server(rill, "tiny=" + tiny_chat, "--threads", "2", "--activations", "q8") as server:
        alone = serial_answers(server)
        compared, cancelled, wrong = asyncio.run(run_streams(server.url, 48, count, 0.25, alone))
        assert compared + cancelled == count and compared > count // 2
        assert wrong == []
        server.wait_idle()
        assert server.alive()


def test_disconnect_cancels(tiny):
    """Streaming or not: the pages come back, and the counter says so."""
    before = tiny.metric("rill_http_clients_gone_total")
    request = body("Once upon a time", 450)
    # 16 choices: seconds of work, however late this process comes to leave.
    with httpx.stream("POST", tiny.url + "/v1/completions", json={**request, "n": 16},
                      timeout=60) as response:
        next(response.iter_lines())
    tiny.wait_idle(5)
    with pytest.raises(httpx.TimeoutException):
        httpx.post(tiny.url + "/v1/completions", json={**request, "stream": False, "n": 16},
                   timeout=httpx.Timeout(10, read=0.05))
    start = time.monotonic()
    tiny.wait_idle(5)
    assert time.monotonic() - start < 5
    assert tiny.metric("rill_http_clients_gone_total") >= before + 2
    assert tiny.alive()


def test_disconnect_storm(tiny):
    """200 clients that leave at random moments, in a batch of prompts each."""
    async def storm():
        rng = random.Random(5)

        async def one(client):
            request = body("The dog", 200)
            request["prompt"] = PROMPTS
            try:
                await asyncio.wait_for(client.post("/v1/completions", json=request),
                                       rng.uniform(0.001, 0.3))
            except (asyncio.TimeoutError, httpx.HTTPError):
                pass
        async with httpx.AsyncClient(base_url=tiny.url, timeout=60,
                                     limits=httpx.Limits(max_connections=100)) as client:
            await asyncio.gather(*(one(client) for _ in range(200)))
    asyncio.run(storm())
    tiny.wait_idle(20)
    assert tiny.alive()
