#!/usr/bin/env python3
"""Tiny random checkpoints of many families, with the logits that transformers computes for them.

    make_family_checkpoints.py OUT_DIR [NAME ...]

Each OUT_DIR/<name>/ holds config.json, model.safetensors, ids.json, logits.npy and args.json (options
for the driver). Seeded; a folder whose recipe has not changed is kept.
"""
import hashlib
import json
import pathlib
import sys

import numpy as np

BASE = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, vocab_size=61, max_position_embeddings=64,
            tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0)
GPT = dict(n_embd=32, n_layer=3, n_head=4, n_positions=64, vocab_size=61, bos_token_id=1,
           eos_token_id=2)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0,
            original_max_position_embeddings=16)
MLA = dict(BASE, num_key_value_heads=4, kv_lora_rank=12, q_lora_rank=20, qk_nope_head_dim=8,
           qk_rope_head_dim=4, v_head_dim=6, head_dim=4, n_routed_experts=8, n_shared_experts=2,
           num_experts_per_tok=3, moe_intermediate_size=10, first_k_dense_replace=1,
           routed_scaling_factor=1.7, topk_method="greedy", n_group=1, topk_group=1)
LONG = [1.0 + 0.35 * i for i in range(4)]
SHORT = [1.0 + 0.1 * i for i in range(4)]

