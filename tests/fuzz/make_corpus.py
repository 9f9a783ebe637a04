#!/usr/bin/env python3
"""Writes small valid seeds for the fuzzers: make_corpus.py OUT [CHECKPOINTS] makes OUT/<target>/<seed>.

CHECKPOINTS is a folder of model folders (tests/oracle/make_family_checkpoints.py makes one); their
config.json files become seeds of model_config.
"""
import json
import pathlib
import struct
import sys

MAGIC = b"GGUF"


def gguf_string(text: bytes, wide: bool = True) -> bytes:
    return struct.pack("<Q" if wide else "<I", len(text)) + text


def gguf_value(kind: int, value: bytes) -> bytes:
    return struct.pack("<I", kind) + value


def gguf(version: int, pairs: list[tuple[bytes, bytes]], tensors: list[tuple[bytes, list[int], int, int]]) -> bytes:
    """tensors: (name, dims, GGUF type, size in bytes)."""
    wide = version > 1
    count = "<Q" if wide else "<I"
    out = MAGIC + struct.pack("<I", version) + struct.pack(count, len(tensors)) + struct.pack(count, len(pairs))
    for key, value in pairs:
        out += gguf_string(key, wide) + value
    offset = 0
    for name, dims, kind, size in tensors:
        out += gguf_string(name, wide) + struct.pack("<I", len(dims))
        out += b"".join(struct.pack(count, d) for d in dims) + struct.pack("<IQ", kind, offset)
        offset += (size + 31) // 32 * 32
    out += b"\0" * (-len(out) % 32)
    return out + bytes(i * 37 & 255 for i in range(offset))


def gguf_seeds() -> dict[str, bytes]:
    scalars = [struct.pack("<B", 7), struct.pack("<b", -7), struct.pack("<H", 7), struct.pack("<h", -7),
               struct.pack("<I", 7), struct.pack("<i", -7), struct.pack("<f", 0.5), b"\x01",
               gguf_string(b"text"), None, struct.pack("<Q", 7), struct.pack("<q", -7), struct.pack("<d", 0.5)]
    every = [(b"k%d" % kind, gguf_value(kind, value)) for kind, value in enumerate(scalars) if value]
    every += [(b"a%d" % kind, gguf_value(9, struct.pack("<IQ", kind, 2) + value * 2))
              for kind, value in enumerate(scalars) if value]
    sizes = {0: (32, 128), 1: (32, 64), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
             10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
             20: (32, 18), 23: (256, 136), 24: (32, 32), 28: (32, 256), 30: (32, 64), 34: (256, 54),
             35: (256, 66), 39: (32, 17)}
    every_type = [(b"t%d" % kind, [weights], kind, size) for kind, (weights, size) in sizes.items()]
    architecture = (b"general.architecture", gguf_value(8, gguf_string(b"llama")))
    alignment = (b"general.alignment", gguf_value(4, struct.pack("<I", 64)))
    return {
        "empty": gguf(3, [], []),
        "metadata": gguf(3, every, []),
        "types": gguf(3, [architecture], every_type),
        "matrix": gguf(2, [architecture, (b"split.count", gguf_value(2, b"\x01\x00"))], [(b"w", [32, 2, 1, 1], 2, 36)]),
        "aligned": gguf(3, [alignment], [(b"w", [4], 0, 16)]),
        "v1": gguf(1, [(b"x", gguf_value(4, b"\x01\0\0\0"))], [(b"w", [4, 2], 0, 32)]),
    }


def safetensors(tensors: dict, data: bytes, pad: int = 0) -> bytes:
    header = json.dumps(tensors).encode() + b" " * pad
    return struct.pack("<Q", len(header)) + header + data


def safetensors_seeds() -> dict[str, bytes]:
    sizes = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4,
             "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
    every, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, size in sizes.items():
        every[name.lower()] = {"dtype": name, "shape": [2, 3], "data_offsets": [offset, offset + 6 * size]}
        offset += 6 * size
    one = {"w": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}
    return {"empty": safetensors({}, b""), "every": safetensors(every, bytes(i & 255 for i in range(offset))),
            "scalar": safetensors(one, b"abcd"), "odd": safetensors(one, b"abcd", pad=1)}


