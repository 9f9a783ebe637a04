#!/usr/bin/env python3
"""OpenVINO GenAI's continuous-batching pipeline on the requests of a `rill bench serve`, in process.

    rill bench serve … --details details.jsonl
    openvino_serving.py MODEL details.jsonl --clients 64 [--threads 2] [--kv-gb 2]

MODEL is a GGUF file or an OpenVINO folder. Needs `pip install openvino-genai numpy`. Prompts are
random token ids, as many as each request had, greedy answers of as many tokens; so many clients, each
with its next request when one has ended. Times are taken when a step returns. Prints the keys of
`rill bench serve --json`. Docs: docs/performance.md, "Serving".
"""
import argparse
import json
import os
import random
import sys
import time


def lengths(path):
    with open(path) as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["prompt_tokens"], row["output_tokens"]) for row in rows if row.get("output_tokens")]


def run(pipe, genai, ids, requests, clients):
    """Seconds until all have ended, and the times to first tokens and between tokens."""
    first, between, live, waiting = [], [], {}, iter(enumerate(requests))

    def add():
        entry = next(waiting, None)
        if entry is None:
            return
        index, (prompt, output) = entry
        config = genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = output
        config.ignore_eos, config.do_sample = True, False
        began = time.perf_counter()
        live[index] = {"handle": pipe.add_request(index, ids(prompt), config), "last": began,
                       "tokens": 0, "wanted": output}

    begin = time.perf_counter()
    for _ in range(clients):
        add()
    while live:
        if not pipe.has_non_finished_requests():
            sys.exit(f"{len(live)} requests ended before their tokens")
        pipe.step()
        now = time.perf_counter()
        for index, request in list(live.items()):
            count = 0
            if request["handle"].can_read():
                count = sum(len(out.generated_ids) for out in request["handle"].read().values())
            if count:
                (between if request["tokens"] else first).append(now - request["last"])
                request["last"] = now
                request["tokens"] += count
            if request["tokens"] >= request["wanted"]:
                del live[index]
                add()
    return time.perf_counter() - begin, first, between


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("details")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kv-gb", type=int, default=2)
    args = parser.parse_args()
    import numpy
    import openvino
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = args.kv_gb
    scheduler.max_num_seqs = 256
    scheduler.max_num_batched_tokens = 4096
    scheduler.enable_prefix_caching = False
    pipe = genai.ContinuousBatchingPipeline(args.model, scheduler, "CPU",
                                            {"INFERENCE_NUM_THREADS": args.threads})

    def ids(count):
        made = [random.randrange(100, 30000) for _ in range(count)]
        return openvino.Tensor(numpy.array([made], dtype=numpy.int64))

    run(pipe, genai, ids, [(32, 8)], 1)  # what is made on first use is not measured
    requests = lengths(args.details)
    seconds, first, between = run(pipe, genai, ids, requests, args.clients)

    def milliseconds(times):
        return {"mean": float(numpy.mean(times)) * 1e3, "p50": float(numpy.percentile(times, 50)) * 1e3,
                "p99": float(numpy.percentile(times, 99)) * 1e3}

    print(json.dumps({"requests": len(requests), "failed": 0, "requests_per_s": len(requests) / seconds,
                      "output_tokens_per_s": sum(output for _, output in requests) / seconds,
                      "ttft_ms": milliseconds(first), "itl_ms": milliseconds(between)}))
    sys.stdout.flush()
    os._exit(0)  # the pipeline's own end may hang


if __name__ == "__main__":
    main()