# name: (configuration class, arguments, options of the driver)
CASES = {
    "llama_gqa_bias": ("LlamaConfig", dict(BASE, attention_bias=True, mlp_bias=True), []),
    "llama_head_dim": ("LlamaConfig", dict(BASE, head_dim=12), []),
    "rope_linear": ("LlamaConfig", dict(BASE, rope_parameters=dict(
        rope_type="linear", rope_theta=10000.0, factor=2.5)), []),
    # 48 tokens beyond an original context of 32: the scaled base on both sides.
    "rope_dynamic": ("LlamaConfig", dict(BASE, max_position_embeddings=32, rope_parameters=dict(
        rope_type="dynamic", rope_theta=10000.0, factor=3.0)), ["--context", "48"]),
    "rope_yarn": ("LlamaConfig", dict(BASE, rope_parameters=YARN), []),
    "rope_llama3": ("LlamaConfig", dict(BASE, rope_parameters=dict(
        rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
        high_freq_factor=4.0, original_max_position_embeddings=32)), []),
    "rope_longrope": ("Phi3Config", dict(
        BASE, original_max_position_embeddings=16, rope_parameters=dict(
            rope_type="longrope", rope_theta=10000.0, short_factor=SHORT, long_factor=LONG,
            original_max_position_embeddings=16)), []),
    # The configuration's own original context, 4096 where it says nothing, wins over the scaling's.
    "rope_longrope_default": ("Phi3Config", dict(BASE, rope_parameters=dict(
        rope_type="longrope", rope_theta=10000.0, short_factor=SHORT, long_factor=LONG,
        original_max_position_embeddings=16)), []),
    "rope_longrope_short": ("Phi3Config", dict(
        BASE, original_max_position_embeddings=48, rope_parameters=dict(
            rope_type="longrope", rope_theta=10000.0, short_factor=SHORT, long_factor=LONG,
            original_max_position_embeddings=48)), ["--context", "48"]),
    "mistral": ("MistralConfig", dict(BASE, sliding_window=7), []),
    "mixtral": ("MixtralConfig", dict(BASE, num_local_experts=6, num_experts_per_tok=2), []),
    "qwen2": ("Qwen2Config", dict(BASE, use_sliding_window=True, sliding_window=6,
                                  max_window_layers=1), []),
    "qwen2_full": ("Qwen2Config", dict(BASE), []),
    "qwen2_moe": ("Qwen2MoeConfig", dict(
        BASE, moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=6,
        num_experts_per_tok=3, norm_topk_prob=False, mlp_only_layers=[1]), []),
    "qwen2_moe_every_layer": ("Qwen2MoeConfig", dict(
        BASE, moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=6,
        num_experts_per_tok=3, norm_topk_prob=False), []),
    "qwen3": ("Qwen3Config", dict(BASE, head_dim=10), []),
    "qwen3_moe": ("Qwen3MoeConfig", dict(BASE, head_dim=8, moe_intermediate_size=12,
                                         num_experts=6, num_experts_per_tok=3,
                                         norm_topk_prob=True), []),
    # Qwen 3 MoE does not know max_window_layers: every layer has the window.
    "qwen3_moe_windows": ("Qwen3MoeConfig", dict(
        BASE, head_dim=8, moe_intermediate_size=12, num_experts=6, num_experts_per_tok=3,
        use_sliding_window=True, sliding_window=6, max_window_layers=1), []),
    # Keys that a family's code does not look at.
    "llama_partial_rotary_factor": ("LlamaConfig", dict(BASE, partial_rotary_factor=0.5), []),
    "gemma3_attention_softcap": ("Gemma3TextConfig", dict(
        BASE, head_dim=8, sliding_window=5, tie_word_embeddings=True,
        attn_logit_softcapping=0.5), []),
    # What the classes assume when a configuration does not say.
    "gemma2_defaults": ("Gemma2Config", dict(BASE, head_dim=10, tie_word_embeddings=True), []),
    "deepseek_v3_defaults": ("DeepseekV3Config", dict(
        {k: v for k, v in MLA.items() if k not in (
            "routed_scaling_factor", "n_shared_experts", "n_group", "topk_group",
            "first_k_dense_replace", "topk_method")},
        num_hidden_layers=5, n_routed_experts=16), []),
    # Null is false.
    "deepseek_v3_nulls": ("DeepseekV3Config", dict(
        MLA, n_group=4, topk_group=2, norm_topk_prob=None, rope_interleave=None), []),
    "bloom": ("BloomConfig", dict(hidden_size=40, n_layer=3, n_head=5, vocab_size=61), []),
    "falcon_7b": ("FalconConfig", dict(BASE, alibi=False, multi_query=True, parallel_attn=True,
                                       new_decoder_architecture=False, bias=False), []),
    "falcon_40b": ("FalconConfig", dict(BASE, alibi=False, num_kv_heads=2,
                                        new_decoder_architecture=True, bias=False), []),
    "falcon_rw": ("FalconConfig", dict(BASE, alibi=True, multi_query=False, parallel_attn=False,
                                       new_decoder_architecture=False, bias=True), []),
    # More heads than bf16 has slopes for; see float32_alibi.
    "falcon_rw_16_heads": ("FalconConfig", dict(
        BASE, num_attention_heads=16, hidden_size=64, alibi=True, multi_query=False,
        parallel_attn=False, new_decoder_architecture=False, bias=True), []),
    "gpt_bigcode": ("GPTBigCodeConfig", dict(GPT, multi_query=True), []),
    "gpt_bigcode_mha": ("GPTBigCodeConfig", dict(GPT, multi_query=False), []),
    "starcoder2": ("Starcoder2Config", dict(BASE, sliding_window=9), []),
    "starcoder2_full": ("Starcoder2Config", dict(BASE, sliding_window=None), []),
    "gemma": ("GemmaConfig", dict(BASE, head_dim=10, tie_word_embeddings=True), []),
    "gemma2": ("Gemma2Config", dict(BASE, head_dim=10, sliding_window=5, query_pre_attn_scalar=14,
                                    attn_logit_softcapping=4.0, final_logit_softcapping=3.0,
                                    tie_word_embeddings=True), []),
    # As released: what GGUF files leave to the reader.
    "gemma2_released": ("Gemma2Config", dict(
        BASE, head_dim=10, sliding_window=5, query_pre_attn_scalar=10, attn_logit_softcapping=4.0,
        final_logit_softcapping=3.0, tie_word_embeddings=True), []),
    "gemma3_released": ("Gemma3TextConfig", dict(
        BASE, num_hidden_layers=7, head_dim=8, sliding_window=5, query_pre_attn_scalar=8,
        tie_word_embeddings=True, rope_parameters=dict(
            full_attention=dict(rope_type="linear", rope_theta=1e6, factor=8.0),
            sliding_attention=dict(rope_type="default", rope_theta=10000.0))), []),
    "gemma3": ("Gemma3TextConfig", dict(BASE, head_dim=8, sliding_window=5,
                                        query_pre_attn_scalar=9, tie_word_embeddings=True,
                                        layer_types=["sliding_attention", "full_attention",
                                                     "sliding_attention"]), []),
    "phi2": ("PhiConfig", dict(BASE, num_key_value_heads=4), []),
    "phi_qk_layernorm": ("PhiConfig", dict(BASE, num_key_value_heads=4, qk_layernorm=True), []),
    "phi3": ("Phi3Config", dict(BASE, sliding_window=8), []),
    "gpt2": ("GPT2Config", dict(GPT), []),
    "opt": ("OPTConfig", dict(hidden_size=32, ffn_dim=40, num_hidden_layers=3,
                              num_attention_heads=4, vocab_size=61, max_position_embeddings=64,
                              word_embed_proj_dim=32), []),
    "opt_post_norm": ("OPTConfig", dict(hidden_size=32, ffn_dim=40, num_hidden_layers=3,
                                        num_attention_heads=4, vocab_size=61,
                                        max_position_embeddings=64, word_embed_proj_dim=32,
                                        do_layer_norm_before=False), []),
    "opt_projected": ("OPTConfig", dict(hidden_size=32, ffn_dim=40, num_hidden_layers=3,
                                        num_attention_heads=4, vocab_size=61,
                                        max_position_embeddings=64, word_embed_proj_dim=20,
                                        do_layer_norm_before=False), []),
    "gpt_neox": ("GPTNeoXConfig", dict(BASE), []),
    "gpt_neox_sequential": ("GPTNeoXConfig", dict(BASE, use_parallel_residual=False), []),
    "stablelm": ("StableLmConfig", dict(BASE, use_qkv_bias=True), []),
    "stablelm_parallel": ("StableLmConfig", dict(BASE, qk_layernorm=True,
                                                 use_parallel_residual=True), []),
    "olmo": ("OlmoConfig", dict(BASE), []),
    "olmo_clip_qkv": ("OlmoConfig", dict(BASE, clip_qkv=0.25), []),
    "olmo2": ("Olmo2Config", dict(BASE), []),
    "granite": ("GraniteConfig", dict(BASE, embedding_multiplier=3.0, residual_multiplier=0.4,
                                      attention_multiplier=0.2, logits_scaling=5.0), []),
    "cohere": ("CohereConfig", dict(BASE, logit_scale=0.3, tie_word_embeddings=True), []),
    "cohere_qk_norm": ("CohereConfig", dict(BASE, use_qk_norm=True, tie_word_embeddings=True), []),
    "cohere2": ("Cohere2Config", dict(BASE, sliding_window=6, tie_word_embeddings=True,
                                      layer_types=["sliding_attention", "full_attention",
                                                   "sliding_attention"]), []),
    "cohere2_released": ("Cohere2Config", dict(BASE, num_hidden_layers=5, sliding_window=6,
                                               tie_word_embeddings=True), []),
    "smollm3_released": ("SmolLM3Config", dict(BASE, num_hidden_layers=5), []),
    "smollm3": ("SmolLM3Config", dict(BASE, no_rope_layers=[1, 0, 1]), []),
    "glm": ("GlmConfig", dict(BASE, head_dim=8, attention_bias=True), []),
    "glm4": ("Glm4Config", dict(BASE, head_dim=8, attention_bias=True), []),
    "deepseek_v2": ("DeepseekV2Config", dict(MLA), []),
    "deepseek_v2_lite": ("DeepseekV2Config", dict(
        MLA, q_lora_rank=None, topk_method="group_limited_greedy", n_group=4, topk_group=2), []),
    "deepseek_v2_yarn_released": ("DeepseekV2Config", dict(MLA, rope_parameters=dict(
        YARN, mscale=0.707, mscale_all_dim=0.707)), []),
    "deepseek_v3": ("DeepseekV3Config", dict(
        MLA, n_group=4, topk_group=2, norm_topk_prob=True, topk_method="noaux_tc"), []),
    "deepseek_v2_yarn": ("DeepseekV2Config", dict(MLA, rope_parameters=dict(
        YARN, mscale=0.7, mscale_all_dim=0.9)), []),
}
LENGTHS = (48, 41)


