"""AWQ and GPTQ checkpoints against the same network with its weights decoded by NumPy.

Without act-order the logits must be equal in every bit: the weights are, and so is the order of
additions. With act-order the sums run in the order of the groups, so the bound is f32 rounding:
1e-5 of the logits' range, as for the families (a wrong zero point or nibble moves them by 0.1).
"""
import json
import subprocess

import numpy as np
import pytest

import weight_formats as formats
from activation_oracle import A8, quantise_inputs, texts_without_ties, torch_logits
from test_hf_oracle import backends, run_logits

pytest.importorskip("safetensors.torch")
pytest.importorskip("torch")

CASES = {
    "awq_g128": dict(method="awq"),
    "awq_g64": dict(method="awq", group=64),
    "awq_g32": dict(method="awq", group=32),
    "awq_rows": dict(method="awq", group=-1),
    "awq_bf16_scales": dict(method="awq", scales="bf16"),
    "gptq_g128": dict(method="gptq"),
    "gptq_g64_v2": dict(method="gptq", group=64, minus_one=False),
    "gptq_g32_symmetric": dict(method="gptq", group=32, sym=True),
    "gptq_rows": dict(method="gptq", group=-1),
    "gptq_act_order": dict(method="gptq", group=32, act_order=True),
    "gptq_act_order_g128_v2": dict(method="gptq", act_order=True, minus_one=False),
    "gptq_own_orders": dict(method="gptq", group=64, act_order=True, own_orders=True),
    "gptq_8bit": dict(method="gptq", bits=8),
    "gptq_8bit_symmetric": dict(method="gptq", bits=8, sym=True, group=32),
    "gptq_8bit_act_order": dict(method="gptq", bits=8, group=64, act_order=True),
    "gptq_3bit": dict(method="gptq", bits=3),
    "gptq_3bit_act_order": dict(method="gptq", bits=3, group=32, act_order=True),
    "gptq_2bit": dict(method="gptq", bits=2, group=64),
    "gptq_f32_scales": dict(method="gptq", scales=np.float32),
    "phi3_awq": dict(method="awq", config=formats.PHI3),
    "phi3_gptq": dict(method="gptq", group=64, config=formats.PHI3),
    "phi3_gptq_act_order": dict(method="gptq", group=32, act_order=True, config=formats.PHI3),
    "phi3_gptq_8bit_act_order": dict(method="gptq", bits=8, group=64, act_order=True, config=formats.PHI3),
}
# Experts as tensors of their own, which Rill stacks; gate and up in pairs; the router is plain.
CASES.update({f"{name}_{case}": dict(arguments, group=32, config=config)
              for name, config in (("mixtral", formats.MIXTRAL), ("qwen2_moe", formats.QWEN2_MOE),
                                   ("qwen3_moe", formats.QWEN3_MOE))
              for case, arguments in (("awq", dict(method="awq")), ("gptq", dict(method="gptq")),
                                      ("gptq_act_order", dict(method="gptq", act_order=True)))})
CASES["mixtral_gptq_own_orders"] = dict(CASES["mixtral_gptq_act_order"], own_orders=True)


def ids_file(folder):
    rng = np.random.default_rng(7)
    path = folder / "ids.json"
    path.write_text(json.dumps([rng.integers(3, 61, n).tolist() for n in (21, 9)]))
    return path


@pytest.mark.parametrize("name", sorted(CASES))
def test_same_network(build_dir, tmp_path, name):
    packed, plain = formats.make_pair(tmp_path, **CASES[name])
    ids = ids_file(tmp_path)
    for backend in backends(build_dir):
        args = (ids, tmp_path / "out.npy", "--backend", backend)
        want = run_logits(build_dir, plain, *args)
        got = run_logits(build_dir, packed, *args)
        spread = want.max() - want.min()
        assert spread > 1
        if CASES[name].get("act_order"):
            assert np.abs(got - want).max() <= 1e-5 * spread, backend
        else:
            assert np.array_equal(got, want), backend
        assert np.array_equal(run_logits(build_dir, packed, *args, "--chunk", "1"), got), backend


