"""Bad input of every kind gets one sentence that says what is wrong and where, and an exit code."""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import time

import pytest

OK, FAILURE, USAGE, NOT_FOUND, UNSUPPORTED, RESOURCES, NETWORK = range(7)
MODEL_CHANGED = 74


def run(rill: str, *words, timeout=60, stdin=None, **environment) -> subprocess.CompletedProcess:
    return subprocess.run([rill, *map(str, words)], capture_output=True, timeout=timeout,
                          input=stdin, check=False,
                          stdin=subprocess.DEVNULL if stdin is None else None,
                          env={**os.environ, **environment})


def refused(done: subprocess.CompletedProcess, *codes: int) -> str:
    """The one sentence of a refusal, after warnings; asserts its form."""
    text = done.stderr.decode()
    assert done.returncode in (codes or (USAGE,)), (done.returncode, text)
    lines = [line for line in text.splitlines()
             if line.strip() and not line.startswith("rill: warning: ")]
    assert len(lines) == 1 and lines[0].startswith("rill: "), text
    assert len(lines[0]) < 1500
    return lines[0]


def gguf(tensors: int = 0, pairs: int = 0, tail: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + tail


HOSTILE = {
    "empty.gguf": b"",
    "text.gguf": b"Not a model at all, just a sentence.\n" * 10,
    "magic.gguf": b"GGUF",
    "version.gguf": gguf(version=99),
    "tensors.gguf": gguf(tensors=2**63),
    "pairs.gguf": gguf(pairs=2**64 - 1),
    "key.gguf": gguf(pairs=1, tail=struct.pack("<Q", 2**62) + b"x" * 40),
    "nothing.gguf": gguf(tail=b"\0" * 64),
    "random.gguf": b"GGUF" + bytes((i * 7919 + 13) % 256 for i in range(4096)),
    "html.safetensors": b"<html></html>",
    "long.safetensors": struct.pack("<Q", 2**63) + b"{}",
    "deep.safetensors": struct.pack("<Q", 4000) + b"[" * 4000,
    "pickle.bin": b"\x80\x02}q\x00.",
    "pickle.pt": b"PK\x03\x04" + b"\0" * 64,
}


@pytest.mark.parametrize("command", [["inspect"], ["run", "--quiet"], ["tokenize"],
                                     ["eval", "fingerprint"]])
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_model_files(rill, tmp_path, name, command):
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    begin = time.monotonic()
    extra = ["Hi"] if command[0] in ("run", "tokenize") else []
    # NOT_FOUND: a .safetensors file without the config.json that it needs.
    message = refused(run(rill, *command, path, *extra), USAGE, NOT_FOUND, UNSUPPORTED, RESOURCES)
    assert name in message
    assert time.monotonic() - begin < 10


def test_model_that_is_no_file(rill, tmp_path):
    fifo = tmp_path / "pipe.gguf"
    os.mkfifo(fifo)
    loop = tmp_path / "loop.gguf"
    loop.symlink_to(loop)
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (fifo, "/dev/zero", folder):
        message = refused(run(rill, "inspect", path, timeout=10), USAGE, UNSUPPORTED, NOT_FOUND)
        assert str(path) in message
    refused(run(rill, "inspect", loop, timeout=10), USAGE, NOT_FOUND)


@pytest.mark.parametrize("config", [b"", b"{", b"[]", b'{"model_type": 7}', b"{}",
                                    b'{"model_type": "nonesuch", "architectures": ["NoneSuch"]}',
                                    b'{"a": ' * 5000, b'{"model_type": "llama"}',
                                    b'{"model_type": "llama", "hidden_size": -1}',
                                    b'{"model_type": "llama", "hidden_size": 1e30}'])
def test_hostile_configurations(rill, tmp_path, config):
    header = json.dumps({"t": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    (tmp_path / "config.json").write_bytes(config)
    refused(run(rill, "inspect", tmp_path), USAGE, UNSUPPORTED, NOT_FOUND, RESOURCES)


def test_unknown_architecture_names_near_ones(rill, tmp_path):
    header = json.dumps({"t": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    (tmp_path / "config.json").write_text('{"model_type": "llamma"}')
    message = refused(run(rill, "inspect", tmp_path), UNSUPPORTED)
    assert "llamma" in message and "llama" in message.replace("llamma", "")


@pytest.mark.parametrize("cut", [8, 100, 1_000_000, 50_000_000])
def test_truncated_model(rill, smollm2, tmp_path, cut):
    path = tmp_path / "cut.gguf"
    with open(smollm2, "rb") as source:
        path.write_bytes(source.read(cut))
    assert "cut.gguf" in refused(run(rill, "run", path, "Hi"), USAGE, FAILURE)


@pytest.mark.parametrize("flags", [[], ["--no-mmap"]])
def test_model_truncated_while_in_use(rill, shared_data, tmp_path, flags):
    """Mapped: exit with a sentence. Read into memory: nothing happens.

    The model has an embedding table apart from its lm_head, of which each step reads a row where it
    lies. Its output is larger than the pipe, so it stands still in the middle of its answer until
    somebody reads, and nothing depends on who is faster.
    """
    path = tmp_path / "shrinks.gguf"
    shutil.copyfile(shared_data / "models" / "tiny-random-gguf" / "llama-2-tiny-random.gguf", path)
    process = subprocess.Popen([rill, "run", path, "Once", "--raw", "--seed", "1", "-q",
                                "--ignore-eos", "-n", "2000", *flags], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    first = process.stdout.read(1)
    os.truncate(path, 4096)
    out, error = process.communicate(timeout=60)
    whole = subprocess.run([*process.args[:2], shared_data / "models" / "tiny-random-gguf" /
                            "llama-2-tiny-random.gguf", *process.args[3:]], check=False,
                           capture_output=True, stdin=subprocess.DEVNULL).stdout
    assert len(whole) > 2 * 4096
    if flags:
        assert process.returncode == 0 and error == b"" and first + out == whole
        return
    assert process.returncode == MODEL_CHANGED, error
    assert whole.startswith(first + out) and len(out) < len(whole) - 1
    assert len(error.splitlines()) == 1
    assert error.startswith(b"rill: ") and b"shrinks.gguf" in error and b"truncated" in error


def test_weights_that_are_no_numbers(rill, stories, tmp_path):
    gguf_package = pytest.importorskip("gguf")
    reader = gguf_package.GGUFReader(stories)
    offset = next(t.data_offset for t in reader.tensors if t.name == "output_norm.weight")
    data = bytearray(pathlib.Path(stories).read_bytes())
    data[offset:offset + 4] = struct.pack("<f", float("nan"))
    path = tmp_path / "nan.gguf"
    path.write_bytes(data)
    done = run(rill, "run", path, "Once", "--raw", "-n", 3)
    warning, message = done.stderr.decode().splitlines()
    assert warning.startswith("rill: warning: ") and "output_norm.weight" in warning
    assert done.returncode == FAILURE and "logit" in message and "nan" in message
    message = refused(run(rill, "run", path, "Once", "--raw", "-n", 3, "--check-tensors"))
    assert "nan.gguf" in message and "output_norm.weight" in message
    report = json.loads(run(rill, "inspect", path, "--json").stdout)
    assert "output_norm.weight" in report["check"]["nan_or_inf"]


SIZES = {"F8_E4M3": 1, "BF16": 2, "F16": 2, "I32": 4}


def write_folder(folder, config, tensors, bad=None):
    """`tensors`: name -> (dtype, shape), of small random numbers. `bad`: (name, element, its bytes)."""
    numpy = pytest.importorskip("numpy")
    (folder / "config.json").write_text(json.dumps(config))
    header, blobs, at = {}, [], 0
    rng = numpy.random.default_rng(3)
    for name, (dtype, shape) in tensors.items():
        data = bytearray(rng.integers(0x18, 0x2C, int(numpy.prod(shape)) * SIZES[dtype],
                                      dtype=numpy.uint8).tobytes())  # small in each type
        if bad and name == bad[0]:
            begin = bad[1] * len(bad[2])
            data[begin:begin + len(bad[2])] = bad[2]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        blobs.append(data)
        at += len(data)
    assert bad is None or bad[0] in header
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors at odd addresses would be copied
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(blobs)


LARGE = {"hidden_size": 512, "intermediate_size": 8192, "num_hidden_layers": 4, "num_attention_heads": 8,
         "num_key_value_heads": 8, "vocab_size": 32, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
         "rope_theta": 10000.0, "tie_word_embeddings": False}


def llama_folder(folder, dtype, bad=None, **config):
    """A Llama of 56 million random weights or, with other sizes and keys, what is like it."""
    config = {"model_type": "llama", **LARGE, **config}
    hidden, inner, vocab = (config[k] for k in ("hidden_size", "intermediate_size", "vocab_size"))
    heads = config["num_attention_heads"]
    width = heads * config.get("head_dim", hidden // heads)
    experts = config.get("num_local_experts", 0)
    quantised = "quantization_config" in config
    tensors = {}

    def matrix(base, rows, cols):
        if not quantised or base == "lm_head":
            tensors[base + ".weight"] = (dtype, [rows, cols])
            return
        tensors[base + ".qweight"] = ("I32", [cols, rows // 8])
        tensors[base + ".qzeros"] = ("I32", [cols // 128, rows // 8])
        tensors[base + ".scales"] = ("F16", [cols // 128, rows])

    tensors["model.embed_tokens.weight"] = (dtype, [vocab, hidden])
    tensors["model.norm.weight"] = (dtype, [hidden])
    matrix("lm_head", vocab, hidden)
    for i in range(config["num_hidden_layers"]):
        p = f"model.layers.{i}."
        tensors[p + "input_layernorm.weight"] = (dtype, [hidden])
        tensors[p + "post_attention_layernorm.weight"] = (dtype, [hidden])
        for name in "qkv":
            matrix(f"{p}self_attn.{name}_proj", width, hidden)
        matrix(f"{p}self_attn.o_proj", hidden, width)
        if config.get("use_qk_norm"):
            tensors[p + "self_attn.q_norm.weight"] = (dtype, [heads, width // heads])
            tensors[p + "self_attn.k_norm.weight"] = (dtype, [heads, width // heads])
        if experts:
            tensors[p + "block_sparse_moe.gate.weight"] = (dtype, [experts, hidden])
        for prefix, gate, up, down in ([(f"block_sparse_moe.experts.{e}.", "w1", "w3", "w2") for e in range(experts)]
                                       or [("mlp.", "gate_proj", "up_proj", "down_proj")]):
            matrix(p + prefix + gate, inner, hidden)
            matrix(p + prefix + up, inner, hidden)
            matrix(p + prefix + down, hidden, inner)
    write_folder(folder, config, tensors, bad)


def gpt2_folder(folder):
    """Its matrices are stored [in, out]."""
    hidden, inner, vocab, context = 512, 12288, 32, 64
    tensors = {"transformer.wte.weight": [vocab, hidden], "transformer.wpe.weight": [context, hidden],
               "transformer.ln_f.weight": [hidden], "transformer.ln_f.bias": [hidden]}
    for i in range(4):
        p = f"transformer.h.{i}."
        for name, rows, cols in (("attn.c_attn", hidden, 3 * hidden), ("attn.c_proj", hidden, hidden),
                                 ("mlp.c_fc", hidden, inner), ("mlp.c_proj", inner, hidden)):
            tensors |= {f"{p}{name}.weight": [rows, cols], f"{p}{name}.bias": [cols]}
        tensors |= {f"{p}{ln}.{x}": [hidden] for ln in ("ln_1", "ln_2") for x in ("weight", "bias")}
    write_folder(folder, {"model_type": "gpt2", "n_embd": hidden, "n_layer": 4, "n_head": 8, "n_inner": inner,
                          "vocab_size": vocab, "n_positions": context},
                 {name: ("BF16", shape) for name, shape in tensors.items()})


# More bytes than are sampled before the weights are packed, and the bad one not among the sample. q, k
# and v are one matrix at load, so are gate and up; norms of each head are no matrices.
@pytest.mark.parametrize("dtype, bad_bytes, name, config", [
    ("BF16", b"\xC0\x7F", "mlp.down_proj", {}), ("F8_E4M3", b"\x7F", "mlp.down_proj", {}),
    ("BF16", b"\xC0\x7F", "self_attn.k_proj", {}), ("BF16", b"\x80\x7F", "mlp.up_proj", {}),
    ("BF16", b"\xC0\x7F", "self_attn.q_norm",
     {"model_type": "cohere", "use_qk_norm": True, "num_attention_heads": 64, "num_key_value_heads": 64,
      "head_dim": 128, "intermediate_size": 2048, "num_hidden_layers": 2})])
def test_one_bad_number_in_a_large_file_is_told(rill, tmp_path, dtype, bad_bytes, name, config):
    tensor = f"model.layers.1.{name}.weight"
    llama_folder(tmp_path, dtype, (tensor, 5000, bad_bytes), **config)
    done = run(rill, "eval", "fingerprint", tmp_path)
    warning, message = done.stderr.decode().splitlines()
    assert warning.startswith(f"rill: warning: {tmp_path}: tensor '{tensor}': ")
    assert "more tensor" not in warning
    assert done.returncode == FAILURE and "no fingerprint" in message and "nan" in message
    (tmp_path / "ids.json").write_text("[1, 2]")
    done = run(rill, "eval", "logits", tmp_path, "--tokens", tmp_path / "ids.json", "--out",
               tmp_path / "x.npy", "--json")
    assert done.returncode == OK and "64 of 64 logits are NaN or Inf" in done.stderr.decode()
    assert json.loads(done.stdout)["non_finite"] == 64
    report = json.loads(run(rill, "inspect", tmp_path, "--json").stdout)
    assert tensor in report["check"]["nan_or_inf"]


@pytest.mark.parametrize("kind", ["rows", "experts", "awq", "transposed"])
def test_without_a_mapping_the_weights_are_in_memory_once(rill, tmp_path, kind):
    """What was read from the file goes as it is packed, not when all is."""
    if kind == "transposed":
        gpt2_folder(tmp_path)
    else:
        llama_folder(tmp_path, "BF16", **{
            "rows": {},
            "experts": {"model_type": "mixtral", "intermediate_size": 2048, "num_local_experts": 4,
                        "num_experts_per_tok": 2},
            # 4 bits a weight: four times as many.
            "awq": {"hidden_size": 1024, "intermediate_size": 16384,
                    "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}},
        }[kind])
    size = (tmp_path / "model.safetensors").stat().st_size
    process = subprocess.Popen([rill, "eval", "fingerprint", tmp_path, "--no-mmap"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            if pathlib.Path(f"/proc/{process.pid}/exe").resolve() != pathlib.Path(rill).resolve():
                continue
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        peak = max(peak, int(found.group(1)) * 1024 if found else 0)
        time.sleep(0.001)
    assert process.returncode == OK
    assert size < peak < 1.5 * size, (peak, size)
    # And not before.
    prints = [run(rill, "eval", "fingerprint", tmp_path, *flags).stdout for flags in ([], ["--no-mmap"])]
    assert prints[0] == prints[1] != b""
    # What has gone is read again to be checked.
    checks = [json.loads(run(rill, "inspect", tmp_path, *flags, "--json").stdout)["check"]
              for flags in ([], ["--no-mmap"])]
    assert checks[0] == checks[1] and checks[0]["nan_or_inf"] == "none"


@pytest.mark.parametrize("words", [[""], []])
def test_no_prompt(rill, stories, words):
    assert "prompt" in refused(run(rill, "run", stories, *words))


def test_two_prompts(rill, stories, tmp_path):
    (tmp_path / "p.txt").write_text("Hi")
    assert "--file" in refused(run(rill, "run", stories, "Hi", "--file", tmp_path / "p.txt"))


def test_missing_models(rill, tmp_path):
    environment = {"RILL_CACHE": str(tmp_path)}
    for model in ("nonesuch", "nowhere/model.gguf", "hf:owner/repo"):
        message = refused(run(rill, "inspect", model, **environment), NOT_FOUND)
        assert model in message and "rill pull" in message
    assert "hf:<owner>/<repo>" in refused(run(rill, "inspect", "hf:x", **environment))
    done = run(rill, "inspect", "nonesuch", "--json", **environment)
    assert json.loads(done.stdout)["error"]["code"] == "not_found"
    # The default model, when it is not there.
    assert "smollm2" in refused(run(rill, "run", "Why is the sky blue?", **environment), NOT_FOUND)


@pytest.mark.parametrize("words", [["nonesuch"], ["--nonesuch"], ["run", "--nonesuch"], ["eval"],
                                   ["eval", "nonesuch"], ["inspect"], ["render", "smollm2"],
                                   ["run", "--threads", "x"], ["run", "--threads", "-1"],
                                   ["run", "--activations", "f64"], ["run", "--kv-dtype", "f7"],
                                   ["run", "-n", "-5"], ["inspect", ""], ["run", "--page-size", "1"],
                                   ["bench", "smollm2", "-r", "0"]])
def test_wrong_usage(rill, words):
    done = run(rill, *words)
    assert done.returncode == USAGE, done
    assert done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("flags", [["--temperature", "-1"], ["--temperature", "nan"],
                                   ["--top-p", "1.5"], ["--top-p", "-0.1"], ["--min-p", "2"],
                                   ["--top-k", "-3"], ["--repetition-penalty", "0"],
                                   ["--repetition-penalty", "inf"], ["--logit-bias", "7"],
                                   ["--logit-bias", "x=1"], ["--logit-bias", "99999999=1"],
                                   ["--logit-bias", "-1=1"], ["--logit-bias", "5=nan"],
                                   ["--stop", ""]])
def test_wrong_sampling(rill, smollm2, flags):
    done = run(rill, "run", smollm2, "Hi", "-n", 1, *flags)
    assert done.returncode == USAGE, done
    assert done.stderr.strip()
    word = flags[0].lstrip("-").replace("-", "")
    assert word in done.stderr.decode().replace("_", "").replace("-", ""), done.stderr


def test_prompt_too_long_says_the_numbers(rill, smollm2):
    done = run(rill, "run", smollm2, "--context", 128, "-n", 1, "word " * 500)
    message = refused(done, USAGE, RESOURCES)
    assert "128" in message


def test_context_that_does_not_fit_memory(rill, smollm2):
    done = run(rill, "run", smollm2, "--context", 1 << 24, "-n", 1, "Hi")
    refused(done, USAGE, RESOURCES)


@pytest.mark.parametrize("ids", ["", "{", "7", '["a"]', "[1.5]", "[-1]", "[99999999]", "[]",
                                 "[" * 10000, "[4294967297]", "[null]"])
def test_wrong_token_files(rill, smollm2, tmp_path, ids):
    (tmp_path / "ids.json").write_text(ids)
    refused(run(rill, "eval", "logits", smollm2, "--tokens", tmp_path / "ids.json",
                "--out", tmp_path / "x.npy"))
    assert not (tmp_path / "x.npy").exists()


def test_logits_to_nowhere(rill, smollm2, tmp_path):
    (tmp_path / "ids.json").write_text("[1, 2]")
    message = refused(run(rill, "eval", "logits", smollm2, "--tokens", tmp_path / "ids.json",
                          "--out", tmp_path / "none" / "x.npy"), USAGE, NOT_FOUND, RESOURCES)
    assert "x.npy" in message
    assert "none.json" in refused(run(rill, "eval", "logits", smollm2, "--tokens",
                                      tmp_path / "none.json", "--out", tmp_path / "x.npy"),
                                  NOT_FOUND)


def test_what_is_no_file_is_never_replaced(rill, stories, tmp_path):
    """A pipe gets the bytes, a folder is refused, a link leads to its target, half a file is none."""
    (tmp_path / "ids.json").write_text("[1, 2]")
    words = ["eval", "logits", stories, "--tokens", tmp_path / "ids.json", "--out"]
    assert "folder" in refused(run(rill, *words, tmp_path / "."), USAGE).replace("directory", "folder")
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE)
    assert run(rill, *words, fifo).returncode == 0
    assert reader.communicate(timeout=20)[0].startswith(b"\x93NUMPY") and fifo.is_fifo()
    (tmp_path / "real.npy").write_text("old")
    (tmp_path / "link.npy").symlink_to("real.npy")
    assert run(rill, *words, tmp_path / "link.npy").returncode == 0
    assert (tmp_path / "link.npy").is_symlink()
    assert (tmp_path / "real.npy").read_bytes().startswith(b"\x93NUMPY")
    if pathlib.Path("/dev/full").is_char_device():
        # Through a link, so that a fault of this kind cannot replace the device itself.
        (tmp_path / "full").symlink_to("/dev/full")
        assert "No space left" in refused(run(rill, *words, tmp_path / "full"), RESOURCES)
        assert pathlib.Path("/dev/full").is_char_device()
    assert not list(tmp_path.glob("*.tmp*"))


def test_tools_must_be_an_array(rill, smollm2, tmp_path):
    (tmp_path / "m.json").write_text('[{"role": "user", "content": "hi"}]')
    (tmp_path / "t.json").write_text('{"a": 1}')
    assert "t.json: expected an array of tools" in refused(
        run(rill, "render", smollm2, "--messages", tmp_path / "m.json", "--tools",
            tmp_path / "t.json"))


@pytest.mark.parametrize("words", [["x"], ["-1"], ["49152"], ["99999999999999999999"], ["1.5"],
                                   ["[504"], ["504]"], ["[504,"]])
def test_wrong_ids_to_detokenize(rill, smollm2, words):
    message = refused(run(rill, "detokenize", smollm2, "--", *words))
    assert words[0] in message or "detokenize:" in message


@pytest.mark.parametrize("messages", ["", "{", "7", "{}", '"x"', "[7]", '[{"role": 7}]',
                                      "[" * 5000])
def test_wrong_messages(rill, smollm2, tmp_path, messages):
    (tmp_path / "m.json").write_text(messages)
    refused(run(rill, "render", smollm2, "--messages", tmp_path / "m.json"), USAGE, FAILURE)


@pytest.mark.parametrize("flags", [["--window", "1"], ["--window", "100000000"],
                                   ["--window", "64", "--stride", "65"]])
def test_wrong_windows(rill, smollm2, tmp_path, flags):
    (tmp_path / "t.txt").write_text("Some text to predict. " * 20)
    done = run(rill, "eval", "perplexity", smollm2, "--text", tmp_path / "t.txt", *flags)
    assert done.returncode in (USAGE, RESOURCES), done


@pytest.mark.parametrize("command", ["perplexity", "quality"])
def test_eval_of_text_that_is_not_utf8(rill, smollm2, tmp_path, command):
    (tmp_path / "t.txt").write_bytes(b"Some text \xff and more.")
    message = refused(run(rill, "eval", command, smollm2, "--text", tmp_path / "t.txt"))
    assert "t.txt" in message and "offset 10" in message


def test_perplexity_of_nothing(rill, smollm2, tmp_path):
    (tmp_path / "t.txt").write_text("")
    refused(run(rill, "eval", "perplexity", smollm2, "--text", tmp_path / "t.txt"))


def test_pull_refuses_nonsense(rill, tmp_path):
    for spec in ("nonesuch", "hf:x", "ftp://127.0.0.1/m.gguf", "http://192.0.2.1/m.gguf"):
        refused(run(rill, "pull", spec, RILL_CACHE=str(tmp_path)))
    refused(run(rill, "pull", "hf:a/b", "--offline", RILL_CACHE=str(tmp_path)), NETWORK)
    refused(run(rill, "pull", "hf:a/b", RILL_CACHE=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9",
                timeout=120), NETWORK)


@pytest.mark.parametrize("words", [["inspect", "smollm2"], ["pull", "--list"],
                                   ["pull", "--list", "--json"]])
def test_no_home(rill, words):
    done = subprocess.run([rill, *words], capture_output=True, env={}, check=False,
                          stdin=subprocess.DEVNULL, timeout=20)
    assert "RILL_CACHE" in refused(done, FAILURE)


@pytest.fixture
def nobody():
    """run() as a user who may not read everything, and a folder that this user reaches."""
    prefix = []
    if os.geteuid() == 0:
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        if not shutil.which("setpriv") or subprocess.run([*prefix, "true"], check=False).returncode:
            pytest.skip("skipped: no setpriv, and root may read every file")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)

        def run_as(rill, *words, **environment):
            if prefix and subprocess.run([*prefix, rill, "--version"], check=False,
                                         capture_output=True).returncode:
                pytest.skip("skipped: another user does not reach the build")
            return run(*prefix, rill, *words, **environment)
        yield run_as, pathlib.Path(folder)


def test_files_that_may_not_be_read(rill, stories, nobody):
    run_as, folder = nobody
    shutil.copyfile(stories, folder / "np.gguf")
    (folder / "text.txt").write_text("Hi")
    (folder / "closed").mkdir()
    for path in folder.iterdir():
        path.chmod(0)
    for words in (["inspect", folder / "np.gguf"], ["tokenize", stories, "-f", folder / "text.txt"],
                  ["inspect", folder / "closed" / "m.gguf"]):
        message = refused(run_as(rill, *words), USAGE)
        assert "Permission denied" in message and str(words[-1]) in message
    message = refused(run_as(rill, "pull", "smollm2", RILL_CACHE=str(folder / "new")), USAGE)
    assert "cannot be made: Permission denied" in message and str(folder) in message
    (folder / "closed").chmod(0o755)


def test_links_that_lead_in_a_circle(rill, stories, tmp_path):
    loop = tmp_path / "loop.gguf"
    loop.symlink_to(loop)
    for words in (["inspect", loop], ["tokenize", stories, "-f", loop],
                  ["inspect", tmp_path / ("x" * 300)]):
        message = refused(run(rill, *words), USAGE)
        assert "symbolic links" in message or "too long" in message
    header = json.dumps({"t": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer.json").symlink_to("tokenizer.json")
    assert "tokenizer.json" in refused(run(rill, "tokenize", tmp_path, "Hi"), USAGE)


def test_too_many_open_files_is_a_limit(rill, stories):
    for limit in range(3, 6):  # what the loader opens before the model's file is no affair of this
        done = subprocess.run(["prlimit", f"--nofile={limit}", rill, "inspect", "--plan", stories],
                              capture_output=True, check=False, stdin=subprocess.DEVNULL)
        if b"cannot be opened" in done.stderr:
            assert "Too many open files" in refused(done, RESOURCES)


@pytest.mark.parametrize("cache", ["/dev/null", "/dev/null/x", "FILE", "LOOP"])
def test_a_cache_that_cannot_be_made(rill, tmp_path, cache):
    (tmp_path / "FILE").write_text("x")
    (tmp_path / "LOOP").symlink_to("LOOP")
    message = refused(run(rill, "pull", "smollm2", RILL_CACHE=str(tmp_path / cache)), USAGE)
    assert f"{cache}/models/smollm2: cannot be made" in message


@pytest.mark.parametrize("words", [
    ["eval", "logits", "MODEL", "--tokens", "ids.json", "--out", ""],
    ["eval", "logits", "MODEL", "--out", "x.npy", "--tokens", ""],
    ["eval", "perplexity", "MODEL", "--text", ""], ["run", "MODEL", "--file", ""],
    ["tokenize", "MODEL", "--file", ""], ["render", "MODEL", "--messages", ""],
    ["render", "MODEL", "--messages", "-", "--tools", ""], ["bench", "MODEL", "--out", ""],
    ["bench", "MODEL", "--out", "-"], ["bench", "--synthetic", "x:y", "--write-gguf", "-"],
    ["bench", "--synthetic", ""], ["bench", "serve", "--plot", ""], ["bench", "serve", "--details", "-"],
    ["serve", "MODEL", "--log-file", ""], ["serve", "MODEL", "--key-file", ""],
    ["serve", "MODEL", "--memory", ""], ["serve", "MODEL", "--kv-memory", ""]])
def test_no_name_names_its_flag(rill, stories, words):
    done = run(rill, *[stories if word == "MODEL" else word for word in words])
    assert done.returncode == USAGE and done.stdout == b""
    assert done.stderr.decode().startswith(f"rill: {words[-2]}: expected "), done.stderr


def test_system_message_without_a_template(rill, stories):
    message = refused(run(rill, "run", stories, "Hi", "--system", "Be brief."))
    assert "--system needs a chat template" in message and "stories" in message
    message = refused(run(rill, "run", "nonesuch.gguf", "Hi", "--raw", "--system", "Be brief."))
    assert "--system needs a chat template" in message and "--raw" in message
    assert run(rill, "run", stories, "Hi", "--raw", "--system", "", "-n", 1).returncode == OK


@pytest.mark.parametrize("text, offset, byte", [
    (b"a\xff\xfeb", 1, "ff"), (b"\xc3", 0, "c3"), (b"\xc3\xa9\xc0\xaf", 2, "c0"),
    (b"\xe2\x82", 0, "e2"), (b"x\xed\xa0\x80", 1, "ed"), (b"\xf0\x80\x80\x80", 0, "f0"),
    (b"\xe2\x82\xac\xf4\x90\x80\x80", 3, "f4"), (b"\xf5\x80\x80\x80", 0, "f5"),
    (b"ok\x80", 2, "80")])
def test_text_that_is_not_utf8(rill, stories, tmp_path, text, offset, byte):
    """The same refusal from a file and from stdin; Python's own decoder says where."""
    with pytest.raises(UnicodeDecodeError) as raised:
        text.decode()
    assert raised.value.start == offset
    (tmp_path / "t.txt").write_bytes(text)
    where = f"expected UTF-8, got byte 0x{byte} at offset {offset}"
    for command in (["tokenize", stories], ["run", stories, "--raw", "-n", "1"]):
        message = refused(run(rill, *command, "--file", tmp_path / "t.txt"))
        assert "t.txt" in message and where in message
        message = refused(run(rill, *command, "-", stdin=text))
        assert "stdin" in message and where in message


def test_all_of_unicode_is_utf8(rill, stories):
    text = "".join(map(chr, [*range(1, 0xD800, 37), 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000,
                             0x10FFFF]))
    assert run(rill, "tokenize", stories, "-", "--ids", stdin=text.encode()).returncode == OK


def test_wrong_isa_is_told(rill, smollm2):
    done = run(rill, "run", smollm2, "Hi", "-n", 1, RILL_CPU_ISA="nonesuch")
    assert done.returncode == USAGE and b"RILL_CPU_ISA" in done.stderr


def test_full_disk_is_told(rill, smollm2):
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("skipped: no /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([rill, "tokenize", smollm2, "Hello"], stdout=full,
                              stderr=subprocess.PIPE, check=False, timeout=30)
    assert done.returncode != 0 and b"stdout" in done.stderr


def limited(num_processes: int):
    """Runs as nobody, whose limit of threads counts; root has none."""
    def limit():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (num_processes, num_processes))
    return limit


def test_where_no_more_threads_are_given(rill, stories, request):
    """A sentence and an exit code, whichever thread it is that cannot be started."""
    if os.geteuid() != 0:
        pytest.skip("skipped: not root, who may be somebody else")
    try:
        subprocess.run([rill, "--version"], preexec_fn=limited(1), capture_output=True, check=True)
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("skipped: nobody may not run this build")  # a checkout in another's home, say
    if subprocess.run(["sh", "-c", "(true) && true"], preexec_fn=limited(1), capture_output=True,
                      check=False).returncode == 0:
        pytest.skip("skipped: no limit of processes is kept here")
    # tmp_path lies in a folder that others may not enter.
    folder = tempfile.TemporaryDirectory()
    request.addfinalizer(folder.cleanup)
    model = pathlib.Path(folder.name) / "m.gguf"
    shutil.copy(stories, model)
    model.parent.chmod(0o755)
    model.chmod(0o644)
    environment = {**os.environ, "RILL_CACHE": "/nowhere", "HOME": "/nowhere"}
    refusals = 0
    for count in range(1, 10):
        done = subprocess.run([rill, "eval", "fingerprint", "synthetic:llama-tiny:q8_0", "-t", "8"],
                              preexec_fn=limited(count), capture_output=True, timeout=60,
                              env=environment, check=False)
        assert done.returncode in (OK, RESOURCES), (count, done.stderr)
        if done.returncode == RESOURCES:
            assert b"Resource temporarily unavailable" in refused(done, RESOURCES).encode()
            refusals += 1
    assert refusals >= 1
    for count in range(1, 12, 2):
        told = model.with_name("told")
        with told.open("wb") as stderr:
            server = subprocess.Popen([rill, "serve", f"m={model}", "-t", "2", "--port", "0",
                                       "--context", "256"], preexec_fn=limited(count),
                                      stderr=stderr, env=environment)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(5)
            # With enough of them it serves, though a line may find no thread that writes it.
            ended = server.poll()
            server.send_signal(signal.SIGINT)
            code = server.wait(60)
        finally:
            server.kill()
            server.wait()
        text = told.read_text()
        assert ended in (None, RESOURCES) and code in (OK, RESOURCES), (count, code, text)
        assert "terminate" not in text
        assert code == RESOURCES or count > 4


def within(rill: str, limit_bytes: int):
    """Runs with at most this much address space."""
    if pathlib.Path(rill).parents[2].name in ("asan", "tsan"):
        pytest.skip("skipped: a sanitizer reserves all of the address space")
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def test_wherever_memory_runs_out_it_is_a_sentence(rill, smollm2):
    """While the file is mapped, the vocabulary read, the weights packed, the engine made, or in a step."""
    codes = set()
    for limit_mb in [*range(60, 250, 3), *range(250, 280)]:
        done = subprocess.run([rill, "run", smollm2, "--raw", "a", "-n", "1", "-t", "1", "-c", "128"],
                              preexec_fn=within(rill, limit_mb << 20), capture_output=True, timeout=60, check=False)
        codes.add(done.returncode)
        assert done.returncode in (OK, RESOURCES), (limit_mb, done.returncode, done.stderr)
        if done.returncode != OK:
            refused(done, RESOURCES)
    assert codes == {OK, RESOURCES}


def test_pack_cache_needs_no_threads(rill, tmp_path):
    """Its checksums are computed by several threads: without room for a stack it takes longer."""
    model = tmp_path / "m.gguf"
    assert run(rill, "bench", "--synthetic", "llama-tiny:f32", "--write-gguf", model).returncode == OK
    words = [rill, "eval", "fingerprint", model, "-t", "1", "-c", "512", "--pack-cache"]
    codes = set()
    for limit_mb in range(90, 140):
        pathlib.Path(f"{model}.rill-pack").unlink(missing_ok=True)
        done = subprocess.run(words, preexec_fn=within(rill, limit_mb << 20), capture_output=True, timeout=60,
                              check=False)
        codes.add(done.returncode)
        assert done.returncode in (OK, RESOURCES), (limit_mb, done.returncode, done.stderr)
    assert codes == {OK, RESOURCES}


def test_pack_cache_on_a_full_disk_is_one_warning(rill, tmp_path):
    """A file system of its own: of `room` KiB beside the model, so that the first write fails or a later one."""
    model = tmp_path / "model.gguf"
    subprocess.run([rill, "bench", "--synthetic", "llama-tiny:q4_0", "--write-gguf", model],
                   capture_output=True, timeout=60, check=True)
    want = subprocess.run([rill, "eval", "fingerprint", model, "-c", "512"], capture_output=True, timeout=60,
                          check=True).stdout
    kib = model.stat().st_size // 1024 + 1
    disk = tmp_path / "disk"
    disk.mkdir()
    script = """mount -t tmpfs -o size="$1"k none "$2" || exit 77
        cp "$3" "$2/model.gguf"
        RILL_CACHE="$2/cache" "$4" eval fingerprint "$2/model.gguf" -c 512 --pack-cache
        code=$?
        echo files: $(find "$2" -type f -printf "%f ") >&2
        exit $code"""
    for room in (8, kib // 2):
        done = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh",
                               str(kib + room), disk, model, rill], capture_output=True, timeout=60, check=False)
        if done.returncode == 77 or b"unshare" in done.stderr:
            pytest.skip("skipped: no file system of its own: " + done.stderr.decode().strip()[-80:])
        assert done.returncode == 0 and done.stdout == want, done
        told = done.stderr.decode()
        assert told.count("pack cache: not written") == 1 and "No space left" in told, told
        assert told.splitlines()[-1] == "files: model.gguf", told  # and nothing of the cache
