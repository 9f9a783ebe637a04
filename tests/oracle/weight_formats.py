"""AWQ and GPTQ checkpoints from their definitions: packing and unpacking in NumPy, and tiny networks
with the same weights once packed and once plain.

AWQ (gemm):  w[n, k] = scales[g, n] (q[k, n] - z[g, n]); qweight int32 [K, N/8], qzeros int32
             [G, N/8]; nibble i of a word belongs to row (0 2 4 6 1 3 5 7)[i] of its eight.
GPTQ:        qweight int32 [K bits/32, N], a column's codes one after another from the lowest bit;
             qzeros int32 [G, N bits/32], the same along the row, holding z - 1 (v1) or z (v2);
             g = g_idx[k].
"""
import json

import numpy as np

AWQ_ROWS = [0, 2, 4, 6, 1, 3, 5, 7]
CONFIG = dict(model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=128,
              intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, vocab_size=61, max_position_embeddings=64,
              rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False)
PHI3 = dict(CONFIG, model_type="phi3", architectures=["Phi3ForCausalLM"])
MIXTRAL = dict(CONFIG, model_type="mixtral", architectures=["MixtralForCausalLM"], intermediate_size=64,
               num_local_experts=4, num_experts_per_tok=2)
QWEN2_MOE = dict(CONFIG, model_type="qwen2_moe", architectures=["Qwen2MoeForCausalLM"], num_experts=4,
                 num_experts_per_tok=2, moe_intermediate_size=64, shared_expert_intermediate_size=96)
QWEN3_MOE = dict(CONFIG, model_type="qwen3_moe", architectures=["Qwen3MoeForCausalLM"], num_experts=4,
                 num_experts_per_tok=2, moe_intermediate_size=64, norm_topk_prob=True, head_dim=32)