def test_zero_points_of_v1_and_v2_differ(build_dir, tmp_path):
    """The convention matters: reading v2 as v1 is another network."""
    packed, plain = formats.make_pair(tmp_path, "gptq", minus_one=False)
    ids = ids_file(tmp_path)
    config = json.loads((packed / "config.json").read_text())
    config["quantization_config"]["checkpoint_format"] = "gptq"
    (packed / "config.json").write_text(json.dumps(config))
    args = (ids, tmp_path / "out.npy", "--backend", "reference")
    want, got = run_logits(build_dir, plain, *args), run_logits(build_dir, packed, *args)
    assert np.abs(got - want).max() > 0.01 * (want.max() - want.min())


@pytest.mark.parametrize("method, name, renamed", [
    ("gptq", "quantize_config.json", {}),
    ("awq", "quant_config.json", {"bits": "w_bit", "group_size": "q_group_size"})])
def test_configuration_beside_the_model(build_dir, tmp_path, method, name, renamed):
    """Checkpoints from before config.json had a quantization_config."""
    packed, plain = formats.make_pair(tmp_path, method, group=64)
    config = json.loads((packed / "config.json").read_text())
    old = {renamed.get(k, k): v for k, v in config.pop("quantization_config").items()
           if k != "quant_method"}
    (packed / "config.json").write_text(json.dumps(config))
    (packed / name).write_text(json.dumps(old))
    args = (ids_file(tmp_path), tmp_path / "out.npy", "--backend", "reference")
    assert np.array_equal(run_logits(build_dir, packed, *args), run_logits(build_dir, plain, *args))


def change_tensors(folder, change):
    from safetensors.torch import load_file, save_file
    tensors = load_file(str(folder / "model.safetensors"))
    change(tensors)
    save_file(tensors, str(folder / "model.safetensors"))


def test_an_order_of_zeros_is_none(build_dir, tmp_path):
    """exllama's loaders read it so; in group 0 alone, two thirds of the weights would be others."""
    import torch
    packed, plain = formats.make_pair(tmp_path, "gptq", group=64)

    def add_order(tensors):
        for name in [n for n in tensors if n.endswith(".qweight")]:
            columns = tensors[name].shape[0] * 8
            tensors[name[:-7] + "g_idx"] = torch.zeros(columns, dtype=torch.int32)
    change_tensors(packed, add_order)
    args = (ids_file(tmp_path), tmp_path / "out.npy", "--backend", "reference")
    assert np.array_equal(run_logits(build_dir, packed, *args), run_logits(build_dir, plain, *args))


LIST = "; supported: "


