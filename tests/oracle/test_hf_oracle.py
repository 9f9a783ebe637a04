"""All 17 families of the shared oracle set reproduce the logits that transformers computed.

The bound, 1e-4 of the logits' range: both sides round to f32 after every operation, so each layer
contributes a few units of 2^-24 relative to its activations, and at these sizes (two layers, sums of
at most 48 terms) a sound forward stays below 5e-6. A wrong epsilon, scale, mask or RoPE is off by
1e-3 or more; 1e-4 lies between the two. The oracle's own JSON has about eight digits.
"""
import json
import subprocess

import numpy as np
import pytest

FAMILIES = ["tiny_bert", "tiny_bloom", "tiny_falcon_mq", "tiny_gemma", "tiny_gemma2",
            "tiny_gptbigcode", "tiny_gptneox", "tiny_internlm2", "tiny_llama", "tiny_mistral",
            "tiny_mixtral", "tiny_opt", "tiny_phi3", "tiny_qwen2", "tiny_qwen3", "tiny_qwen3_moe",
            "tiny_starcoder2"]
BOUND = 1e-4


def run_logits(build_dir, model, ids, out, *options):
    """Logits from the driver: f32 [total tokens, vocab_size]."""
    tool = build_dir / "tests" / "logits_tool"
    if not tool.exists():
        pytest.fail(f"{tool} was not built")
    done = subprocess.run([str(tool), str(model), str(ids), str(out), *options],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(out)


def backends(build_dir):
    """The backends of this build, as the driver lists them."""
    tool = build_dir / "tests" / "logits_tool"
    done = subprocess.run([str(tool), "--backends"], capture_output=True, text=True)
    return done.stdout.split()


def expected(path):
    """The oracle's rows, sequences one after another."""
    data = json.loads(path.read_text())
    rows = np.array(data["logits"] if "logits" in data else data["hidden"], dtype=np.float64)
    return rows.reshape(-1, rows.shape[-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_family_reproduces_transformers(build_dir, shared_data, tmp_path, family):
    folder = shared_data / "models" / "hf-oracle"
    kind = "hidden" if family == "tiny_bert" else "logits"
    oracle = folder / f"{family}_{kind}.json"
    want = expected(oracle)
    spread = want.max() - want.min()
    for backend in backends(build_dir):
        args = (build_dir, folder / f"{family}.safetensors", oracle, tmp_path / "out.npy",
                "--backend", backend)
        got = run_logits(*args)
        assert np.abs(got - want).max() <= BOUND * spread, backend
        # The same bits however the work is cut. An encoder sees a whole text at once.
        assert np.array_equal(run_logits(*args, "--batch"), got), backend
        if family != "tiny_bert":
            assert np.array_equal(run_logits(*args, "--chunk", "1"), got), backend
            assert np.array_equal(run_logits(*args, "--chunk", "5", "--batch", "--page", "32"),
                                  got), backend


@pytest.mark.parametrize("file,bound", [("tiny_llama_f32.gguf", 1e-4),
                                        # Half an ulp of f16 in every weight: 2^-11, and sums of
                                        # at most 12 of them over two layers.
                                        ("tiny_llama_f16.gguf", 2e-3)])
def test_gguf_llama_is_the_same_network(build_dir, shared_data, tmp_path, file, bound):
    folder = shared_data / "models" / "hf-oracle"
    oracle = folder / "tiny_llama_logits.json"
    want = expected(oracle)
    for backend in backends(build_dir):
        got = run_logits(build_dir, folder / file, oracle, tmp_path / "out.npy",
                         "--backend", backend)
        assert np.abs(got - want).max() <= bound * (want.max() - want.min())


def test_sharded_llama_is_the_same_network(build_dir, shared_data, tmp_path):
    folder = shared_data / "models" / "hf-oracle"
    want = expected(folder / "tiny_llama_logits.json")
    # The two shards and their index, whose configuration a folder of their own must bring.
    for file in folder.glob("tiny_llama-0000*.safetensors"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors.index.json").write_bytes(
        (folder / "tiny_llama.safetensors.index.json").read_bytes())
    (tmp_path / "config.json").write_bytes((folder / "tiny_llama_config.json").read_bytes())
    got = run_logits(build_dir, tmp_path, folder / "tiny_llama_logits.json", tmp_path / "out.npy")
    assert np.abs(got - want).max() <= BOUND * (want.max() - want.min())


@pytest.mark.parametrize("file", ["hf-oracle/tiny_llama_q8.gguf",
                                  "tiny-random-gguf/llama-2-tiny-random.gguf"])
def test_gguf_llama_equals_transformers_on_the_same_file(build_dir, shared_data, tmp_path, file):
    """Same weights on both sides, decoded to f32 by each with its own code."""
    transformers = pytest.importorskip("transformers")
    import torch
    path = shared_data / "models" / file
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager").eval()
    rng = np.random.default_rng(3)
    longest = min(29, model.config.max_position_embeddings)
    ids = [rng.integers(3, model.config.vocab_size, n).tolist() for n in (longest, longest // 2)]
    with torch.no_grad():
        want = np.concatenate([model(torch.tensor([row])).logits[0].numpy() for row in ids])
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    for backend in backends(build_dir):
        got = run_logits(build_dir, path, tmp_path / "ids.json", tmp_path / "out.npy",
                         "--backend", backend)
        assert np.abs(got - want).max() <= BOUND * (want.max() - want.min()), backend


def test_paged_infer_tiny_in_bf16(build_dir, shared_data, tmp_path):
    """BF16 weights; the golden logits are those of f32 activations (transformers gives them to
    3e-6; bf16 activations are off by 0.04)."""
    folder = shared_data / "models" / "paged-infer-tiny"
    meta = dict(line.split("=", 1) for line in
                (folder / "tiny_llama_meta.txt").read_text().splitlines() if "=" in line)
    ids = [int(word) for word in meta["tokens"].split(",")]
    (tmp_path / "ids.json").write_text(json.dumps([ids]))
    want = np.fromfile(folder / "tiny_llama_golden.bin", dtype="<f4").reshape(len(ids), -1)
    for backend in backends(build_dir):
        args = (build_dir, folder, tmp_path / "ids.json", tmp_path / "out.npy",
                "--backend", backend)
        got = run_logits(*args)
        assert np.abs(got - want).max() <= 1e-5 * (want.max() - want.min()), backend
        assert np.array_equal(run_logits(*args, "--chunk", "7", "--page", "16"), got), backend


def test_comparison_sees_a_planted_fault(build_dir, shared_data, tmp_path):
    folder = shared_data / "models" / "hf-oracle"
    config = json.loads((folder / "tiny_llama_config.json").read_text())
    config["rope_theta"] = 9000.0
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "tiny_llama.safetensors").read_bytes())
    oracle = folder / "tiny_llama_logits.json"
    want = expected(oracle)
    got = run_logits(build_dir, tmp_path, oracle, tmp_path / "out.npy")
    assert np.abs(got - want).max() > BOUND * (want.max() - want.min())
