"""Figures that threats.tsv asks for and no test asserts, since shared machines' timings gate nothing:
a client's latency beside 1,000 slow ones (B2), the speed of refusing and tokenising megabytes, and
health meanwhile (C5), one tenant's first token beside another's flood (F5).

usage: threat_timings.py RILL MODEL.gguf [TURNS]     (RILL: the program; three turns by default)

Prints a line for each turn and the medians. Exits 1 when a request that should be answered is not.
"""
import asyncio
import contextlib
import json
import math
import pathlib
import resource
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse

import httpx

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness import Server  # noqa: E402

KEYS = {name: f"key-of-{name}-0123456789" for name in ("victim", "flood")}


def percentile(values, share):
    """Nearest rank."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def latencies(url, count, body, headers=None):
    with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
        out = []
        for _ in range(count):
            start = time.perf_counter()
            response = client.post("/v1/completions", json=body)
            assert response.status_code == 200, response.text
            out.append(time.perf_counter() - start)
        return out


class SlowClients:
    """So many connections, each with a part of a head or a body and a byte more every five seconds,
    or with a large answer that it does not read. They cost this process next to nothing, so that
    what they cost the server is what shows."""
    START = {
        "heads": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ",
        "bodies": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                  b"application/json\r\nContent-Length: 8192\r\n\r\n{",
        "readers": b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 8}

    def __init__(self, url, kind, count):
        self.address, self.kind, self.count = urllib.parse.urlsplit(url), kind, count
        self.sockets, self.stop = [], threading.Event()

    def __enter__(self):
        for _ in range(self.count):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            sock.connect((self.address.hostname, self.address.port))
            sock.sendall(self.START[self.kind])
            self.sockets.append(sock)
        self.thread = threading.Thread(target=self.drip)
        self.thread.start()
        return self

    def drip(self):
        while not self.stop.is_set():
            for sock in self.sockets:
                if self.stop.wait(5 / self.count):
                    return
                if self.kind != "readers":
                    with contextlib.suppress(OSError):  # timed out by now
                        sock.send(b"a")

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        for sock in self.sockets:
            sock.close()


def beside_slow_clients(rill, model, turns, count=1000):
    """B2: requests one after the other, alone and beside slow heads, bodies and readers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 500), hard))
    body = {"model": "m", "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}
    ratios = {}
    with Server(rill, "m=" + model, "--kv-memory", "256M", "--threads", "2") as server:
        latencies(server.url, 50, body)
        for _ in range(turns):
            for kind in SlowClients.START:
                alone = latencies(server.url, 200, body)
                with SlowClients(server.url, kind, count):
                    time.sleep(0.5)
                    open_now = server.metric("rill_http_connections_open")
                    beside = latencies(server.url, 200, body)
                server.wait_idle()
                p99, p50 = (percentile(beside, s) / percentile(alone, s) for s in (0.99, 0.5))
                ratios.setdefault(kind, []).append((p99, p50))
                print(f"B2 {open_now:.0f} connections, slow {kind}: p99 alone "
                      f"{percentile(alone, 0.99) * 1e3:.2f} ms, beside "
                      f"{percentile(beside, 0.99) * 1e3:.2f} ms ({p99:.2f}), median {p50:.2f}",
                      flush=True)
    for kind, pairs in ratios.items():
        print(f"B2 slow {kind}, medians: p99 {statistics.median(p for p, _ in pairs):.2f}, "
              f"median {statistics.median(m for _, m in pairs):.2f}")


def megabytes(rill, model, turns):
    """C5: text that is refused by its length, and text of a whole context that is tokenised; a
    health check every 5 ms."""
    size = 24 << 20
    texts = {"spaces": " ", "emoji": "\U0001f600", "a": "a", "ab ": "ab ", "digits": "7",
             "mixed": "aA1 \n\u00e9"}
    with Server(rill, "m=" + model, "--kv-memory", "256M") as server:
        limit = server.get("/v1/models").json()["data"][0]["max_model_len"]
        for _ in range(turns):
            for name, text in texts.items():
                times, stop = [], threading.Event()

                def probe():
                    with httpx.Client(base_url=server.url, timeout=60) as client:
                        while not stop.is_set():
                            start = time.perf_counter()
                            assert client.get("/health").status_code == 200
                            times.append(time.perf_counter() - start)
                            time.sleep(0.005)
                thread = threading.Thread(target=probe)
                long = text * (size // len(text.encode()))
                short = text * (16 * limit // len(text.encode()))  # the most that is tokenised
                thread.start()
                start = time.perf_counter()
                body = json.dumps({"model": "m", "prompt": long}, ensure_ascii=False).encode()
                refused = httpx.post(server.url + "/v1/completions", content=body, timeout=60,
                                     headers={"content-type": "application/json"})
                middle = time.perf_counter()
                repeats = 8
                for _ in range(repeats):
                    tokenised = server.post("/tokenize", {"model": "m", "prompt": short})
                end = time.perf_counter()
                stop.set()
                thread.join()
                assert refused.status_code == 400, refused.text
                assert tokenised.status_code in (200, 400), tokenised.text  # by tokens too many
                print(f"C5 {name!r}: refused at {len(long.encode()) / 1e6 / (middle - start):.0f} "
                      f"MB/s, tokenised at "
                      f"{repeats * len(short.encode()) / 1e6 / (end - middle):.1f} MB/s, health p99 "
                      f"{percentile(times, 0.99) * 1e3:.1f} ms, slowest {max(times) * 1e3:.1f}",
                      flush=True)


async def first_tokens(url, name, count):
    out = []
    async with httpx.AsyncClient(base_url=url, timeout=600,
                                 headers={"authorization": f"Bearer {KEYS[name]}"}) as client:
        for i in range(count):
            start = time.perf_counter()
            async with client.stream("POST", "/v1/completions", json={
                    "model": "m", "prompt": [5 + i % 90] * 64, "max_tokens": 4,
                    "ignore_eos": True, "stream": True}) as response:
                assert response.status_code == 200
                first = True
                async for line in response.aiter_lines():
                    if first and line.startswith("data: "):
                        out.append(time.perf_counter() - start)
                        first = False
            await asyncio.sleep(0.02)
    return out


async def flooded(url, clients, count):
    """The victim's first tokens beside so many clients of another key that always ask."""
    stop = asyncio.Event()

    async def flood(index):
        async with httpx.AsyncClient(base_url=url, timeout=600,
                                     headers={"authorization": f"Bearer {KEYS['flood']}"}) as client:
            while not stop.is_set():
                answer = await client.post("/v1/completions", json={
                    "model": "m", "prompt": [5 + index % 90] * 128, "max_tokens": 64,
                    "ignore_eos": True})
                assert answer.status_code == 200, answer.text
    tasks = [asyncio.create_task(flood(i)) for i in range(clients)]
    await asyncio.sleep(1)
    out = await first_tokens(url, "victim", count)
    stop.set()
    await asyncio.gather(*tasks)
    return out


def beside_a_flood(rill, model, turns):
    """F5: alone, beside as many as run at once (a busy server), and beside eight times as many, which
    fill its queue (the flood): the queue's turns are to make the last two alike."""
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        keys.write("".join(f"{name} {key}\n" for name, key in KEYS.items()))
        keys.flush()
        with Server(rill, "m=" + model, "--kv-memory", "256M", "--threads", "2", "--key-file",
                    keys.name, "--max-sequences", "16") as server:
            rows = {}
            for _ in range(turns):
                for clients in (0, 16, 128):
                    times = asyncio.run(flooded(server.url, clients, 100))
                    rows.setdefault(clients, []).append(times)
                    print(f"F5 {clients} clients of another key: first token p50 "
                          f"{percentile(times, 0.5) * 1e3:.1f}, p99 "
                          f"{percentile(times, 0.99) * 1e3:.1f} ms", flush=True)
            p99 = {c: statistics.median(percentile(t, 0.99) for t in r) for c, r in rows.items()}
            print(f"F5 medians of p99: {({c: round(v * 1e3, 1) for c, v in p99.items()})} ms; "
                  f"128 beside 16: {p99[128] / p99[16]:.2f}")


def main():
    rill, model = sys.argv[1:3]
    turns = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    beside_slow_clients(rill, model, turns)
    megabytes(rill, model, turns)
    beside_a_flood(rill, model, turns)


if __name__ == "__main__":
    main()
