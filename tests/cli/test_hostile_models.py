"""Model files that are well formed and lie: missing, mistyped and absurd metadata, vocabularies that
no tokenizer can be made of, code beside the weights. Each gets one sentence, at once."""
import json
import os
import resource
import struct
import subprocess
import tempfile
import time

import numpy as np
import pytest

from test_errors import FAILURE, NOT_FOUND, RESOURCES, UNSUPPORTED, USAGE, refused, run

gguf = pytest.importorskip("gguf")
F32, STRING, FLOAT = (gguf.GGUFValueType.FLOAT32, gguf.GGUFValueType.STRING,
                      gguf.GGUFValueType.FLOAT64)

NETWORK = {"llama.block_count": 1, "llama.context_length": 64, "llama.embedding_length": 8,
           "llama.feed_forward_length": 16, "llama.attention.head_count": 2,
           "llama.attention.head_count_kv": 1, "llama.attention.layer_norm_rms_epsilon": 1e-5,
           "llama.rope.dimension_count": 4, "llama.rope.freq_base": 10000.0}
SHAPES = {"token_embd.weight": (7, 8), "output_norm.weight": (8,), "output.weight": (7, 8),
          "blk.0.attn_norm.weight": (8,), "blk.0.attn_q.weight": (8, 8),
          "blk.0.attn_k.weight": (4, 8), "blk.0.attn_v.weight": (4, 8),
          "blk.0.attn_output.weight": (8, 8), "blk.0.ffn_norm.weight": (8,),
          "blk.0.ffn_gate.weight": (16, 8), "blk.0.ffn_up.weight": (16, 8),
          "blk.0.ffn_down.weight": (8, 16)}


def value_bytes(value) -> bytes:
    """A metadata value with its type, the smallest that holds it."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<Iq", 11, value)
    if isinstance(value, float):
        return struct.pack("<Id", 12, value)
    if isinstance(value, (str, bytes)):
        raw = value.encode() if isinstance(value, str) else value
        return struct.pack("<IQ", 8, len(raw)) + raw
    inner = [value_bytes(item) for item in value] or [struct.pack("<I", 8)]
    return (struct.pack("<I", 9) + inner[0][:4] + struct.pack("<Q", len(value))
            + b"".join(item[4:] for item in inner if len(item) > 4))


def write(path, metadata=None, without=(), shapes=None):
    """A one-layer Llama of zeros, with `metadata` over NETWORK's and some keys left out."""
    pairs = {"general.architecture": "llama", **NETWORK, **(metadata or {})}
    pairs = {k: v for k, v in pairs.items() if k not in without}
    shapes = SHAPES if shapes is None else shapes
    out = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(pairs))
    for key, value in pairs.items():
        out += struct.pack("<Q", len(key)) + key.encode() + value_bytes(value)
    offset = 0
    for name, shape in shapes.items():
        out += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(shape))
        out += struct.pack(f"<{len(shape)}Q", *reversed(shape)) + struct.pack("<IQ", 0, offset)
        offset += (int(np.prod(shape)) * 4 + 31) // 32 * 32
    out += b"\0" * (-len(out) % 32)
    path.write_bytes(out + b"\0" * offset)
    return path


def tokens(texts, **more):
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
            "tokenizer.ggml.tokens": texts, "tokenizer.ggml.merges": ["a b"],
            **{f"tokenizer.ggml.{k}": v for k, v in more.items()}}


def test_the_honest_file_loads(rill, tmp_path):
    done = run(rill, "eval", "fingerprint", write(tmp_path / "m.gguf"), "--json")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", ["general.architecture", "llama.block_count",
                                 "llama.embedding_length", "llama.attention.head_count",
                                 "llama.attention.layer_norm_rms_epsilon"])
def test_missing_keys_are_named(rill, tmp_path, key):
    message = refused(run(rill, "inspect", write(tmp_path / "m.gguf", without=[key])))
    assert "m.gguf" in message and key.removeprefix("llama.") in message


