"""lm-eval's own client scores through the API what `rill eval logits` gives directly."""
import json
import math
import subprocess

import pytest

models = pytest.importorskip("lm_eval.models.openai_completions",
                             reason="skipped: lm-eval is not installed (campaign: clients)")


def test_local_completions_scores(smol, rill, smollm2, tmp_path):
    client = models.LocalCompletionsAPI(
        model="smollm2", base_url=smol.url + "/v1/completions", tokenizer_backend="remote",
        num_concurrent=1, batch_size=4, max_length=512)
    from lm_eval.api.instance import Instance
    pairs = [("The capital of France is", " Paris"), ("The capital of France is", " banana"),
             ("Two and two make", " four")]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    scored = client.loglikelihood(requests)
    for (context, continuation), (score, greedy) in zip(pairs, scored):
        ids = json.loads(subprocess.run(
            [rill, "tokenize", smollm2, context + continuation, "--json"], capture_output=True,
            check=True).stdout)["ids"]
        tokens = tmp_path / "tokens"
        tokens.write_text(json.dumps(ids))
        out = tmp_path / "logits.npy"
        subprocess.run([rill, "eval", "logits", smollm2, "--tokens", tokens, "--out", out],
                       check=True, capture_output=True)
        import numpy
        rows = numpy.load(out).astype(numpy.float64)
        last = rows[-2] - rows[-2].max()
        direct = last[ids[-1]] - math.log(numpy.exp(last).sum())
        assert abs(score - direct) < 1e-4, (context, continuation)
        assert greedy == (rows[-2].argmax() == ids[-1])
    assert scored[0][0] > scored[1][0]