@pytest.mark.parametrize("change, parts", [
    (lambda t: t["model.layers.1.self_attn.k_proj.g_idx"].clamp_(max=0).add_(1),
     ["model.layers.1.self_attn.k_proj.g_idx'", "expected columns in each of the 2 groups, got none in group 0", LIST]),
    (lambda t: t.pop("model.layers.0.self_attn.k_proj.qweight"),
     ["tensor 'model.layers.0.self_attn.k_proj.qweight': the file has no such tensor", LIST]),
    (lambda t: [t.pop(n) for n in list(t) if "layers.0.mlp.up_proj" in n],
     ["tensor 'model.layers.0.mlp.up_proj.qweight': the file has no such tensor", LIST]),
    (lambda t: t.update({"model.layers.0.mlp.act.scales": t["model.norm.weight"].clone()}),
     ["tensor 'model.layers.0.mlp.act.scales': divides what 'model.layers.0.mlp.act' gives", LIST]),
])
def test_refused_with_tensor_and_list(build_dir, tmp_path, change, parts):
    packed, _ = formats.make_pair(tmp_path, "gptq", group=64, sym=True)
    change_tensors(packed, change)
    done = subprocess.run([build_dir / "apps/rill/rill", "inspect", packed, "--plan"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (2, 3, 4, 5), done
    for part in parts:
        assert part in done.stderr, done.stderr


@pytest.mark.parametrize("expert, name, stack, other", [
    (2, "w1", "gate_up", "experts.0.w1.qweight"), (1, "w3", "gate_up", "experts.0.w3.qweight"),
    (3, "w2", "down", "experts.0.w2.qweight")])
@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_experts_of_two_formats_are_refused(build_dir, tmp_path, method, expert, name, stack, other):
    """A stack has one format; here one expert's matrix is plain beside packed ones."""
    from safetensors.torch import load_file
    packed, plain = formats.make_pair(tmp_path, method, group=32, config=formats.MIXTRAL)
    base = f"model.layers.1.block_sparse_moe.experts.{expert}.{name}"
    weight = load_file(str(plain / "model.safetensors"))[base + ".weight"]

    def unpack(tensors):
        for tensor in [n for n in tensors if n.startswith(base + ".")]:
            tensors.pop(tensor)
        tensors[base + ".weight"] = weight
    change_tensors(packed, unpack)
    done = subprocess.run([build_dir / "apps/rill/rill", "inspect", packed, "--plan"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4, done
    for part in (f"tensor '{base}.weight': f32, of expert {expert} of model.layers.1.experts.{stack}; "
                 f"expected u4g32 as expert 0's 'model.layers.1.block_sparse_moe.{other}' is",
                 "; supported: experts of a layer in one format, of gptq"):
        assert part in done.stderr, done.stderr


@pytest.mark.parametrize("sym, meta", [
    (False, {"quantizer": ["optimum:1.24.0", "gptqmodel:2.2.0"]}), (True, {"quantizer": "gptqmodel:0.9.11"}),
    (True, {})])
def test_int3_zero_points_of_old_gptqmodel(build_dir, tmp_path, sym, meta):
    """GPTQModel before 6.1 took 1 from 3-bit zero points with masks of another order than the packing's."""
    packed, plain = formats.make_pair(tmp_path, "gptq", bits=3, group=32, sym=sym, minus_one=False,
                                      quantization=dict(GPTQ_4, bits=3, group_size=32, sym=sym, meta=meta))
    taken = np.array([0x24924924, 0x92492492, 0x49249249], np.uint32)

    def take(tensors):
        for name in [n for n in tensors if n.endswith(".qzeros")]:
            words = tensors[name].numpy().view(np.uint32)
            words -= np.tile(taken, words.shape[1] // 3)
    change_tensors(packed, take)
    args = (ids_file(tmp_path), tmp_path / "out.npy", "--backend", "reference")
    assert np.array_equal(run_logits(build_dir, packed, *args), run_logits(build_dir, plain, *args))


def test_int3_zero_points_of_an_unknown_writer(build_dir, tmp_path):
    """"sym" says that they are all 4; they are not, so it is not known what they are."""
    packed, _ = formats.make_pair(tmp_path, "gptq", bits=3, group=32,
                                  quantization=dict(GPTQ_4, bits=3, group_size=32, sym=True))
    done = subprocess.run([build_dir / "apps/rill/rill", "eval", "fingerprint", packed],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4, done
    assert "model.layers.0." in done.stderr and "meta.quantizer" in done.stderr, done.stderr


@pytest.mark.parametrize("method, bits, of_packed", [
    ("awq", 4, 4 + 16 / 32 + 4 / 32), ("gptq", 3, 3 + 16 / 32 + 3 / 32), ("gptq", 8, 8 + 16 / 32 + 8 / 32)])
def test_quality_measures_the_weights_and_not_their_codes(build_dir, tmp_path, method, bits, of_packed):
    packed, plain = formats.make_pair(tmp_path, method, bits=bits, group=32)
    vocab = {chr(ord("!") + i): i for i in range(61)}
    for folder in (packed, plain):
        (folder / "tokenizer.json").write_text(json.dumps(
            {"model": {"type": "BPE", "vocab": vocab, "merges": []}}))
    (tmp_path / "text").write_text("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

    def measure(*words):
        return subprocess.run([build_dir / "apps/rill/rill", "eval", *words, "--text", tmp_path / "text",
                               "--json"], capture_output=True, text=True, timeout=60, check=False)
    done = measure("quality", packed, "--window", "26", "--kv-formats", "f32,int4")
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    rows = {(r["activations"], r["kv_dtype"]): r for r in table["rows"]}
    assert table["base_weights"] == "file" and {r["format"] for r in table["rows"]} == {"file"}
    assert len(rows) == 4 and rows["f32", "f32"]["mean_kl"] == 0 and rows["q8", "int4"]["mean_kl"] > 0
    want = json.loads(measure("perplexity", plain, "--activations", "f32", "--kv-dtype", "f32").stdout)
    assert table["base_perplexity"] == pytest.approx(want["perplexity"], rel=1e-5)
    codes = 2 * sum(r * c for r, c, _ in formats.layer_matrices(formats.CONFIG).values())
    floats = 2 * 61 * 128
    expected = (codes * of_packed + floats * 32) / (codes + floats)
    assert rows["f32", "f32"]["bits_per_weight"] == pytest.approx(expected, rel=1e-6)
    assert rows["f32", "f32"]["stored"]["f32"] == pytest.approx(floats / (codes + floats))
    for asked in ("f16", "file,q4_0", "w8a8"):
        done = measure("quality", packed, "--formats", asked)
        assert done.returncode == 4 and "packed integers" in done.stderr, done
        assert "supported: file" in done.stderr and "rows" not in done.stdout, done


def test_dynamic_widths(build_dir, tmp_path):
    """GPTQModel's "dynamic": the shapes tell bits and group of each matrix."""
    quantization = dict(quant_method="gptq", bits=4, group_size=128, checkpoint_format="gptq",
                        dynamic={"+:.*": {"bits": 8, "group_size": 32}})
    packed, plain = formats.make_pair(tmp_path, "gptq", bits=8, group=32, quantization=quantization)
    args = (ids_file(tmp_path), tmp_path / "out.npy", "--backend", "reference")
    assert np.array_equal(run_logits(build_dir, packed, *args), run_logits(build_dir, plain, *args))


RAGGED = dict(formats.CONFIG, hidden_size=96, intermediate_size=288, num_attention_heads=3,
              num_key_value_heads=1)
GPTQ_4 = dict(quant_method="gptq", bits=4, desc_act=False, sym=False, checkpoint_format="gptq")
RAGGED_CASES = {  # 288 columns: groups of 128, 128 and 32
    "no_dynamic": dict(group_size=128),
    "rule_of_other_modules": dict(group_size=128, dynamic={"-:.*lm_head": {}}),
    "rule_without_group": dict(group_size=128, dynamic={"+:.*experts": {"bits": 8}}),
    "group_of_the_rule": dict(group_size=32, dynamic={"+:.*": {"group_size": 128}}),
    "whole_rows_otherwise": dict(group_size=-1, dynamic={"+:.*": {"group_size": 128}, "-:x": {}}),
}


@pytest.mark.parametrize("name", sorted(RAGGED_CASES))
@pytest.mark.parametrize("with_index", [False, True])
def test_last_group_is_shorter(build_dir, tmp_path, name, with_index):
    """The shapes alone do not tell the group of columns that are no multiple of it: 288 columns in 3
    groups are 128, 128 and 32 of them where the configuration says so, never 96 each."""
    packed, plain = formats.make_pair(tmp_path, "gptq", sym=with_index, config=RAGGED,
                                      quantization=dict(GPTQ_4, **RAGGED_CASES[name]))
    args = (ids_file(tmp_path), tmp_path / "out.npy", "--backend", "reference")
    assert np.array_equal(run_logits(build_dir, packed, *args), run_logits(build_dir, plain, *args))


def quantised_llama(folder, weights, activations=None):
    """transformers' Llama of `folder` with matrices of layers passed through `weights`, and what they
    read through `activations`."""
    import torch
    from safetensors.torch import load_file
    from transformers import LlamaConfig, LlamaForCausalLM
    config = json.loads((folder / "config.json").read_text())
    model = LlamaForCausalLM(LlamaConfig(**config)).float().eval()
    model.load_state_dict(load_file(str(folder / "model.safetensors")))
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "layers" in name:
            module.weight.data = torch.from_numpy(weights(module.weight.detach().numpy()))
    if activations is None:
        return model
    return quantise_inputs(model, activations, lambda name: "layers" in name)


def w8(weight):
    """int8 per row."""
    largest = np.abs(weight).max(1, keepdims=True)
    codes = np.rint(weight * (np.float32(127) / largest))
    return codes.astype(np.float32) * (largest / np.float32(127))


def w4(weight, group):
    import quant_oracle as oracle
    rows, cols = weight.shape
    return oracle.decode(f"u4g{group}", oracle.encode(f"u4g{group}", weight)).reshape(rows, cols)


@pytest.mark.parametrize("inner, group", [(256, 128), (192, 64), (160, 32)])
def test_w4_at_load(build_dir, tmp_path, inner, group):
    """The bits of a network whose weights NumPy rounded. 1e-5: as for the families, f32 rounding."""
    config = dict(formats.CONFIG, intermediate_size=inner)
    _, plain = formats.make_pair(tmp_path, "gptq", group=32, config=config)
    ids = ids_file(tmp_path)
    texts = json.loads(ids.read_text())
    want = torch_logits(quantised_llama(
        plain, lambda w: w4(w, group if w.shape[1] == inner else 128)), texts)
    plain_logits = torch_logits(quantised_llama(plain, lambda w: w), texts)
    spread = want.max() - want.min()
    assert np.abs(want - plain_logits).max() > 0.01 * spread  # the test can see a difference
    for backend in backends(build_dir):
        got = run_logits(build_dir, plain, ids, tmp_path / "out.npy", "--backend", backend,
                         "--weights", "w4g128")
        assert np.abs(got - want).max() <= 1e-5 * spread, backend


def check_int8_activations(build_dir, tmp_path, folder, model, noted, others, options):
    """All logits are `model`'s but for f32 rounding, 1e-5 as above (measured: at most 5e-7); and not
    those of `others`, which round otherwise: on average 3e-3 away."""
    texts = texts_without_ties(model, noted, (21, 9), 61)
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps(texts))
    want = torch_logits(model, texts)
    spread = want.max() - want.min()
    for other in others:
        assert np.abs(want - torch_logits(other, texts)).mean() > 2e-4 * spread
    for backend in backends(build_dir):
        args = (build_dir, folder, ids, tmp_path / "out.npy", "--backend", backend, *options)
        got = run_logits(*args)
        assert np.abs(got - want).max() <= 1e-5 * spread, backend
        assert np.array_equal(run_logits(*args, "--chunk", "1"), got), backend


def test_w8a8_at_load(build_dir, tmp_path):
    _, plain = formats.make_pair(tmp_path, "gptq", group=32)
    noted = A8()
    others = [quantised_llama(plain, lambda w: w, A8()), quantised_llama(plain, w8)]
    check_int8_activations(build_dir, tmp_path, plain, quantised_llama(plain, w8, noted), noted, others,
                           ["--weights", "w8a8"])


Q8_CASES = {
    "awq_g128": (dict(method="awq"), 128),
    "awq_g32_bf16_scales": (dict(method="awq", group=32, scales="bf16"), 32),
    "awq_rows": (dict(method="awq", group=-1), 128),
    "gptq_g64": (dict(method="gptq", group=64), 64),
    "gptq_act_order": (dict(method="gptq", group=32, act_order=True), 32),
    "gptq_8bit": (dict(method="gptq", bits=8), 128),
    "gptq_8bit_act_order": (dict(method="gptq", bits=8, group=64, act_order=True), 64),
    "gptq_3bit": (dict(method="gptq", bits=3, group=32), 32),
    "gptq_2bit": (dict(method="gptq", bits=2, group=64), 64),
}


@pytest.mark.parametrize("name", sorted(Q8_CASES))
def test_q8_activations(build_dir, tmp_path, name):
    """What transformers makes of the decoded weights where what they read is rounded to int8 in the
    blocks of the weights, in the weights' order of columns."""
    from safetensors.torch import load_file
    case, block = Q8_CASES[name]
    packed, plain = formats.make_pair(tmp_path, **case)
    orders = {n[:-len(".g_idx")]: np.argsort(t.numpy(), kind="stable")
              for n, t in load_file(str(packed / "model.safetensors")).items() if n.endswith(".g_idx")}
    noted = A8(block, orders)
    # The test can see the rounding, its blocks and their order.
    others = [None, A8(block // 2, orders)] + ([A8(block)] if case.get("act_order") else [])
    check_int8_activations(build_dir, tmp_path, packed, quantised_llama(plain, lambda w: w, noted), noted,
                           [quantised_llama(plain, lambda w: w, other) for other in others],
                           ["--activations", "q8"])
