"""Every block format of GGUF, from the file to the logits: the same network with its weights decoded by
the `gguf` package. With f32 activations the logits must be equal in every bit, for one token and for
tiles of them: the weights are, and so is the order of additions. With int8 activations they must be
those of transformers but for the rounding of f32."""
import copy
import json
import subprocess

import numpy as np
import pytest

from activation_oracle import A8, quantise_inputs, texts_without_ties, torch_logits
from test_hf_oracle import backends, run_logits

gguf = pytest.importorskip("gguf")

FORMATS = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl",
           "iq4_xs", "tq1_0", "tq2_0", "mxfp4"]


def decoded_copy(source, target):
    """The GGUF file with its matrices as f32; tensor -> its format before."""
    reader = gguf.GGUFReader(str(source))
    writer = gguf.GGUFWriter(str(target), "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub_type)
    kinds = {}
    for tensor in reader.tensors:
        kinds[tensor.name] = tensor.tensor_type.name.lower()
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.reshape([int(n) for n in reversed(tensor.shape)]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kinds


def scatter_norms(file):
    """Norms of ones give rows of the embedding to the first matrices as they are, and of 4-bit codes
    half of the largest is always 63.5 steps of int8: a tie."""
    rng = np.random.default_rng(3)
    for tensor in gguf.GGUFReader(str(file), "r+").tensors:
        if tensor.name.endswith("_norm.weight"):
            tensor.data[:] = rng.uniform(0.5, 1.5, tensor.data.shape)


def make_pair(rill, folder, name):
    """A tiny Llama of that format, and the same with its matrices decoded."""
    packed, plain = folder / "packed.gguf", folder / "plain.gguf"
    done = subprocess.run([rill, "bench", "--synthetic", f"llama-tiny:{name}", "--write-gguf", str(packed)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scatter_norms(packed)
    kinds = decoded_copy(packed, plain)
    assert name in kinds.values(), "the file has the format"
    return packed, plain, kinds


@pytest.mark.parametrize("name", FORMATS)
def test_same_network(build_dir, rill, tmp_path, name):
    packed, plain, _ = make_pair(rill, tmp_path, name)
    ids = tmp_path / "ids.json"
    rng = np.random.default_rng(7)
    ids.write_text(json.dumps([rng.integers(3, 500, n).tolist() for n in (41, 9)]))
    for backend in backends(build_dir):
        args = (ids, tmp_path / "out.npy", "--backend", backend)
        want = run_logits(build_dir, plain, *args)
        assert want.max() - want.min() > 0.1
        for chunk in ("512", "1"):
            got = run_logits(build_dir, packed, *args, "--chunk", chunk)
            assert np.array_equal(got, want), (backend, chunk)


@pytest.mark.parametrize("name", FORMATS)
def test_q8_activations(build_dir, rill, tmp_path, name):
    """transformers with the decoded weights, where what a matrix reads is rounded to int8 in blocks of
    32: all seven of a layer and the LM head, which has a block format too (q6_k, of q8_0 q8_0); the
    embedding reads nothing. 1e-5 of the logits' range: two layers of f32 rounding, as for the
    families (measured: at most 4e-7); no activation is near a tie (activation_oracle.py)."""
    transformers = pytest.importorskip("transformers")
    import torch
    packed, plain, kinds = make_pair(rill, tmp_path, name)
    assert kinds["output.weight"] == ("q8_0" if name == "q8_0" else "q6_k")
    assert all((kind == "f32") == tensor.endswith("_norm.weight") for tensor, kind in kinds.items())
    decoded = transformers.AutoModelForCausalLM.from_pretrained(
        plain.parent, gguf_file=plain.name, dtype=torch.float32, attn_implementation="eager").eval()
    noted = A8(32)
    model = quantise_inputs(copy.deepcopy(decoded), noted)
    texts = texts_without_ties(model, noted, (21, 9), 500)
    want = torch_logits(model, texts)
    spread = want.max() - want.min()
    # The test can see the rounding, its blocks, and that of the LM head.
    for other in (decoded, quantise_inputs(copy.deepcopy(decoded), A8(16)),
                  quantise_inputs(copy.deepcopy(decoded), A8(32), lambda matrix: matrix != "lm_head")):
        assert np.abs(want - torch_logits(other, texts)).mean() > 2e-4 * spread
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps(texts))
    for backend in backends(build_dir):
        args = (ids, tmp_path / "out.npy", "--backend", backend, "--activations", "q8")
        got = run_logits(build_dir, packed, *args)
        assert np.abs(got - want).max() <= 1e-5 * spread, backend
        assert np.array_equal(run_logits(build_dir, packed, *args, "--chunk", "1"), got), backend
