"""Tiny GGUF files from Hugging Face checkpoints, with the names, row orders and metadata that
llama.cpp's converter gives each architecture. Tensor names come from the `gguf` package's own map.

    write_gguf(folder or (config, tensors), path, split_kv_b=False)
"""
import json
import pathlib
import re

import gguf
import numpy as np


def permute(rows, heads):
    """Rows of each head from half-and-half RoPE pairs to neighbouring ones."""
    shape = rows.shape
    return rows.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


class Source:
    """config.json with its spellings made one, and the tensors by name."""

    def __init__(self, config, tensors):
        self.raw, self.tensors = config, tensors
        get = self.get
        self.layers = get("num_hidden_layers", "n_layer", "num_layers")
        self.hidden = get("hidden_size", "n_embd")
        self.heads = get("num_attention_heads", "n_head")
        self.kv_heads = get("num_key_value_heads", "multi_query_group_num", default=self.heads)
        self.head_dim = get("head_dim", "kv_channels", default=self.hidden // self.heads)
        self.context = get("max_position_embeddings", "n_positions", "seq_length",
                           "model_max_length", default=64)
        self.inner = get("intermediate_size", "n_inner", "ffn_hidden_size",
                         default=4 * self.hidden)
        if config["model_type"] in ("falcon", "gpt_neox"):  # words that these do not read
            self.kv_heads = self.heads
            if config["model_type"] == "falcon":
                self.inner = get("ffn_hidden_size", default=4 * self.hidden)
        rope = get("rope_parameters", "rope_scaling", default={})
        self.rope = rope.get("full_attention", rope)
        self.theta = self.rope.get("rope_theta", get("rope_theta", default=10000.0))

    def get(self, *keys, default=None):
        for key in keys:
            if self.raw.get(key) is not None:
                return self.raw[key]
        return default


# --- what the converter does to the tensors of an architecture: (name, array) -> [(name, array)] ---

def same(s, name, x):
    return [(name, x)]


def llama_rows(s, name, x):
    if ".q_proj." in name:
        return [(name, permute(x, s.heads))]
    if ".k_proj." in name:
        return [(name, permute(x, s.kv_heads))]
    return [(name, x)]


def gemma_norms(s, name, x):
    return [(name, x + 1)] if name.endswith("norm.weight") else [(name, x)]


def gpt2_rows(s, name, x):
    turned = name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight"))
    return [(name, x.T)] if turned else [(name, x)]


def per_head_qkv(s, name, x):
    if "query_key_value" not in name:
        return [(name, x)]
    parts = x.reshape(s.heads, 3, s.head_dim, *x.shape[1:])
    return [(name, np.concatenate([parts[:, i].reshape(-1, *x.shape[1:]) for i in range(3)]))]


def falcon_rows(s, name, x):
    if "query_key_value" not in name:
        return [(name, x)]
    kv = s.get("num_kv_heads") if s.get("new_decoder_architecture") else 1
    parts = x.reshape(kv, s.heads // kv + 2, s.head_dim, -1)
    return [(name, np.concatenate([parts[:, :-2].reshape(-1, x.shape[1]),
                                   parts[:, -2].reshape(-1, x.shape[1]),
                                   parts[:, -1].reshape(-1, x.shape[1])]))]


def internlm2_rows(s, name, x):
    if "wqkv" not in name:
        return [(name, x)]
    base = name.split(".attention")[0]
    group = s.heads // s.kv_heads
    parts = x.reshape(s.kv_heads, group + 2, s.head_dim, x.shape[1])
    q = parts[:, :group].reshape(-1, x.shape[1])
    k, v = parts[:, -2].reshape(-1, x.shape[1]), parts[:, -1].reshape(-1, x.shape[1])
    return [(f"{base}.attention.wq.weight", permute(q, s.heads)),
            (f"{base}.attention.wk.weight", permute(k, s.kv_heads)),
            (f"{base}.attention.wv.weight", v)]


def baichuan_rows(s, name, x):
    if "W_pack" not in name:
        return [(name, x)]
    base = name.replace("W_pack.weight", "")
    q, k, v = np.split(x, 3)
    return [(base + "q_proj.weight", permute(q, s.heads)),
            (base + "k_proj.weight", permute(k, s.heads)), (base + "v_proj.weight", v)]


def stack_head_norms(s, name, x):
    for kind, heads in (("q", s.heads), ("k", s.kv_heads)):
        if f".{kind}_layernorm.norms." not in name:
            continue
        base, index = name.removesuffix(".weight").rsplit(".norms.", 1)
        if index != "0":
            return []
        rows = [s.tensors[f"{base}.norms.{h}.weight"] for h in range(heads)]
        return [(base + ".weight", np.stack(rows))]
    return [(name, x)]


def split_kv_b(s, name, x):
    if "kv_b_proj" not in name:
        return [(name, x)]
    nope, v_dim = s.get("qk_nope_head_dim"), s.get("v_head_dim")
    parts = x.reshape(s.heads, nope + v_dim, x.shape[1])
    return [(name.replace("kv_b", "k_b"), parts[:, :nope].swapaxes(1, 2)),
            (name.replace("kv_b", "v_b"), parts[:, nope:])]


# --- metadata beyond the usual ---

def mixture(s, w):
    w.add_expert_count(s.get("num_local_experts", "num_experts", "n_routed_experts"))
    w.add_expert_used_count(s.get("num_experts_per_tok"))
    if s.get("moe_intermediate_size"):
        w.add_expert_feed_forward_length(s.get("moe_intermediate_size"))
    if s.get("shared_expert_intermediate_size"):
        w.add_expert_shared_feed_forward_length(s.get("shared_expert_intermediate_size"))


def window(s, w):
    if s.get("sliding_window"):
        w.add_sliding_window(s.get("sliding_window"))


def gemma2_keys(s, w):
    w.add_attn_logit_softcapping(s.get("attn_logit_softcapping"))
    w.add_final_logit_softcapping(s.get("final_logit_softcapping"))
    window(s, w)


def granite_keys(s, w):
    w.add_attention_scale(s.get("attention_multiplier"))
    w.add_embedding_scale(s.get("embedding_multiplier"))
    w.add_residual_scale(s.get("residual_multiplier"))
    w.add_logit_scale(s.get("logits_scaling"))


def cohere_keys(s, w):
    w.add_logit_scale(s.get("logit_scale"))
    if s.get("model_type") == "cohere2":
        window(s, w)


def olmo_keys(s, w):
    if s.get("clip_qkv"):
        w.add_clamp_kqv(s.get("clip_qkv"))


def neox_keys(s, w):
    # Written as true also where a StableLM configuration says nothing.
    w.add_parallel_residual(s.get("use_parallel_residual", default=True))


def longrope(s, w):
    window(s, w)
    if s.rope.get("rope_type") != "longrope":
        return
    original = s.get("original_max_position_embeddings")
    ratio = s.context / original
    w.add_rope_scaling_orig_ctx_len(original)
    w.add_rope_scaling_attn_factors(
        np.sqrt(1 + np.log(ratio) / np.log(original)) if ratio > 1 else 1.0)
    for kind in ("long", "short"):
        w.add_tensor(f"rope_factors_{kind}.weight",
                     np.array(s.rope[f"{kind}_factor"], dtype=np.float32))


def deepseek_keys(s, w, split):
    head = s.get("qk_nope_head_dim") + s.get("qk_rope_head_dim")
    rank = s.get("kv_lora_rank")
    if split:  # keys and values as absorbed attention sees them: one latent head
        w.add_head_count_kv(1)
        w.add_key_length(rank + s.get("qk_rope_head_dim"))
        w.add_value_length(rank)
        w.add_key_length_mla(head)
        w.add_value_length_mla(s.get("v_head_dim"))
    else:
        w.add_head_count_kv(s.kv_heads)
        w.add_key_length(head)
        w.add_value_length(s.get("v_head_dim"))
    if s.get("q_lora_rank"):
        w.add_q_lora_rank(s.get("q_lora_rank"))
    w.add_kv_lora_rank(rank)
    mixture(s, w)
    w.add_leading_dense_block_count(s.get("first_k_dense_replace"))
    w.add_expert_shared_count(s.get("n_shared_experts"))
    w.add_expert_weights_scale(s.get("routed_scaling_factor"))
    v3 = s.get("model_type") == "deepseek_v3"
    w.add_expert_weights_norm(v3)
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID if v3
                             else gguf.ExpertGatingFuncType.SOFTMAX)
    if v3 or s.get("topk_method") == "group_limited_greedy":
        w.add_expert_group_count(s.get("n_group"))
        w.add_expert_group_used_count(s.get("topk_group"))
    if s.rope.get("mscale_all_dim"):
        w.add_rope_scaling_yarn_log_mul(0.1 * s.rope["mscale_all_dim"])


# model_type: (architecture, tensors, metadata, norm "rms" or "layer")
RECIPES = {
    "llama": ("LLAMA", llama_rows, None, "rms"),
    "mixtral": ("LLAMA", llama_rows, mixture, "rms"),
    "qwen": ("QWEN", same, None, "rms"),
    "qwen2": ("QWEN2", same, None, "rms"),
    "qwen2_moe": ("QWEN2MOE", same, mixture, "rms"),
    "qwen3": ("QWEN3", same, None, "rms"),
    "qwen3_moe": ("QWEN3MOE", same, mixture, "rms"),
    "internlm2": ("INTERNLM2", internlm2_rows, None, "rms"),
    "chatglm": ("CHATGLM", same, None, "rms"),
    "glm": ("CHATGLM", same, None, "rms"),
    "glm4": ("GLM4", same, None, "rms"),
    "baichuan": ("BAICHUAN", baichuan_rows, None, "rms"),
    "bloom": ("BLOOM", per_head_qkv, None, "layer"),
    "falcon": ("FALCON", falcon_rows, None, "layer"),
    "gpt_bigcode": ("STARCODER", same, None, "layer"),
    "starcoder2": ("STARCODER2", same, None, "layer"),
    "gemma": ("GEMMA", gemma_norms, None, "rms"),
    "gemma2": ("GEMMA2", gemma_norms, gemma2_keys, "rms"),
    "gemma3_text": ("GEMMA3", gemma_norms, window, "rms"),
    "phi": ("PHI2", same, None, "layer"),
    "phi3": ("PHI3", same, longrope, "rms"),
    "gpt2": ("GPT2", gpt2_rows, None, "layer"),
    "gpt_neox": ("GPTNEOX", per_head_qkv, neox_keys, "layer"),
    "stablelm": ("STABLELM", stack_head_norms, neox_keys, "layer"),
    "olmo": ("OLMO", llama_rows, olmo_keys, "layer"),
    "olmo2": ("OLMO2", same, None, "rms"),
    "granite": ("GRANITE", llama_rows, granite_keys, "rms"),
    "cohere": ("COMMAND_R", same, cohere_keys, "layer"),
    "cohere2": ("COHERE2", same, cohere_keys, "layer"),
    "smollm3": ("SMOLLM3", llama_rows, None, "rms"),
    "deepseek_v2": ("DEEPSEEK2", same, deepseek_keys, "rms"),
    "deepseek_v3": ("DEEPSEEK2", same, deepseek_keys, "rms"),
}
PARTIAL = {"phi": 0.5, "gpt_neox": 0.25, "stablelm": 0.25, "glm": 0.5, "glm4": 0.5, "chatglm": 0.5}
NO_ROPE = ("gpt2", "gpt_bigcode", "bloom")


def add_rope(s, w, kind):
    if kind in NO_ROPE:
        return
    w.add_rope_freq_base(s.theta * s.get("rope_ratio", default=1.0))
    partial = s.rope.get("partial_rotary_factor", s.get(
        "partial_rotary_factor", "rotary_pct", default=PARTIAL.get(kind, 1.0)))
    dim = s.get("qk_rope_head_dim") if s.get("kv_lora_rank") else int(partial * s.head_dim)
    w.add_rope_dimension_count(dim)
    scaling = s.rope.get("rope_type", "default")
    if scaling == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(s.rope["factor"])
    if scaling == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(s.rope["factor"])
        w.add_rope_scaling_orig_ctx_len(s.rope["original_max_position_embeddings"])
    if scaling == "llama3":  # one divisor for each pair
        low, high = s.rope["low_freq_factor"], s.rope["high_freq_factor"]
        original, factor = s.rope["original_max_position_embeddings"], s.rope["factor"]
        waves = 2 * np.pi * s.theta ** (np.arange(0, dim, 2) / dim)
        smooth = (original / waves - low) / (high - low)
        middle = 1 / ((1 - smooth) / factor + smooth)
        factors = np.where(waves < original / high, 1.0,
                           np.where(waves > original / low, factor, middle))
        w.add_tensor("rope_freqs.weight", factors.astype(np.float32))


def experts_together(tensors):
    """model.layers.0.mlp.experts.3.up_proj.weight … as one stacked tensor without the number."""
    out, stacks = {}, {}
    for name, x in tensors.items():
        found = re.fullmatch(r"(.*\.experts)\.(\d+)\.(.*)", name)
        if found:
            stacks.setdefault(f"{found[1]}.{found[3]}", {})[int(found[2])] = x
        else:
            out[name] = x
    out.update((name, np.stack([rows[e] for e in range(len(rows))]))
               for name, rows in stacks.items())
    return out


def write_gguf(source, path, split=False):
    """`source`: a checkpoint folder, or (config, tensors). Everything f32."""
    if isinstance(source, (str, pathlib.Path)):
        from safetensors.numpy import load_file
        folder = pathlib.Path(source)
        source = (json.loads((folder / "config.json").read_text()),
                  load_file(folder / "model.safetensors"))
    config, tensors = source
    s = Source(config, {n: np.asarray(t, dtype=np.float32) for n, t in tensors.items()})
    kind = config["model_type"]
    arch_name, edit, keys, norm = RECIPES[kind]
    arch = gguf.MODEL_ARCH[arch_name]
    w = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    w.add_name("tiny")
    w.add_vocab_size(s.get("vocab_size", "padded_vocab_size"))
    w.add_block_count(s.layers)
    w.add_context_length(s.context)
    w.add_embedding_length(s.hidden)
    w.add_feed_forward_length(s.inner)
    w.add_head_count(s.heads)
    eps = s.get("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon",
                "norm_eps", "layernorm_epsilon", default=1e-5)
    (w.add_layer_norm_rms_eps if norm == "rms" else w.add_layer_norm_eps)(eps)
    add_rope(s, w, kind)
    if arch_name == "DEEPSEEK2":
        deepseek_keys(s, w, split)
        edit = split_kv_b if split else same
    else:
        kv = s.kv_heads
        if kind == "falcon":
            kv = s.get("num_kv_heads") if s.get("new_decoder_architecture") else 1
        if kind == "gpt_bigcode":
            kv = 1 if s.get("multi_query") else s.heads
        w.add_head_count_kv(kv)
        if s.get("head_dim"):
            w.add_key_length(s.head_dim)
            w.add_value_length(s.head_dim)
        if keys is not None:
            keys(s, w)
    names = gguf.get_tensor_name_map(arch, s.layers)
    tied = s.get("tie_word_embeddings", default=False)
    s.tensors = experts_together(s.tensors)
    for name, x in s.tensors.items():
        if "rotary_emb" in name or name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        if tied and name.startswith("lm_head.weight"):
            continue
        if kind in ("bloom", "chatglm"):
            name = name.removeprefix("transformer.")
        name = name.replace("e_score_correction_bias", "e_score_correction.bias")
        for new_name, y in edit(s, name, x):
            mapped = names.get_name(new_name, try_suffixes=(".weight", ".bias"))
            assert mapped is not None, f"{kind}: no GGUF name for {new_name}"
            if y.ndim == 2 and y.shape[0] == 1:
                y = y[0]  # the converter drops dimensions of one
            w.add_tensor(mapped, np.ascontiguousarray(y, dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
