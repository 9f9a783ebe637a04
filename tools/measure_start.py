#!/usr/bin/env python3
"""How long `rill run` takes from nothing to its first token, and its peak memory.

    tools/measure_start.py [--rill PATH] [--threads N] [--starts N] [--cold] MODEL

Each start is a process of its own that answers one token and ends; the first, which fills the page
cache, does not count. Peak memory is the kernel's (ru_maxrss: the file's mapped pages count while they
are resident). --cold empties the page cache before each start, which needs root.
"""
import argparse
import os
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def start(rill, model, threads):
    """Seconds, and peak MiB."""
    words = [rill, "run", model, "--raw", "-q", "--activations", "q8", "-t", str(threads), "-c", "512",
             "--max-tokens", "1", "The capital of France is"]
    begin = time.monotonic()
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        pid = os.posix_spawn(rill, words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nothing.fileno(), 1)])
        _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(words)}: exit status {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - begin, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rill", default=str(ROOT / "build/app/apps/rill/rill"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--cold", action="store_true")
    args = parser.parse_args()
    seconds, peaks = [], []
    start(args.rill, args.model, args.threads)
    for _ in range(max(1, args.starts)):
        if args.cold:
            os.sync()
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
        took, peak = start(args.rill, args.model, args.threads)
        seconds.append(took)
        peaks.append(peak)
    print(f"{os.path.basename(args.model)}: first token after {statistics.median(seconds):.3f} s "
          f"[{min(seconds):.3f}–{max(seconds):.3f}], peak {statistics.median(peaks):.0f} MiB, "
          f"{len(seconds)} {'cold ' if args.cold else ''}starts")


if __name__ == "__main__":
    main()
