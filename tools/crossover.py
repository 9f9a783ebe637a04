#!/usr/bin/env python3
"""Decode rate over the number of sequences for weights as f16, int8 (w8a8) and 4-bit (w4g128).

    crossover.py run RILL OUT.json [--model SPEC] [--at POSITIONS] [--batches 1,2,…] [--rounds N]
    crossover.py plot IN.json OUT.svg

`run` calls `rill bench` for each mode in turn, `rounds` times, and keeps the median of the rounds;
SPEC is what --synthetic takes. `plot` needs nothing but this file. Docs: docs/performance.md.
"""
import argparse
import json
import math
import pathlib
import shlex
import statistics
import subprocess
import sys

MODES = {
    "f16": ["--weights", "file"],
    "w8a8": ["--weights", "w8a8"],
    "w4g128": ["--weights", "w4g128", "--activations", "q8"],
    "w4g128/f32": ["--weights", "w4g128", "--activations", "f32"],
}
COLOURS = {"f16": "#888888", "w8a8": "#c2410c", "w4g128": "#1d4ed8",
           "w4g128/f32": "#7c9cf5"}


def bench(rill, args, mode):
    command = [rill, "bench", "--synthetic", args.model, *MODES[mode], "--prefill", "none",
               "--mixed", "none", "--batch", args.batches, "--at", str(args.at), "--json"]
    if args.threads:
        command += ["--threads", str(args.threads)]
    command += shlex.split(args.flags)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}:\n{done.stderr}")
    try:
        return json.loads(done.stdout), command
    except ValueError:
        sys.exit(f"{' '.join(command)}: expected a report as JSON, got {done.stdout[:80]!r}")


def run(args):
    if not pathlib.Path(args.out).absolute().parent.is_dir():  # told before it takes minutes
        sys.exit(f"crossover.py: {args.out}: no such folder")
    curves = {}
    first = None
    for _ in range(args.rounds):
        for mode in args.modes.split(","):
            report, command = bench(args.rill, args, mode)
            first = first or report
            curve = curves.setdefault(mode, {"command": command[1:], "points": {},
                                             "resident_mb": report.get("resident_mb")})
            for row in report["runs"]:
                if row["phase"] == "decode":
                    curve["points"].setdefault(row["num_seqs"], []).append(row)
    if not curves:
        sys.exit(f"crossover.py: --rounds: expected at least 1, got {args.rounds}")
    out = {"machine": first["machine"], "commit": first["commit"], "ceilings": first["ceilings"],
           "model": args.model, "context": args.at, "rounds": args.rounds, "curves": {}}
    for mode, curve in curves.items():
        points = []
        for batch, rows in sorted(curve["points"].items()):
            rates = [row["tokens_per_s"] for row in rows]
            middle = min(rows, key=lambda row: abs(row["tokens_per_s"] - statistics.median(rates)))
            points.append({"num_seqs": batch, "tokens_per_s": round(statistics.median(rates), 2),
                           "least": round(min(rates), 2), "most": round(max(rates), 2),
                           "limit": middle["limit"], "pct_of_limit": round(middle["pct_of_limit"], 1)})
        out["curves"][mode] = {"command": "rill " + " ".join(curve["command"]),
                               "resident_mb": curve["resident_mb"], "points": points}
    pathlib.Path(args.out).write_text(json.dumps(out, indent=1) + "\n")


def plot(args):
    try:
        svg = draw(json.loads(pathlib.Path(args.input).read_text()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        sys.exit(f"crossover.py: {args.input}: expected what `crossover.py run` writes, got "
                 f"{type(error).__name__}: {error}")
    pathlib.Path(args.output).write_text(svg)


def draw(data):
    width, height, left, bottom, top, right = 760, 460, 70, 56, 44, 190
    curves = data["curves"]
    batches = sorted({p["num_seqs"] for c in curves.values() for p in c["points"]})
    rates = [p["tokens_per_s"] for c in curves.values() for p in c["points"]]
    low = math.floor(math.log2(min(rates)))
    high = max(low + 1, math.ceil(math.log2(max(rates))))
    span = max(1.0, math.log2(batches[-1] / batches[0]))

    def x(batch):
        return left + (width - left - right) * math.log2(batch / batches[0]) / span

    def y(rate):
        return height - bottom - (height - bottom - top) * (math.log2(rate) - low) / (high - low)

    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="{left}" y="24" font-size="15">Decode, tokens per second: {data["model"]}, '
           f'{data["context"]} positions</text>']
    for power in range(low, high + 1):
        at = y(2.0 ** power)
        svg.append(f'<line x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}" '
                   'stroke="#dddddd"/>')
        label = f"{2.0 ** power:g}"
        svg.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for batch in batches:
        svg.append(f'<text x="{x(batch):.1f}" y="{height - bottom + 20}" '
                   f'text-anchor="middle">{batch}</text>')
    svg.append(f'<text x="{(left + width - right) / 2}" y="{height - 14}" '
               'text-anchor="middle">sequences in the step</text>')
    ends = []
    for mode, curve in curves.items():
        colour = COLOURS.get(mode, "#000000")
        path = " ".join(f'{x(p["num_seqs"]):.1f},{y(p["tokens_per_s"]):.1f}'
                        for p in curve["points"])
        svg.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for p in curve["points"]:
            svg.append(f'<circle cx="{x(p["num_seqs"]):.1f}" cy="{y(p["tokens_per_s"]):.1f}" r="3" '
                       f'fill="{colour}"><title>{mode}, {p["num_seqs"]}: {p["tokens_per_s"]} '
                       f'({p["least"]}–{p["most"]}), {p["pct_of_limit"]} % of {p["limit"]}'
                       '</title></circle>')
        ends.append([y(curve["points"][-1]["tokens_per_s"]), mode, colour])
    ends.sort()
    for i, (at, mode, colour) in enumerate(ends):
        if i > 0:
            at = ends[i][0] = max(at, ends[i - 1][0] + 15)
        svg.append(f'<text x="{width - right + 10}" y="{at + 4:.1f}" fill="{colour}">{mode}</text>')
    svg.append("</svg>")
    return "\n".join(svg) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = parser.add_subparsers(required=True)
    r = sub.add_parser("run")
    r.add_argument("rill")
    r.add_argument("out")
    r.add_argument("--model", default="llama-1.1b:f16")
    r.add_argument("--at", type=int, default=64)
    r.add_argument("--batches", default="1,2,4,8,16,32,64,128,256")
    r.add_argument("--modes", default=",".join(list(MODES)[:3]))
    r.add_argument("--rounds", type=int, default=1)
    r.add_argument("--threads", type=int, default=0)
    r.add_argument("--flags", default="", help="further flags of rill bench, in one word")
    r.set_defaults(action=run)
    p = sub.add_parser("plot")
    p.add_argument("input")
    p.add_argument("output")
    p.set_defaults(action=plot)
    args = parser.parse_args()
    unknown = [mode for mode in args.modes.split(",") if mode not in MODES] if "modes" in args else []
    if unknown:
        parser.error(f"--modes: unknown {unknown[0]!r}, expected some of {', '.join(MODES)}")
    try:
        args.action(args)
    except OSError as error:
        sys.exit(f"{parser.prog}: {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