def pack_stream(codes, bits):
    """Codes along axis 0 as one bit stream of 32-bit words a column."""
    count, columns = codes.shape
    stream = (codes[:, None, :].astype(np.uint8) >> np.arange(bits, dtype=np.uint8)[None, :, None]) & 1
    words = stream.reshape(count * bits // 32, 32, columns).astype(np.uint64)
    return (words << np.arange(32, dtype=np.uint64)[None, :, None]).sum(1).astype(np.uint32)


def unpack_stream(words, bits):
    rows, columns = words.shape
    stream = (words[:, None, :] >> np.arange(32, dtype=np.uint32)[None, :, None]) & 1
    stream = stream.reshape(rows * 32 // bits, bits, columns)
    return (stream << np.arange(bits, dtype=np.uint32)[None, :, None]).sum(1)


def pack_awq(codes):
    """[R, N] -> int32 [R, N / 8]."""
    eights = codes.reshape(codes.shape[0], -1, 8)[:, :, AWQ_ROWS].astype(np.uint64)
    return (eights << (4 * np.arange(8, dtype=np.uint64))).sum(2).astype(np.uint32).view(np.int32)


def unpack_awq(words):
    nibbles = (words.view(np.uint32)[:, :, None] >> (4 * np.arange(8, dtype=np.uint32))) & 15
    out = np.empty_like(nibbles)
    out[:, :, AWQ_ROWS] = nibbles
    return out.reshape(words.shape[0], -1)


def v1_zeros(words, bits):
    """Zero points of format v1 as v2 stores them: one added to each field, with carry in a word."""
    if bits == 3:
        return ((unpack_stream(words.T.copy(), 3) + 1) & 7).T
    ones = {2: 0x55555555, 4: 0x11111111, 8: 0x01010101}[bits]
    return unpack_stream((words + np.uint32(ones)).T.copy(), bits).T


def decode_awq(tensors, group):
    q, z = unpack_awq(tensors["qweight"]), unpack_awq(tensors["qzeros"])
    g = np.arange(q.shape[0]) // group
    return (tensors["scales"].astype(np.float32)[g] *
            (q.astype(np.int32) - z.astype(np.int32)[g]).astype(np.float32)).T


def decode_gptq(tensors, bits, group, minus_one):
    q = unpack_stream(tensors["qweight"].view(np.uint32), bits)
    words = tensors["qzeros"].view(np.uint32)
    z = v1_zeros(words, bits) if minus_one else unpack_stream(words.T.copy(), bits).T
    g = tensors.get("g_idx", np.arange(q.shape[0], dtype=np.int32) // group)
    return (tensors["scales"].astype(np.float32)[g] *
            (q.astype(np.int32) - z.astype(np.int32)[g]).astype(np.float32)).T


def random_packed(rng, method, rows, cols, bits, group, order=None, sym=False, minus_one=True):
    """Tensors of one matrix [rows, cols]. `order`: g_idx is scrambled by it."""
    group = cols if group == -1 else group
    groups = -(-cols // group)
    top = 1 << bits
    q = rng.integers(0, top, (cols, rows))
    z = np.full((groups, rows), top // 2) if sym else rng.integers(0, top, (groups, rows))
    out = {"scales": (rng.uniform(0.5, 1.5, (groups, rows)) * 0.6 / top /
                      np.sqrt(cols / 64)).astype(np.float16)}
    if method == "awq":
        return dict(out, qweight=pack_awq(q), qzeros=pack_awq(z))
    words = pack_stream(z.T, bits).T.copy()
    if minus_one and bits != 3:  # from whole words, so that zero points of 0 borrow
        words = words - np.uint32({2: 0x55555555, 4: 0x11111111, 8: 0x01010101}[bits])
    elif minus_one:
        words = pack_stream((z.T - 1) & 7, 3).T.copy()
    out.update(qweight=pack_stream(q, bits).view(np.int32), qzeros=words.view(np.int32))
    if order is not None:
        g = np.arange(cols, dtype=np.int32) // group
        out["g_idx"] = g[order]
    return out


def layer_matrices(config):
    """name -> (rows, cols, name of what it reads)."""
    kind, hidden, inner = config["model_type"], config["hidden_size"], config["intermediate_size"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]

    def gated(prefix, size, names=("gate_proj", "up_proj", "down_proj")):
        gate, up, down = (f"{prefix}.{name}" for name in names)
        return {gate: (size, hidden, prefix), up: (size, hidden, prefix), down: (hidden, size, down)}

    o = {"self_attn.o_proj": (hidden, hidden, "o")}
    if kind == "phi3":
        return {"self_attn.qkv_proj": (hidden + 2 * kv, hidden, "attn"), **o,
                "mlp.gate_up_proj": (2 * inner, hidden, "mlp"), "mlp.down_proj": (hidden, inner, "down")}
    out = {"self_attn.q_proj": (hidden, hidden, "attn"), "self_attn.k_proj": (kv, hidden, "attn"),
           "self_attn.v_proj": (kv, hidden, "attn"), **o}
    if kind == "llama":
        return {**out, **gated("mlp", inner)}
    # Quantisers see of each expert the tokens that chose it, so each has an act-order of its own.
    for e in range(num_experts(config)):
        if kind == "mixtral":
            out.update(gated(f"block_sparse_moe.experts.{e}", inner, ("w1", "w3", "w2")))
        else:
            out.update(gated(f"mlp.experts.{e}", config["moe_intermediate_size"]))
    if kind == "qwen2_moe":
        out.update(gated("mlp.shared_expert", config["shared_expert_intermediate_size"]))
    return out


def num_experts(config):
    return config.get("num_experts", config.get("num_local_experts", 0))


def plain_tensors(config, rng):
    """name -> what else a layer has, beside its two norms: quantisers leave these as they are."""
    kind, hidden = config["model_type"], config["hidden_size"]
    head = hidden // config["num_attention_heads"]
    out = {}
    if num_experts(config) > 0:  # logits of size 1
        router = "block_sparse_moe.gate.weight" if kind == "mixtral" else "mlp.gate.weight"
        out[router] = rng.standard_normal((num_experts(config), hidden)) / np.sqrt(hidden)
    if kind == "qwen2_moe":
        out["mlp.shared_expert_gate.weight"] = rng.standard_normal((1, hidden)) / np.sqrt(hidden)
        for name in ("q", "k", "v"):
            rows = hidden if name == "q" else head * config["num_key_value_heads"]
            out[f"self_attn.{name}_proj.bias"] = rng.standard_normal(rows) * 0.3
    if kind == "qwen3_moe":
        out["self_attn.q_norm.weight"] = rng.uniform(0.5, 1.5, head)
        out["self_attn.k_norm.weight"] = rng.uniform(0.5, 1.5, head)
    return out


def make_pair(folder, method, bits=4, group=128, act_order=False, sym=False, minus_one=True,
              scales=np.float16, own_orders=False, quantization=None, config=CONFIG, seed=5):
    """Writes folder/packed and folder/plain: the same network. `own_orders`: each matrix has an
    act-order of its own, also beside others that read the same."""
    import torch
    from safetensors.torch import save_file
    rng = np.random.default_rng(seed)
    packed, plain = {}, {}

    def both(name, value):
        packed[name] = plain[name] = value.astype(np.float32)

    hidden, vocab = config["hidden_size"], config["vocab_size"]
    both("model.embed_tokens.weight", rng.standard_normal((vocab, hidden)))
    both("lm_head.weight", rng.standard_normal((vocab, hidden)) * 0.3)
    both("model.norm.weight", rng.uniform(0.5, 1.5, hidden))
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        both(prefix + "input_layernorm.weight", rng.uniform(0.5, 1.5, hidden))
        both(prefix + "post_attention_layernorm.weight", rng.uniform(0.5, 1.5, hidden))
        for name, value in plain_tensors(config, rng).items():
            both(prefix + name, value)
        orders = {}
        for name, (rows, cols, reads) in layer_matrices(config).items():
            key = name if own_orders else reads
            if act_order and key not in orders:
                orders[key] = rng.permutation(cols)
            order = orders[key] if act_order else np.arange(cols) if sym else None
            t = random_packed(rng, method, rows, cols, bits, group, order, sym, minus_one)
            size = cols if group == -1 else group
            w = (decode_awq(t, size) if method == "awq" else
                 decode_gptq(t, bits, size, minus_one))
            t["scales"] = torch.from_numpy(t["scales"]).to(
                {np.float16: torch.float16, np.float32: torch.float32, "bf16": torch.bfloat16}[scales])
            if scales == "bf16":
                t16 = dict(t, scales=t["scales"].float().numpy())
                w = decode_awq(t16, size) if method == "awq" else decode_gptq(t16, bits, size, minus_one)
            for tensor, value in t.items():
                packed[f"{prefix}{name}.{tensor}"] = value
            plain[f"{prefix}{name}.weight"] = np.ascontiguousarray(w)
    if quantization is None:
        quantization = dict(quant_method=method, bits=bits, group_size=group)
        if method == "gptq":
            quantization.update(desc_act=act_order, sym=sym,
                                checkpoint_format="gptq" if minus_one else "gptq_v2")
        else:
            quantization.update(zero_point=True, version="gemm")
    for name, tensors, extra in (("packed", packed, dict(quantization_config=quantization)),
                                 ("plain", plain, {})):
        path = folder / name
        path.mkdir(parents=True, exist_ok=True)
        tensors = {k: v if isinstance(v, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(v))
                   for k, v in tensors.items()}
        save_file(tensors, str(path / "model.safetensors"))
        (path / "config.json").write_text(json.dumps(dict(config, **extra)))
    return folder / "packed", folder / "plain"
