"""The whole of wikitext-2 test: Rill's perplexity beside transformers', same windows.

    python tests/oracle/smollm2_quality.py RILL MODEL.gguf wiki.test.raw [--window 1024]

Takes the oracle about half an hour on two cores. Prints one line per mode of Rill.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from smollm2_oracle import Oracle  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("rill")
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--stride", type=int, default=0, help="default: the window")
    args = parser.parse_args()
    stride = args.stride or args.window
    oracle = Oracle(args.model)
    with open(args.text, encoding="utf-8", newline="") as file:  # its line ends as they are
        text = file.read()
    ids = oracle.tokenizer()(text)["input_ids"]
    last = [0.0]

    def progress(done, total):
        if time.time() - last[0] > 30:
            last[0] = time.time()
            print(f"  oracle {done}/{total}", file=sys.stderr, flush=True)

    nll, count = oracle.mean_nll(ids, args.window, stride, progress)
    print(f"transformers f32: perplexity {np.exp(nll):.6f} ({len(ids)} tokens, {count} predicted, "
          f"window {args.window}, stride {stride})", flush=True)
    failed = False
    for mode in (["f32", "f32"], ["f32", "f16"], ["q8", "f16"]):
        out = json.loads(subprocess.run(
            [args.rill, "eval", "perplexity", args.model, "--text", args.text, "--window",
             str(args.window), "--stride", str(stride), "--json", "--activations", mode[0],
             "--kv-dtype", mode[1]], check=True, capture_output=True, text=True).stdout)
        ratio = np.expm1(out["mean_nll"] - nll)
        print(f"rill activations {mode[0]}, kv {mode[1]}: perplexity {out['perplexity']:.6f} "
              f"({ratio:+.4%}), {out['seconds']:.0f} s", flush=True)
        if mode == ["f32", "f32"]:
            failed = abs(ratio) > 1e-4 or out["num_predicted"] != count
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
