"""Every family against transformers (or a NumPy reference where it has no code), on tiny random
checkpoints of two texts of 41 and 48 tokens; and the same bits however the work is cut.

Bound 1e-5 of the logits' range: three layers of f32 rounding on both sides (measured: at most
1.7e-6); the smallest planted fault (a window off by one, a swapped norm) is above 1e-3.
"""
import json

import numpy as np
import pytest

from remote_code_families import MAKERS
from test_hf_oracle import backends, run_logits

make_family_checkpoints = pytest.importorskip("make_family_checkpoints")
BOUND = 1e-5


def check(build_dir, folder, ids, want, options, tmp_path):
    spread = want.max() - want.min()
    for backend in backends(build_dir):
        args = (build_dir, folder, ids, tmp_path / "out.npy", "--backend", backend, *options)
        got = run_logits(*args)
        assert np.abs(got - want).max() <= BOUND * spread, backend
        assert np.array_equal(run_logits(*args, "--chunk", "1"), got), f"{backend}: decode"
        assert np.array_equal(run_logits(*args, "--chunk", "13", "--batch", "--page", "32"), got), \
            f"{backend}: chunks in a batch"


@pytest.mark.parametrize("name", sorted(make_family_checkpoints.CASES))
def test_family_matches_transformers(build_dir, tmp_path, name):
    pytest.importorskip("transformers")
    folder = make_family_checkpoints.ensure(name, build_dir.parent / "families")
    want = np.load(folder / "logits.npy")
    options = json.loads((folder / "args.json").read_text())
    check(build_dir, folder, folder / "ids.json", want, options, tmp_path)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_family_matches_its_formulas(build_dir, tmp_path, name):
    safetensors = pytest.importorskip("safetensors.numpy")
    config, weights, forward = MAKERS[name]()
    rng = np.random.default_rng(7)
    ids = [rng.integers(3, 61, n).tolist() for n in (48, 41)]
    want = np.concatenate([forward(np.array(row)) for row in ids])
    safetensors.save_file(dict(weights), str(tmp_path / "model.safetensors"))
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    check(build_dir, tmp_path, tmp_path / "ids.json", want, [], tmp_path)