@pytest.mark.parametrize("key,value", [
    ("general.architecture", 7), ("general.architecture", ["llama"]),
    ("llama.block_count", "1"), ("llama.block_count", [1]), ("llama.block_count", 1.5),
    ("llama.embedding_length", True), ("llama.attention.head_count", "2"),
    ("llama.attention.layer_norm_rms_epsilon", "small"), ("llama.rope.freq_base", "x"),
    ("llama.rope.scaling.type", 7), ("llama.expert_count", "8")])
def test_wrong_types_are_named(rill, tmp_path, key, value):
    message = refused(run(rill, "inspect", write(tmp_path / "m.gguf", {key: value})))
    assert "m.gguf" in message and key.removeprefix("llama.") in message


@pytest.mark.parametrize("key,value", [
    ("llama.block_count", 10**9), ("llama.block_count", 0), ("llama.block_count", -1),
    ("llama.block_count", 4096), ("llama.block_count", 2**63 - 1),
    ("llama.embedding_length", 10**9), ("llama.embedding_length", 0),
    ("llama.attention.head_count", 10**9), ("llama.attention.head_count", 0),
    ("llama.attention.head_count", 3), ("llama.attention.head_count_kv", 0),
    ("llama.attention.head_count_kv", 5), ("llama.attention.head_count", [2, 2, 2]),
    ("llama.attention.key_length", 0), ("llama.attention.key_length", 2**40),
    ("llama.feed_forward_length", 2**62), ("llama.context_length", -5),
    ("llama.context_length", 2**62), ("llama.rope.dimension_count", 0),
    ("llama.rope.dimension_count", 3), ("llama.rope.dimension_count", 1 << 20),
    ("llama.rope.freq_base", float("nan")), ("llama.rope.freq_base", 0.0),
    ("llama.rope.freq_base", float("inf")), ("llama.rope.freq_base", -1.0),
    ("llama.attention.layer_norm_rms_epsilon", float("nan")),
    ("llama.attention.layer_norm_rms_epsilon", -1.0), ("llama.expert_count", 10**9)])
def test_absurd_sizes_are_refused_before_anything_is_allocated(rill, tmp_path, key, value):
    path = write(tmp_path / "m.gguf", {key: value})
    begin = time.monotonic()
    for command in (["inspect"], ["eval", "fingerprint"]):
        message = refused(run(rill, *command, path), USAGE, UNSUPPORTED, RESOURCES)
        assert "m.gguf" in message
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("shape", [(2, 1), (40000,)])
def test_rope_factors_of_a_wrong_shape_are_named(rill, tmp_path, shape):
    path = write(tmp_path / "m.gguf", shapes={**SHAPES, "rope_freqs.weight": shape})
    message = refused(run(rill, "inspect", path))
    assert f"m.gguf: tensor 'rope_freqs.weight': expected f32 [2], got f32 [{shape[0]}" in message
    assert "; supported: f32 of one dimension" in message


def refused_in_little_memory(rill, path):
    """What `inspect` says of it; a table of a billion bytes would show."""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as error:
        process = subprocess.Popen([rill, "inspect", str(path)], stdout=subprocess.DEVNULL,
                                   stdin=subprocess.DEVNULL, stderr=error)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        error.seek(0)
        message = error.read().decode()
    assert process.returncode == USAGE and len(message.splitlines()) == 1, message
    assert time.monotonic() - begin < 10
    # A process begins as a copy of this one.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert usage.ru_maxrss < own + 256 * 1024, usage
    return message


@pytest.mark.parametrize("family, layers", [("bloom", 1), ("baichuan", 40)])
def test_slopes_of_absurdly_many_heads_are_not_made(rill, tmp_path, family, layers):
    """ALiBi needs one a head."""
    pairs = {key.replace("llama.", family + "."): value for key, value in NETWORK.items()}
    path = write(tmp_path / "m.gguf", {**pairs, "general.architecture": family,
                                       f"{family}.block_count": layers,
                                       f"{family}.attention.head_count": 1 << 28})
    message = refused_in_little_memory(rill, path)
    assert "m.gguf: number of heads: expected [1, 16384], got 268435456" in message


