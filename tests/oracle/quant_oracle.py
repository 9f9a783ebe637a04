"""What the blocks and elements of every dtype mean, by the `gguf` package, NumPy and torch."""
import gguf
import numpy as np
import torch

# Everything that gguf.quants does not know.
_NUMPY = {"f64": np.float64, "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64,
          "u8": np.uint8}
_TORCH = {"f8_e4m3": torch.float8_e4m3fn, "f8_e5m2": torch.float8_e5m2}
ENCODABLE = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "u4g32", "u4g64", "u4g128"]
# Ours alone (src/quant/grouped.h): f16 scale, int16 zero point, codes from the lowest bit.
GROUPED = {f"u{bits}g{group}": (bits, group) for bits in (2, 3, 4, 8) for group in (32, 64, 128)}


def _decode_grouped(raw, bits, group):
    blocks = raw.reshape(-1, 4 + group * bits // 8)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    zero = blocks[:, 2:4].copy().view(np.int16).astype(np.int32)
    stream = np.unpackbits(blocks[:, 4:], axis=1, bitorder="little").reshape(len(blocks), group, bits)
    q = (stream.astype(np.int32) << np.arange(bits)).sum(2)
    return (scale * (q.astype(np.int32) - zero).astype(np.float32)).ravel()


def _encode_grouped(values, group):
    x = values.astype(np.float32).reshape(-1, group)
    largest = x[np.arange(len(x)), np.abs(x).argmax(1)]
    scale = (largest / np.float32(-8)).astype(np.float32)
    inverse = np.float32(1) / scale
    inverse = np.where(np.isfinite(inverse), inverse, np.float32(0))[:, None]
    q = np.minimum((x * inverse + np.float32(8.5)).astype(np.int32), 15).astype(np.uint8)
    zero = np.full((len(x), 1), 8, np.int16)
    return np.concatenate([scale.astype(np.float16).view(np.uint8).reshape(-1, 2),
                           zero.view(np.uint8), q[:, ::2] | q[:, 1::2] << 4], axis=1).tobytes()


def qtype(name: str) -> gguf.GGMLQuantizationType:
    """The package's name of one of ours."""
    return gguf.GGMLQuantizationType[name.upper()]


def decode(name: str, data: bytes) -> np.ndarray:
    """All elements as f32."""
    raw = np.frombuffer(data, np.uint8)
    with np.errstate(all="ignore"):
        if name in _NUMPY:
            return raw.view(_NUMPY[name]).astype(np.float32)
        if name in _TORCH:
            return torch.from_numpy(raw.copy()).view(_TORCH[name]).float().numpy()
        if name in GROUPED:
            return _decode_grouped(raw, *GROUPED[name])
        if name == "bool":
            return (raw != 0).astype(np.float32)
        if name == "q8_k":  # f32 scale, 256 int8, 16 int16 sums
            blocks = raw.reshape(-1, 292)
            scale = blocks[:, :4].copy().view(np.float32)
            return (scale * blocks[:, 4:260].view(np.int8).astype(np.float32)).ravel()
        block_bytes = gguf.GGML_QUANT_SIZES[qtype(name)][1]
        return gguf.quants.dequantize(raw.reshape(-1, block_bytes), qtype(name)).ravel()


def encode(name: str, values: np.ndarray) -> bytes:
    """Blocks of values (a multiple of the block size)."""
    with np.errstate(all="ignore"):
        if name in GROUPED:
            return _encode_grouped(values, GROUPED[name][1])
        return gguf.quants.quantize(values.reshape(1, -1), qtype(name)).tobytes()


def bits(values: np.ndarray) -> np.ndarray:
    """f32 bit patterns with all NaNs made equal."""
    out = values.astype(np.float32).view(np.uint32).copy()
    out[np.isnan(values)] = 0x7FC00000
    return out


def splitmix64(seed: int, count: int) -> np.ndarray:
    """`count` 64-bit numbers; the C++ tests make the same ones."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def fnv1a(data: bytes) -> int:
    """64-bit FNV-1a."""
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def golden_bytes(name: str, block_bytes: int) -> bytes:
    """The 64 pseudo-random blocks of the golden hashes."""
    size = 64 * block_bytes
    return splitmix64(fnv1a(name.encode()), (size + 7) // 8).astype("<u8").tobytes()[:size]


def golden_values(name: str) -> np.ndarray:
    """The 2,048 values that the golden encodings start from: 24-bit integers times 2^-20."""
    raw = splitmix64(fnv1a(name.encode()), 2048)
    return ((raw >> np.uint64(40)).astype(np.int64) - (1 << 23)).astype(np.float32) * np.float32(2**-20)
