"""Soak: a server at 80 % of its capacity with cancels, for minutes; what it holds must not grow.

usage: soak.py RILL MODEL MINUTES [FLAGS of rill serve]     (./rillw campaign soak [MINUTES])
Requests come at random times (Poisson); a quarter of them leave early. Prompts share beginnings, so
that the prefix cache works. One in ten is a canary: greedy, compared with its answer before the
load. At the end: no page is held, no request is left, memory, descriptors and threads are as they
were after the first tenth of the time."""
import asyncio
import os
import pathlib
import random
import sys
import time

import httpx

from harness import Server

# Twice what capacity is measured with. (With 250, the HTTP library's own queue took this process down to
# a third of the rate after any pause, and it stayed there.)
MOST_UNDER_WAY = 64
CANARY = {"model": "m", "prompt": "Once upon a time", "max_tokens": 48, "temperature": 0}


class Sample:
    """What the process holds now."""

    def __init__(self, pid):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        self.time = time.monotonic()
        self.rss_mb = int(status.split("VmRSS:")[1].split()[0]) / 1024
        self.threads = int(status.split("Threads:")[1].split()[0])
        self.fds = len(os.listdir(f"/proc/{pid}/fd"))


def body(chance):
    start = chance.choice(["The dog", "Lily and Tom", "One day", "Once upon a time"]) + " "
    words = " ".join(chance.choice(["red", "big", "ran", "saw", "the", "ball", "cat"])
                     for _ in range(chance.randrange(2, 60)))
    return {"model": "m", "prompt": start + words, "temperature": 0.8, "ignore_eos": True,
            "max_tokens": chance.randrange(8, 120), "stream": chance.random() < 0.7}


class Load:
    def __init__(self, client, seed):
        self.client, self.chance = client, random.Random(seed)
        self.done = self.left = self.refused = self.canaries = self.held_back = 0
        self.failures = []
        self.truth = ""

    async def one(self):
        try:
            if self.chance.random() < 0.1:
                answer = await self.client.post("/v1/completions", json=CANARY)
                assert answer.status_code == 200, answer.text
                assert answer.json()["choices"][0]["text"] == self.truth
                self.canaries += 1
                return
            request = body(self.chance)
            patience = self.chance.uniform(0.01, 1) if self.chance.random() < 0.25 else None
            try:
                answer = await asyncio.wait_for(
                    self.client.post("/v1/completions", json=request), patience)
            except asyncio.TimeoutError:
                self.left += 1
                return
            if answer.status_code == 503:
                self.refused += 1
                return
            assert answer.status_code == 200, answer.text
            assert not request["stream"] or answer.text.endswith("data: [DONE]\n\n")
            self.done += 1
        except Exception as error:  # every kind counts
            self.failures.append(repr(error))

    async def capacity(self, seconds):
        """Requests per second of 32 clients without a pause."""
        end = time.monotonic() + seconds

        async def client():
            while time.monotonic() < end:
                await self.one()
        start, before = time.monotonic(), self.done + self.left + self.canaries
        await asyncio.gather(*(client() for _ in range(32)))
        return (self.done + self.left + self.canaries - before) / (time.monotonic() - start)

    async def poisson(self, rate, seconds, sample):
        end, tasks, next_sample = time.monotonic() + seconds, set(), 0.0
        due = time.monotonic()
        while time.monotonic() < end:
            due += self.chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if len(tasks) >= MOST_UNDER_WAY:
                # Where this process gets too little of the machine it would never catch up: the
                # HTTP library's queue for a connection takes longer the longer it is.
                self.held_back += 1
                due = time.monotonic() + 0.01
                continue
            task = asyncio.create_task(self.one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            if time.monotonic() > next_sample:
                sample()
                next_sample = time.monotonic() + min(10, seconds / 40)
        await asyncio.gather(*tasks)


def slope_per_hour(samples):
    """Least squares: MiB of resident memory per hour."""
    n = len(samples)
    t = [s.time for s in samples]
    mean_t, mean_m = sum(t) / n, sum(s.rss_mb for s in samples) / n
    square = sum((x - mean_t) ** 2 for x in t)
    return 3600 * sum((x - mean_t) * (s.rss_mb - mean_m) for x, s in zip(t, samples)) / square


def main():
    rill, model, minutes = sys.argv[1], sys.argv[2], float(sys.argv[3])
    with Server(rill, "m=" + model, "--kv-memory", "4M", "--context", "512", *sys.argv[4:],
                "--no-request-log") as server:
        samples = []

        async def run():
            limits = httpx.Limits(max_connections=300)
            async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
                load = Load(client, 1)
                load.truth = (await client.post("/v1/completions", json=CANARY)).json()[
                    "choices"][0]["text"]
                capacity = await load.capacity(min(20, minutes * 6))
                await load.poisson(0.8 * capacity, minutes * 60,
                                   lambda: samples.append(Sample(server.process.pid)))
                return load, capacity
        load, capacity = asyncio.run(run())
        server.wait_idle()
        last = Sample(server.process.pid)
        errors = server.metric("rill_http_responses_total", **{"class": "5xx"})
        settled = samples[len(samples) // 10:]
        growth = slope_per_hour(settled)
        quarter = len(settled) // 4
        first_mb = sum(s.rss_mb for s in settled[:quarter]) / quarter
        last_mb = sum(s.rss_mb for s in settled[-quarter:]) / quarter
        print(f"soak: {minutes:g} min at 80 % of {capacity:.1f} requests/s: {load.done} answered, "
              f"{load.left} left early, {load.refused} refused, {load.canaries} canaries equal, "
              f"{len(load.failures)} failed, {errors:.0f} answers 5xx; pages held: 0; resident "
              f"{first_mb:.1f} MiB in the first quarter, {last_mb:.1f} in the last ({growth:+.1f} "
              f"MiB/h); {load.held_back} held back by the client; descriptors {samples[0].fds} to {last.fds}, threads {settled[0].threads} "
              f"to {last.threads}")
        assert not load.failures, load.failures[:5]
        assert load.canaries > 0 and load.left > 0
        assert errors == load.refused
        assert last.threads == settled[0].threads
        assert last.fds < settled[0].fds + 350  # connections that the client keeps
        # Flat: less than what one more connection's buffers each minute would be.
        assert last_mb - first_mb < 2 + 0.1 * minutes, (first_mb, last_mb)
        assert server.alive()
    return 0


sys.exit(main())