def randomise(model, seed):
    """Weights of a size at which every part shows in the logits."""
    import torch
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float32)
            if p.dim() >= 2 and "norm" not in name:
                p.copy_(noise * (1.2 / p.shape[-1] ** 0.5))
            elif name.endswith("bias"):
                p.copy_(noise * 0.3)
            else:
                p.copy_(noise * 0.2 + (0.0 if "gemma" in model.config.model_type else 1.0))
        for name, b in sorted(model.named_buffers()):
            if name.endswith("e_score_correction_bias"):
                b.copy_(torch.randn(b.shape, generator=generator, dtype=torch.float32) * 0.3)


def float32_alibi(attention_mask, num_heads, dtype):
    """transformers' build_alibi_tensor, which rounds slopes and biases to bf16 (docs/model-families.md)."""
    import torch
    positions = (attention_mask.cumsum(dim=-1) - 1) * attention_mask
    power = 2 ** int(np.floor(np.log2(num_heads)))
    slopes = [2.0 ** (-8.0 * i / power) for i in range(1, power + 1)]
    slopes += [2.0 ** (-4.0 * i / power) for i in range(1, 2 * (num_heads - power), 2)]
    bias = torch.tensor(slopes)[:, None] * positions[:, None, :]
    return bias.reshape(-1, 1, attention_mask.shape[1]).to(dtype)


