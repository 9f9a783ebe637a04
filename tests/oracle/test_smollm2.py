"""The real model against transformers on the same file: logits, greedy ids, perplexity."""
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from smollm2_oracle import PROMPTS, Oracle  # noqa: E402

# The whole arithmetic of the oracle: f32 activations and f32 keys and values.
EXACT = ["--activations", "f32", "--kv-dtype", "f32"]


@pytest.fixture(scope="module")
def oracle(smollm2):
    return Oracle(smollm2)


def run_json(command, **kwargs):
    result = subprocess.run(command, capture_output=True, text=True, check=False,
                            stdin=subprocess.DEVNULL, **kwargs)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def wikitext(shared_data) -> str:
    return (shared_data / "eval" / "wikitext2-raw" / "wiki.test.raw").read_text(encoding="utf-8")


def test_capital_of_france(rill, smollm2):
    """The first answer a newcomer checks: ids and text, in the exact and in the default mode."""
    for mode in (EXACT, []):
        out = run_json([rill, "run", smollm2, "What is the capital of France?", "--temperature", "0",
                        "--json", *mode])
        assert out["output_ids"] == [504, 3575, 282, 4649, 314, 7042, 30, 2]
        assert out["text"] == "The capital of France is Paris."
        assert out["finish_reason"] == "stop"


def test_logits_of_wikitext(rill, smollm2, oracle, shared_data, tmp_path):
    """>= 2,000 tokens: |delta| bounded, and the same top token wherever the oracle is not tied.

    Bound: both sides compute in f32 with different orders of addition. Each of the 30 layers adds two
    results of dot products over K <= 1536 terms; rounding errors of a chain of K additions grow as
    sqrt(K) * 2^-24 relative to the terms' norm, about 2e-6 a layer, and pass on through 60 residual
    additions: some 1e-4 of the logits' range (about 40) in the worst case.
    """
    ids = run_json([rill, "tokenize", smollm2, "--json", "-f",
                    str(shared_data / "eval" / "wikitext2-raw" / "wiki.test.raw")])["ids"][:2048]
    assert len(ids) >= 2000
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    subprocess.run([rill, "eval", "logits", smollm2, "--tokens", str(tmp_path / "ids.json"), "--out",
                    str(tmp_path / "x.npy"), *EXACT], check=True, capture_output=True)
    got = np.load(tmp_path / "x.npy")
    want = oracle.logits(ids)
    assert got.shape == want.shape and got.dtype == np.float32
    delta = np.abs(got - want)
    spread = float(want.max() - want.min())
    top2 = np.partition(want, -2, axis=1)[:, -2:]
    clear = top2[:, 1] - top2[:, 0] > 1e-3
    agree = got.argmax(axis=1) == want.argmax(axis=1)
    print(f"max |delta| {delta.max():.3g}, mean |delta| {delta.mean():.3g}, range {spread:.4g}, "
          f"top-1 agreement {agree[clear].mean():.4%} of {clear.sum()} clear rows, "
          f"{agree.mean():.4%} of all {len(ids)}")
    assert delta.max() <= 1e-4 * spread
    assert agree[clear].all()


def test_greedy_ids(rill, smollm2, oracle):
    """20 prompts x 64 tokens through the chat template: the same ids."""
    for prompt in PROMPTS:
        out = run_json([rill, "run", smollm2, prompt, "--temperature", "0", "-n", "64", "--json",
                        *EXACT])
        rendered = oracle.tokenizer().apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False)
        prompt_ids = oracle.tokenizer()(rendered, add_special_tokens=False)["input_ids"]
        assert out["prompt_ids"] == prompt_ids, prompt
        assert out["output_ids"] == oracle.greedy(prompt_ids, 64), prompt


@pytest.mark.parametrize("window,stride", [(512, 512), (512, 256)])
def test_perplexity_of_a_part(rill, smollm2, oracle, shared_data, tmp_path, window, stride):
    """The first 8 kB of wikitext-2; `./rillw campaign quality` does the whole."""
    text = wikitext(shared_data)[:8000]
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    out = run_json([rill, "eval", "perplexity", smollm2, "--text", str(tmp_path / "text.txt"),
                    "--window", str(window), "--stride", str(stride), "--json", *EXACT])
    ids = oracle.tokenizer()(text)["input_ids"]
    assert out["num_tokens"] == len(ids)
    nll, count = oracle.mean_nll(ids, window, stride)
    assert out["num_predicted"] == count
    assert abs(np.expm1(out["mean_nll"] - nll)) < 1e-4, (out["perplexity"], np.exp(nll))