def test_memory_is_planned_before_it_is_taken(rill, tmp_path):
    """Keys and values of 2^24 positions of 2^9 numbers and more do not fit; the plan says so."""
    shapes = {**SHAPES, "blk.0.attn_k.weight": (8192, 8), "blk.0.attn_v.weight": (8192, 8),
              "blk.0.attn_q.weight": (16384, 8), "blk.0.attn_output.weight": (8, 16384)}
    path = write(tmp_path / "m.gguf", {
        **tokens(["a", "b", "ab"]), "llama.context_length": 2**24,
        "llama.attention.key_length": 8192, "llama.attention.value_length": 8192}, shapes=shapes)
    report = json.loads(run(rill, "inspect", path, "--context", 2**24, "--json").stdout)
    assert report["memory"]["kv_bytes_per_token"] == 2 * 8192 * 10 // 8  # int8 and its scales
    begin = time.monotonic()
    message = refused(run(rill, "run", path, "a", "--raw", "--context", 2**24), RESOURCES)
    assert "memory" in message or "GB" in message or "MB" in message
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("metadata,word", [
    (tokens([]), "tokens"),
    ({"tokenizer.ggml.model": "gpt2"}, "tokens"),
    (tokens(["a"], merges=[]) | {"tokenizer.ggml.model": "magic"}, "magic"),
    (tokens(["a"]) | {"tokenizer.ggml.pre": "nonesuch"}, "nonesuch"),
    (tokens([1, 2, 3]), "tokens"),
    (tokens("a"), "tokens"),
    (tokens(["a", "b"], eos_token_id=9), "eos_token_id"),
    (tokens(["a", "b"], token_type=[1]), "token_type"),
    (tokens(["<unk>", "a"], scores=[0.0, float("nan")]) | {"tokenizer.ggml.model": "llama"},
     "NaN"),
    (tokens(["<unk>", "a"], scores=[0.0]) | {"tokenizer.ggml.model": "llama"}, "scores"),
])
def test_impossible_vocabularies_are_refused(rill, tmp_path, metadata, word):
    message = refused(run(rill, "tokenize", write(tmp_path / "m.gguf", metadata), "ab"),
                      USAGE, UNSUPPORTED)
    assert "m.gguf" in message and word in message


@pytest.mark.parametrize("texts", [
    ["a", "b", b"\xff\xfe", "ab"],       # not UTF-8
    ["a", "b", "ab", "a" * (10 << 20)],  # a token of 10 MB
    ["a", "b", "", "ab"],
    ["a", "b", "b", "ab", "a"],          # of equal ones, the first is meant
])
def test_odd_tokens_do_no_harm(rill, tmp_path, texts):
    path = write(tmp_path / "m.gguf", tokens(texts, merges=["a b", "x y", "nospace", " "]))
    begin = time.monotonic()
    done = run(rill, "tokenize", path, "abba", "--json")
    assert done.returncode == 0, done.stderr
    ids = json.loads(done.stdout)["ids"]
    assert [texts[i] for i in ids] == ["ab", "b", "a"]
    back = run(rill, "detokenize", path, *ids, 2, "--json")
    assert back.returncode == 0 and json.loads(back.stdout)["text"].startswith("abba")
    assert time.monotonic() - begin < 10


