"""Families whose code transformers does not carry: small NumPy references, from the papers and the
formulas that the model cards publish, in float64.

Each maker returns (config, tensors, forward) where forward(ids) gives logits [n, vocab_size].
"""
import numpy as np

VOCAB, HIDDEN, LAYERS, HEADS, INNER = 61, 32, 3, 4, 40
DIM = HIDDEN // HEADS


def rms(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def silu(x):
    return x / (1 + np.exp(-x))


def rotate(x, theta, dim, interleaved):
    """RoPE of the first `dim` elements of x [n, heads, size], positions 0, 1, …"""
    n = x.shape[0]
    angle = np.arange(n)[:, None] * theta ** (-np.arange(0, dim, 2) / dim)[None]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    out = x.copy()
    if interleaved:
        a, b = x[..., 0:dim:2], x[..., 1:dim:2]
        out[..., 0:dim:2], out[..., 1:dim:2] = a * cos - b * sin, b * cos + a * sin
    else:
        a, b = x[..., :dim // 2], x[..., dim // 2:dim]
        out[..., :dim // 2], out[..., dim // 2:dim] = a * cos - b * sin, b * cos + a * sin
    return out


def attend(q, k, v, slopes=None):
    """Causal attention, q [n, heads, d], k and v [n, kv_heads, d]."""
    n, heads = q.shape[:2]
    k, v = (np.repeat(t, heads // t.shape[1], axis=1) for t in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
    distance = np.arange(n)[None, :] - np.arange(n)[:, None]
    if slopes is not None:
        scores = scores + np.asarray(slopes)[:, None, None] * distance[None]
    scores = np.where(distance[None] > 0, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", weights, v).reshape(n, -1)


class Weights(dict):
    """Random tensors made on first use, so that a reference names each once."""

    def __init__(self, seed):
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def matrix(self, name, rows, cols):
        if name not in self:
            self[name] = (self.rng.standard_normal((rows, cols)) * 1.2 / cols ** 0.5).astype("f4")
        return self[name].astype("f8")

    def vector(self, name, size, around=0.0):
        if name not in self:
            self[name] = (around + 0.25 * self.rng.standard_normal(size)).astype("f4")
        return self[name].astype("f8")


def common(**extra):
    return dict(hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                vocab_size=VOCAB, intermediate_size=INNER, rms_norm_eps=1e-6, hidden_act="silu",
                tie_word_embeddings=False, **extra)


def qwen1():
    w = Weights(1)

    def forward(ids):
        x = w.matrix("transformer.wte.weight", VOCAB, HIDDEN)[ids]
        for i in range(LAYERS):
            p = f"transformer.h.{i}."
            n = rms(x, w.vector(p + "ln_1.weight", HIDDEN, 1), 1e-6)
            qkv = (n @ w.matrix(p + "attn.c_attn.weight", 3 * HIDDEN, HIDDEN).T
                   + w.vector(p + "attn.c_attn.bias", 3 * HIDDEN))
            q, k, v = (t.reshape(-1, HEADS, DIM) for t in np.split(qkv, 3, axis=1))
            q, k = rotate(q, 10000.0, DIM, False), rotate(k, 10000.0, DIM, False)
            x = x + attend(q, k, v) @ w.matrix(p + "attn.c_proj.weight", HIDDEN, HIDDEN).T
            n = rms(x, w.vector(p + "ln_2.weight", HIDDEN, 1), 1e-6)
            inner = (n @ w.matrix(p + "mlp.w1.weight", INNER, HIDDEN).T
                     * silu(n @ w.matrix(p + "mlp.w2.weight", INNER, HIDDEN).T))
            x = x + inner @ w.matrix(p + "mlp.c_proj.weight", HIDDEN, INNER).T
        x = rms(x, w.vector("transformer.ln_f.weight", HIDDEN, 1), 1e-6)
        return x @ w.matrix("lm_head.weight", VOCAB, HIDDEN).T

    config = dict(common(), model_type="qwen", intermediate_size=2 * INNER, seq_length=64,
                  kv_channels=DIM, rotary_emb_base=10000, rotary_pct=1.0, no_bias=True,
                  layer_norm_epsilon=1e-6, use_dynamic_ntk=True, use_logn_attn=True)
    return config, w, forward


def llama_like(w, ids, qkv_of, o_bias, vocab, slopes=None, unit_head=False):
    """The body that InternLM 1 and Baichuan share."""
    x = w.matrix("model.embed_tokens.weight", vocab, HIDDEN)[ids]
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        n = rms(x, w.vector(p + "input_layernorm.weight", HIDDEN, 1), 1e-6)
        q, k, v = (t.reshape(-1, HEADS, DIM) for t in qkv_of(p, n))
        if slopes is None:
            q, k = rotate(q, 10000.0, DIM, False), rotate(k, 10000.0, DIM, False)
        a = attend(q, k, v, slopes) @ w.matrix(p + "self_attn.o_proj.weight", HIDDEN, HIDDEN).T
        x = x + a + (w.vector(p + "self_attn.o_proj.bias", HIDDEN) if o_bias else 0)
        n = rms(x, w.vector(p + "post_attention_layernorm.weight", HIDDEN, 1), 1e-6)
        inner = (silu(n @ w.matrix(p + "mlp.gate_proj.weight", INNER, HIDDEN).T)
                 * (n @ w.matrix(p + "mlp.up_proj.weight", INNER, HIDDEN).T))
        x = x + inner @ w.matrix(p + "mlp.down_proj.weight", HIDDEN, INNER).T
    x = rms(x, w.vector("model.norm.weight", HIDDEN, 1), 1e-6)
    head = w.matrix("lm_head.weight", vocab, HIDDEN)
    if unit_head:
        head = head / np.linalg.norm(head, axis=1, keepdims=True)
    return x @ head.T


def internlm1():
    w = Weights(2)

    def qkv_of(p, n):
        return [n @ w.matrix(p + f"self_attn.{t}_proj.weight", HIDDEN, HIDDEN).T
                + w.vector(p + f"self_attn.{t}_proj.bias", HIDDEN) for t in "qkv"]

    config = dict(common(), model_type="internlm", bias=True, max_position_embeddings=64)
    return config, w, lambda ids: llama_like(w, ids, qkv_of, True, VOCAB)


def baichuan(seed, vocab, alibi):
    w = Weights(seed)

    def qkv_of(p, n):
        return np.split(n @ w.matrix(p + "self_attn.W_pack.weight", 3 * HIDDEN, HIDDEN).T, 3, 1)

    config = dict(common(), model_type="baichuan", vocab_size=vocab, model_max_length=64)
    if not alibi:
        config["max_position_embeddings"] = 64
    slopes = [2.0 ** (-8 * (i + 1) / HEADS) for i in range(HEADS)] if alibi else None
    return config, w, lambda ids: llama_like(w, ids, qkv_of, False, vocab, slopes, vocab > 1000)


def chatglm(seed, rope_ratio=None):
    """ChatGLM 3 and GLM-4; without rope_ratio as ChatGLM 2 writes it."""
    w = Weights(seed)
    groups = 2

    def forward(ids):
        x = w.matrix("transformer.embedding.word_embeddings.weight", VOCAB, HIDDEN)[ids]
        rows = HIDDEN + 2 * groups * DIM
        for i in range(LAYERS):
            p = f"transformer.encoder.layers.{i}."
            n = rms(x, w.vector(p + "input_layernorm.weight", HIDDEN, 1), 1e-5)
            qkv = (n @ w.matrix(p + "self_attention.query_key_value.weight", rows, HIDDEN).T
                   + w.vector(p + "self_attention.query_key_value.bias", rows))
            q = qkv[:, :HIDDEN].reshape(-1, HEADS, DIM)
            k = qkv[:, HIDDEN:HIDDEN + groups * DIM].reshape(-1, groups, DIM)
            v = qkv[:, HIDDEN + groups * DIM:].reshape(-1, groups, DIM)
            theta = 10000.0 * (rope_ratio or 1.0)
            q, k = rotate(q, theta, DIM // 2, True), rotate(k, theta, DIM // 2, True)
            x = x + attend(q, k, v) @ w.matrix(p + "self_attention.dense.weight", HIDDEN, HIDDEN).T
            n = rms(x, w.vector(p + "post_attention_layernorm.weight", HIDDEN, 1), 1e-5)
            both = n @ w.matrix(p + "mlp.dense_h_to_4h.weight", 2 * INNER, HIDDEN).T
            inner = silu(both[:, :INNER]) * both[:, INNER:]
            x = x + inner @ w.matrix(p + "mlp.dense_4h_to_h.weight", HIDDEN, INNER).T
        x = rms(x, w.vector("transformer.encoder.final_layernorm.weight", HIDDEN, 1), 1e-5)
        return x @ w.matrix("transformer.output_layer.weight", VOCAB, HIDDEN).T

    config = dict(model_type="chatglm", hidden_size=HIDDEN, num_layers=LAYERS,
                  num_attention_heads=HEADS, kv_channels=DIM, padded_vocab_size=VOCAB,
                  ffn_hidden_size=INNER, layernorm_epsilon=1e-5, seq_length=64, rmsnorm=True,
                  multi_query_attention=True, multi_query_group_num=groups, add_qkv_bias=True,
                  add_bias_linear=False, post_layer_norm=True,
                  apply_residual_connection_post_layernorm=False)
    if rope_ratio:
        config["rope_ratio"] = rope_ratio
    return config, w, forward


MAKERS = {
    "qwen1": qwen1,
    "internlm1": internlm1,
    "baichuan_7b": lambda: baichuan(3, VOCAB, False),
    "baichuan_13b": lambda: baichuan(4, VOCAB, True),
    "baichuan2_7b": lambda: baichuan(5, 125696, False),
    "chatglm2": lambda: chatglm(8),
    "chatglm3": lambda: chatglm(6, 1.0),
    "glm4_remote_code": lambda: chatglm(7, 50.0),
}