def make(name, folder):
    """Writes one checkpoint and its oracle."""
    import torch
    import transformers
    kind, arguments, options = CASES[name]
    config = getattr(transformers, kind)(**arguments)
    if kind == "FalconConfig":
        from transformers.models.falcon import modeling_falcon
        modeling_falcon.build_alibi_tensor = float32_alibi
    # Falcon's eager path adds ALiBi to the scores and again inside the mask; sdpa adds it once.
    attention = "sdpa" if name.startswith("falcon_rw") else "eager"
    config._experts_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    model = model.to(torch.float32).eval()
    randomise(model, int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little"))
    model.tie_weights()
    rng = np.random.default_rng(7)
    ids = [rng.integers(3, 61, n).tolist() for n in LENGTHS]
    if name.startswith("rope_dynamic"):
        ids = ids[:1]  # transformers' base follows each text's length, ours the allowed context
    rows = []
    with torch.no_grad():
        for row in ids:
            rows.append(model(torch.tensor([row]), use_cache=False).logits[0].float().numpy())
    model.save_pretrained(folder)
    (folder / "ids.json").write_text(json.dumps(ids))
    (folder / "args.json").write_text(json.dumps(options))
    np.save(folder / "logits.npy", np.concatenate(rows))


def ensure(name, out_dir):
    """The case's folder, made when it is absent or its recipe changed."""
    import transformers
    stamp = hashlib.sha256(repr((CASES[name], LENGTHS, transformers.__version__)).encode()
                           + pathlib.Path(__file__).read_bytes()).hexdigest()
    folder = pathlib.Path(out_dir) / name
    if not (folder / "stamp").exists() or (folder / "stamp").read_text() != stamp:
        folder.mkdir(parents=True, exist_ok=True)
        make(name, folder)
        (folder / "stamp").write_text(stamp)
    return folder


if __name__ == "__main__":
    for case in sys.argv[2:] or CASES:
        ensure(case, sys.argv[1])