def test_code_beside_the_weights_is_never_run(rill, tmp_path):
    marker = tmp_path / "marker"
    header = json.dumps({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + b"\0" * 4
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    config = {"model_type": "evil", "trust_remote_code": True,
              "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    message = refused(run(rill, "inspect", tmp_path), UNSUPPORTED)
    assert "evil" in message and "not supported" in message
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(
        b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    message = refused(run(rill, "inspect", tmp_path), USAGE, UNSUPPORTED, NOT_FOUND)
    assert "pickle" in message
    assert not marker.exists()


@pytest.mark.parametrize("template", [
    "{{ ''.__class__.__mro__ }}", "{{ messages.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.system('id') }}", "{{ self._TemplateReference__context }}",
    "{% import 'os' as os %}", "{% include '/etc/passwd' %}", "{% extends 'x' %}",
    "{{ 'a' * 10**9 }}", "{% for i in range(10**12) %}{% endfor %}",
    "{{ '%s' % ('a' * 10**9) }}"])
def test_hostile_chat_templates_end_in_an_error(rill, tmp_path, template):
    path = write(tmp_path / "m.gguf",
                 tokens(["a", "b", "ab"]) | {"tokenizer.chat_template": template})
    (tmp_path / "m.json").write_text('[{"role": "user", "content": "ab"}]')
    begin = time.monotonic()
    message = refused(run(rill, "render", path, "--messages", tmp_path / "m.json"),
                      USAGE, FAILURE, UNSUPPORTED, RESOURCES)
    assert "chat template:1: " in message and time.monotonic() - begin < 20


@pytest.mark.parametrize("template", ["{% for %}", "{{ 1|nofilter }}", "{% trans %}x", 7])
def test_a_template_that_cannot_be_used_is_not_an_absent_one(rill, tmp_path, template):
    path = write(tmp_path / "m.gguf",
                 tokens(list("abcdef") + ["ab"]) | {"tokenizer.chat_template": template})
    for command in (["run", path, "a", "-n", "1"], ["chat", path]):
        message = refused(run(rill, *command), USAGE, UNSUPPORTED)
        assert "chat" in message and "template" in message and "has no chat" not in message
    done = run(rill, "run", path, "a", "-n", "1", "--raw")
    assert done.returncode == 0, done.stderr


def test_an_empty_text_without_a_first_token_is_no_prompt(rill, tmp_path):
    path = write(tmp_path / "m.gguf", tokens(list("abcdef") + ["ab"]))
    assert "no token that begins a text" in refused(run(rill, "run", path, "", "--raw"))


def test_what_a_file_says_cannot_command_the_terminal(rill, tmp_path):
    evil = "x\x1b]0;owned\x07\n\x7f"
    for key in ("general.architecture", "llama.rope.scaling.type"):
        done = run(rill, "inspect", write(tmp_path / "m.gguf", {key: evil}))
        assert done.returncode != 0 and b"\\x1b" in done.stderr, done
        assert not set(done.stdout + done.stderr) & {0x1B, 0x07, 0x7F}
    done = run(rill, "inspect", write(tmp_path / "m.gguf", {"general.name": evil}), "--metadata")
    assert done.returncode == 0 and b"\\x1b" in done.stdout, done
    assert not set(done.stdout + done.stderr) & {0x1B, 0x07, 0x7F}
    template = "{{ raise_exception('a\x1b[31m') }}"
    path = write(tmp_path / "m.gguf",
                 tokens(list("abcdef") + ["ab"]) | {"tokenizer.chat_template": template})
    done = run(rill, "run", path, "a", "-n", "1")
    assert done.returncode != 0 and b"\\x1b" in done.stderr and b"\x1b" not in done.stderr, done


@pytest.mark.parametrize("template", ["{{ ''|attr('__class__') }}",
                                      "{{ '{0.__class__}'.format(1) }}"])
def test_what_jinja_leaves_undefined_is_nothing(rill, tmp_path, template):
    path = write(tmp_path / "m.gguf",
                 tokens(["a", "b", "ab"]) | {"tokenizer.chat_template": template})
    (tmp_path / "m.json").write_text('[{"role": "user", "content": "ab"}]')
    done = run(rill, "render", path, "--messages", tmp_path / "m.json")
    assert done.returncode == 0 and done.stdout.strip() == b"", done


@pytest.fixture
def folder(shared_data, tmp_path):
    """A Hugging Face folder of a tiny random model, with a tokenizer of four tokens."""
    oracle = shared_data / "models" / "hf-oracle"
    (tmp_path / "model.safetensors").symlink_to(oracle / "tiny_llama.safetensors")
    (tmp_path / "config.json").write_text((oracle / "tiny_llama_config.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3}, "merges": ["a b"]}}))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 3}')
    return tmp_path


@pytest.mark.parametrize("file, text, needle", [
    ("generation_config.json", '{"eos_token_id": "x"}', "eos_token_id: expected a token id"),
    ("generation_config.json", '{"eos_token_id": [[1]]}', "eos_token_id: expected a token id"),
    ("generation_config.json", '{"eos_token_id": 1.5}', "eos_token_id: expected a token id"),
    ("generation_config.json", "[]", "expected an object"),
    ("tokenizer_config.json", "[]", "expected an object"),
    ("tokenizer_config.json", '{"eos_token": 7}', "eos_token: expected a string"),
    ("tokenizer_config.json", '{"add_bos_token": "yes"}', "add_bos_token: expected true or false"),
    ("tokenizer_config.json", '{"added_tokens_decoder": {"x": {}}}', "expected a number as key"),
    ("tokenizer_config.json", '{"added_tokens_decoder": 7}', "expected an object"),
    ("tokenizer_config.json", "{", "tokenizer_config.json"),
])
def test_wrong_side_files(rill, folder, file, text, needle):
    assert run(rill, "tokenize", folder, "ab").returncode == 0
    (folder / file).write_text(text)
    done = run(rill, "tokenize", folder, "ab")
    message = done.stderr.decode()
    assert done.returncode == 2 and needle in message and file in message and str(folder) in message


@pytest.mark.parametrize("family, more", [("bloom", {}), ("falcon", {"alibi": True}),
                                          ("baichuan", {"max_position_embeddings": None})])
def test_slopes_of_absurdly_many_configured_heads_are_not_made(rill, folder, family, more):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(
        {**config, "model_type": family, "num_attention_heads": 1 << 28, "head_dim": 8, **more}))
    message = refused_in_little_memory(rill, folder)
    assert "number of heads: expected [1, 16384], got 268435456" in message


@pytest.mark.parametrize("key, value, needle", [
    ("partial_rotary_factor", 2.0, "partial_rotary_factor: expected a number in [0, 1], got 2"),
    ("partial_rotary_factor", -0.5, "partial_rotary_factor"),
    ("rope_scaling", {"rope_type": "linear", "factor": "x"}, "factor: expected a finite number"),
    ("rope_scaling", {"rope_type": "none such"}, "rope_type 'none such' is not supported"),
    ("rms_norm_eps", 1.5, "norm epsilon: expected a number in (0, 1], got 1.5"),
    ("model_type", "MIXTRAL", "nearest are mixtral"),
])
def test_lying_configurations_are_named(rill, folder, key, value, needle):
    config = json.loads((folder / "config.json").read_text())
    config.pop("rope_parameters", None)
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    done = run(rill, "inspect", folder)
    message = done.stderr.decode()
    assert done.returncode in (2, 4) and needle in message and str(folder) in message, message


def test_what_the_tokenizer_promises_and_the_model_has_not(rill, folder):
    done = run(rill, "run", folder, "ab", "--raw", "-n", "1")
    assert done.returncode == 0 and b"ends an answer" not in done.stderr
    for value in ("-1", "99999", "null"):
        (folder / "generation_config.json").write_text(f'{{"eos_token_id": {value}}}')
        config = json.loads((folder / "config.json").read_text())
        config.pop("eos_token_id", None)
        (folder / "config.json").write_text(json.dumps(config))
        done = run(rill, "run", folder, "ab", "--raw", "-n", "1")
        assert done.returncode == 0 and b"no file names a token that ends an answer" in done.stderr
    vocab = {"a": 0, "b": 1, "ab": 2, **{f"<{i}>": i for i in range(3, 1000)}}
    (folder / "tokenizer.json").write_text(json.dumps(
        {"model": {"type": "BPE", "vocab": vocab, "merges": ["a b"]}}))
    assert b"the tokenizer has 1000 tokens" in run(rill, "run", folder, "ab", "--raw", "-n", "1").stderr
