"""Every GGUF architecture against transformers: a tiny random checkpoint is written as llama.cpp's
converter would write it (gguf_writer.py), and `rill eval logits` on that file must give the logits
that transformers computes from the checkpoint; where transformers reads the architecture itself, also
those that it computes from the same file. Bound: test_families.py's, plus the converter's own f32
rounding (Gemma's norms are stored plus one): 2e-5 of the logits' range.
"""
import json
import subprocess

import numpy as np
import pytest

import remote_code_families
from remote_code_families import MAKERS
from test_hf_oracle import expected

gguf_writer = pytest.importorskip("gguf_writer")
make_family_checkpoints = pytest.importorskip("make_family_checkpoints")
BOUND = 2e-5

# Cases of make_family_checkpoints whose settings a GGUF file can carry.
CASES = ["llama_gqa_bias", "llama_head_dim", "rope_linear", "rope_yarn", "rope_llama3", "mixtral",
         "qwen2_full", "qwen2_moe_every_layer", "qwen3", "qwen3_moe", "bloom", "falcon_7b",
         "falcon_40b", "gpt_bigcode", "starcoder2_full", "gemma", "gemma2_released",
         "gemma3_released", "phi2", "phi3", "rope_longrope", "rope_longrope_short", "gpt2",
         "gpt_neox", "gpt_neox_sequential", "stablelm", "stablelm_parallel", "olmo",
         "olmo_clip_qkv", "olmo2", "granite", "cohere", "cohere_qk_norm", "cohere2_released", "smollm3_released",
         "glm", "glm4", "deepseek_v2", "deepseek_v2_lite", "deepseek_v2_yarn_released",
         "deepseek_v3"]
# The files that transformers' own reader takes too, and reads as the converter means them: its logits
# for the file are those of the checkpoint. Of the others it does not read the architecture, or not
# their settings (Mixtral as "llama", biases, rope_freqs, head sizes, softcaps), or not so small ones.
READ_BY_TRANSFORMERS = ["llama_head_dim", "qwen2_full", "bloom", "falcon_7b", "stablelm"]


def rill_logits(build_dir, model, ids, tmp_path, *options):
    """`rill eval logits` for each text, rows one after another."""
    rows = []
    for text in ids:
        (tmp_path / "ids.json").write_text(json.dumps(text))
        done = subprocess.run(
            [str(build_dir / "apps" / "rill" / "rill"), "eval", "logits", str(model), "--tokens",
             str(tmp_path / "ids.json"), "--out", str(tmp_path / "x.npy"), "--activations", "f32",
             "--kv-dtype", "f32", *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows.append(np.load(tmp_path / "x.npy"))
    return np.concatenate(rows)


def check(got, want):
    worst, spread = np.abs(got - want).max(), want.max() - want.min()
    assert worst <= BOUND * spread, f"off by {worst / spread:.2e} of the range"


@pytest.mark.parametrize("name", CASES)
def test_gguf_matches_transformers(build_dir, tmp_path, name):
    pytest.importorskip("transformers")
    folder = make_family_checkpoints.ensure(name, build_dir.parent / "families")
    ids = json.loads((folder / "ids.json").read_text())
    options = json.loads((folder / "args.json").read_text())
    want = np.load(folder / "logits.npy")
    splits = [False, True] if name.startswith("deepseek") else [False]
    for split in splits:
        path = tmp_path / f"split_{split}.gguf"
        gguf_writer.write_gguf(folder, path, split)
        check(rill_logits(build_dir, path, ids, tmp_path, *options), want)


@pytest.mark.parametrize("name", READ_BY_TRANSFORMERS)
def test_transformers_reads_the_same_file_alike(build_dir, tmp_path, name):
    transformers = pytest.importorskip("transformers")
    import torch
    folder = make_family_checkpoints.ensure(name, build_dir.parent / "families")
    ids = json.loads((folder / "ids.json").read_text())
    gguf_writer.write_gguf(folder, tmp_path / "model.gguf")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        want = np.concatenate([model(torch.tensor([row])).logits[0].numpy() for row in ids])
    check(rill_logits(build_dir, tmp_path / "model.gguf", ids, tmp_path), want)


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"internlm1"}))  # which GGUF does not know
def test_gguf_matches_its_formulas(build_dir, tmp_path, monkeypatch, name):
    if name == "baichuan_13b":  # known by its depth, as the file says nothing of ALiBi
        monkeypatch.setattr(remote_code_families, "LAYERS", 40)
    config, weights, forward = MAKERS[name]()
    rng = np.random.default_rng(7)
    ids = [rng.integers(3, 61, n).tolist() for n in (48, 41)]
    want = np.concatenate([forward(np.array(row)) for row in ids])
    gguf_writer.write_gguf((config, weights), tmp_path / "model.gguf")
    check(rill_logits(build_dir, tmp_path / "model.gguf", ids, tmp_path), want)


def test_gguf_of_internlm2_matches_the_oracle(build_dir, shared_data, tmp_path):
    from safetensors.numpy import load_file
    folder = shared_data / "models" / "hf-oracle"
    oracle = json.loads((folder / "tiny_internlm2_logits.json").read_text())
    source = (json.loads((folder / "tiny_internlm2_config.json").read_text()),
              load_file(folder / "tiny_internlm2.safetensors"))
    gguf_writer.write_gguf(source, tmp_path / "model.gguf")
    got = rill_logits(build_dir, tmp_path / "model.gguf", oracle["sequences"], tmp_path)
    check(got, expected(folder / "tiny_internlm2_logits.json"))