def llama2c_seeds() -> dict[str, bytes]:
    dim, hidden, layers, heads, kv_heads, vocab, seq = 4, 6, 1, 2, 1, 3, 2
    layer = 2 * dim + 2 * dim * dim + 2 * dim * dim // 2 + 3 * dim * hidden
    shared = vocab * dim + layers * layer + dim
    v0 = struct.pack("<7i", dim, hidden, layers, heads, kv_heads, vocab, seq)
    v1 = struct.pack("<4si7iB", b"24ka", 1, dim, hidden, layers, heads, kv_heads, vocab, seq, 1)
    tokens = b"".join(struct.pack("<fi", -float(i), len(t)) + t for i, t in enumerate([b"<unk>", b"a", b"ab"]))
    return {"v0": v0 + b"\0" * 4 * (shared + seq * (dim // heads)),
            "v0_untied": struct.pack("<7i", dim, hidden, layers, heads, kv_heads, -vocab, seq)
            + b"\0" * 4 * (shared + seq * (dim // heads) + vocab * dim),
            "v1": v1.ljust(256, b"\0") + b"\0" * 4 * shared,
            "vocab": struct.pack("<I", 5) + tokens}


def json_seeds() -> dict[str, bytes]:
    config = {"model_type": "llama", "hidden_size": 64, "rms_norm_eps": 1e-05, "tie_word_embeddings": True,
              "rope_scaling": {"factor": 2.0, "type": "yarn"}, "eos_token_id": [1, 2], "pad": None}
    values = '[0, -1, 18446744073709551615, -9223372036854775808, 1e308, 0.1, "\\u00e9\\ud83d\\ude00", "", {}, []]'
    return {"config": json.dumps(config).encode(), "values": values.encode(), "deep": b"[" * 60 + b"]" * 60}


def model_config_seeds(checkpoints: pathlib.Path | None) -> dict[str, bytes]:
    def text(value: bytes) -> bytes:
        return gguf_value(8, gguf_string(value))

    def number(value: int) -> bytes:
        return gguf_value(4, struct.pack("<I", value))

    seeds = {}
    for family in (b"llama", b"qwen2moe", b"gemma2", b"phi3", b"deepseek2", b"bloom", b"olmo"):
        keys = {b"block_count": number(2), b"embedding_length": number(32), b"feed_forward_length": number(40),
                b"attention.head_count": number(4), b"attention.head_count_kv": number(2),
                b"context_length": number(64), b"vocab_size": number(50),
                b"attention.layer_norm_rms_epsilon": gguf_value(6, struct.pack("<f", 1e-5)),
                b"rope.scaling.type": text(b"yarn"), b"rope.scaling.factor": gguf_value(6, struct.pack("<f", 2.0))}
        pairs = [(b"general.architecture", text(family))] + [(family + b"." + k, v) for k, v in keys.items()]
        seeds[family.decode() + ".gguf"] = gguf(3, pairs, [])
    for config in sorted(checkpoints.glob("*/config.json")) if checkpoints else []:
        seeds[config.parent.name + ".json"] = config.read_bytes()
    return seeds


def http_seeds() -> dict[str, bytes]:
    """The first byte is the portion in which the bytes arrive."""
    post = b"\x07POST /v1/x?a=b HTTP/1.1\r\nHost: a:80\r\n"
    return {"get": b"\x01GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "absolute": b"\x05GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
            "old": b"\x03POST /%41 HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
            "length": post + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
            "chunked": post + b"Transfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n00\r\nX: y\r\n\r\n",
            "both": post + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"}


def main() -> None:
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus")
    seeds = {"gguf": gguf_seeds(), "safetensors": safetensors_seeds(), "llama2c": llama2c_seeds(),
             "config_json": json_seeds(),
             "model_config": model_config_seeds(pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None),
             "http": http_seeds(),
             "sse": {"events": b"\x03: ping\n\ndata: {}\r\n\r\ndata: a\ndata: b\n\ndata: [DONE]\n\n"}}
    for target, files in seeds.items():
        folder = out / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        print(f"{folder}: {len(files)} seeds")


if __name__ == "__main__":
    main()
