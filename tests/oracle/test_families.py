"""Every family against transformers (or a NumPy reference where it has no code), on tiny random
checkpoints of two texts of 41 and 48 tokens; and the same bits however the work is cut.

Bound 1e-5 of the logits' range: three layers of f32 rounding on both sides (measured: at most
1.7e-6); the smallest planted fault (a window off by one, a swapped norm) is above 1e-3.
"""
import json
import subprocess

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


# Checkpoints as others write them: the same network, said differently.

def family(build_dir, name):
    pytest.importorskip("transformers")
    folder = make_family_checkpoints.ensure(name, build_dir.parent / "families")
    tensors = pytest.importorskip("safetensors.numpy").load_file(folder / "model.safetensors")
    return folder, json.loads((folder / "config.json").read_text()), tensors


def check_variant(build_dir, folder, config, tensors, out):
    """A checkpoint of `config` and `tensors` has the logits of the one in `folder`."""
    import safetensors.numpy
    (out / "config.json").write_text(json.dumps(config))
    if tensors is None:
        (out / "model.safetensors").symlink_to(folder / "model.safetensors")
    else:
        safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()},
                                    str(out / "model.safetensors"))
    want = np.load(folder / "logits.npy")
    options = json.loads((folder / "args.json").read_text())
    got = run_logits(build_dir, out, folder / "ids.json", out / "out.npy", "--backend", "cpu", *options)
    delta = np.abs(got - want).max() / (want.max() - want.min())
    assert delta <= BOUND, delta


@pytest.mark.parametrize("name", sorted(make_family_checkpoints.CASES))
def test_absent_keys_are_the_defaults_of_the_class(build_dir, tmp_path, name):
    """Released configurations leave out what their class assumes anyway."""
    transformers = pytest.importorskip("transformers")
    folder, config, _ = family(build_dir, name)
    default = transformers.CONFIG_MAPPING[config["model_type"]]().to_dict()
    short = {key: value for key, value in config.items()
             if key == "model_type" or key not in default or default[key] != value}
    assert len(short) < len(config)
    check_variant(build_dir, folder, short, None, tmp_path)


@pytest.mark.parametrize("name,prefix", [
    ("gpt2", "transformer."), ("bloom", "transformer."), ("opt", "model."),
    ("opt_projected", "model."), ("gpt_bigcode", "transformer."), ("falcon_7b", "transformer."),
    ("gemma2", "model."), ("cohere", "model."), ("llama_gqa_bias", "model."),
    ("gpt_neox", "gpt_neox.")])
def test_names_without_the_prefix_of_the_head_model(build_dir, tmp_path, name, prefix):
    """GPT-2, BLOOM and OPT were released like this."""
    folder, config, tensors = family(build_dir, name)
    bare = {key.removeprefix(prefix): value for key, value in tensors.items()}
    assert bare.keys() != tensors.keys()
    if name == "bloom":
        config["n_embed"] = config.pop("hidden_size")
    check_variant(build_dir, folder, config, bare, tmp_path)


@pytest.mark.parametrize("name", ["llama_gqa_bias", "qwen3", "mixtral", "gpt_neox", "stablelm"])
def test_a_head_of_its_own_wins_over_a_tied_configuration(build_dir, tmp_path, name):
    folder, config, tensors = family(build_dir, name)
    assert not config["tie_word_embeddings"] and len(tensors) > 3
    check_variant(build_dir, folder, {**config, "tie_word_embeddings": True}, None, tmp_path)


@pytest.mark.parametrize("name", ["llama_gqa_bias", "gpt2", "qwen2_moe"])
def test_float64(build_dir, tmp_path, name):
    folder, config, tensors = family(build_dir, name)
    wide = {key: value.astype(np.float64) for key, value in tensors.items()}
    check_variant(build_dir, folder, config, wide, tmp_path)


def test_first_configuration_of_falcon_40b(build_dir, tmp_path):
    """"RefinedWeb" says n_head_kv and nothing of the architecture."""
    folder, config, _ = family(build_dir, "falcon_40b")
    old = {"model_type": "RefinedWeb", "alibi": False, "bias": False,
           "n_head": config["num_attention_heads"], "n_head_kv": config["num_kv_heads"],
           "n_layer": config["num_hidden_layers"], "hidden_size": config["hidden_size"],
           "layer_norm_epsilon": config["layer_norm_epsilon"], "parallel_attn": True,
           "vocab_size": config["vocab_size"], "tie_word_embeddings": False,
           "ffn_hidden_size": config["ffn_hidden_size"]}
    check_variant(build_dir, folder, old, None, tmp_path)


@pytest.mark.parametrize("value,refused", [(True, True), ("all", True), (False, False),
                                           ("vision", False), (None, False)])
def test_attention_in_both_directions_is_refused(build_dir, tmp_path, value, refused):
    folder, config, _ = family(build_dir, "gemma3")
    config["use_bidirectional_attention"] = value
    if not refused:
        check_variant(build_dir, folder, config, None, tmp_path)
        return
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    done = subprocess.run([build_dir / "tests" / "logits_tool", tmp_path, folder / "ids.json",
                           tmp_path / "out.npy"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "use_bidirectional_attention" in done.stderr


def test_original_context_of_the_class_wins_over_that_of_the_scaling(build_dir, tmp_path):
    folder, config, _ = family(build_dir, "rope_longrope_default")
    assert config.pop("original_max_position_embeddings") == 4096
    config["rope_parameters"]["original_max_position_embeddings"] = 16
    check_variant(build_dir, folder, config, None, tmp_path)
