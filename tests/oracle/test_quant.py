"""quant/ against the `gguf` package, bit for bit, on random and extreme blocks."""
import subprocess

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")
import quant_oracle as oracle  # noqa: E402

ELEMENTS = 1 << 20  # per dtype: 32,768 blocks of 32 or 4,096 of 256


@pytest.fixture(scope="session")
def tool(build_dir):
    path = build_dir / "tests" / "quant_tool"
    assert path.exists(), f"{path} was not built"
    return str(path)


@pytest.fixture(scope="session")
def types(tool):
    """name -> (block_weights, block_bytes, gguf id, encoding: 0 none, 1 rounded, 2 searched)."""
    lines = subprocess.run([tool, "types"], check=True, capture_output=True, text=True).stdout
    return {line.split()[0]: tuple(map(int, line.split()[1:])) for line in lines.splitlines()}


def run(tool, command, name, data, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(data)
    subprocess.run([tool, command, name, str(source), str(target)], check=True)
    return target.read_bytes()


def names():
    plain = ["f32", "f16", "bf16", "f64", "i8", "i16", "i32", "i64", "u8", "bool", "f8_e4m3", "f8_e5m2"]
    return plain + ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k",
                    "q8_k", "iq4_nl", "iq4_xs", "tq1_0", "tq2_0", "mxfp4",
                    *oracle.GROUPED]


def test_every_dtype_is_compared(types):
    assert sorted(types) == sorted(names())
    for name, (weights, size, gguf_id, _) in types.items():
        if gguf_id >= 0:
            expected = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(gguf_id)]
            assert oracle.qtype(name) == gguf_id and expected == (weights, size)


@pytest.mark.parametrize("name", names())
def test_decode_random_bytes(tool, types, tmp_path, name):
    """Random bytes hold every scale there is: subnormal, huge, Inf, NaN."""
    weights, size, _, _ = types[name]
    data = np.random.default_rng(7).integers(0, 256, ELEMENTS // weights * size, np.uint8).tobytes()
    if name == "bool":
        data = bytes(byte & 1 for byte in data)
    got = np.frombuffer(run(tool, "decode", name, data, tmp_path), np.float32)
    np.testing.assert_array_equal(oracle.bits(got), oracle.bits(oracle.decode(name, data)))


@pytest.mark.parametrize("name", oracle.ENCODABLE)
@pytest.mark.parametrize("scale", [1e-42, 1e-6, 1.0, 300.0])
def test_encode(tool, types, tmp_path, name, scale):
    assert types[name][3] == 1
    rng = np.random.default_rng(11)
    values = (rng.standard_normal(ELEMENTS // 4) * scale).astype(np.float32)
    values[64:96] = 0
    values[96:128] = values[96]  # a block of one value
    values[128:160] = rng.integers(-8, 9, 32) * scale  # halves fall between codes
    if scale < 1e-37:
        # 1 / scale overflows, where the package converts NaN to an integer: compare what decodes.
        got = oracle.decode(name, run(tool, "encode", name, values.tobytes(), tmp_path))
        assert np.abs(got - values).max() <= 2.0**-24
        return
    assert run(tool, "encode", name, values.tobytes(), tmp_path) == oracle.encode(name, values)


SEARCHED = ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4"]


def test_every_encoder_is_compared(types):
    assert sorted(n for n, t in types.items() if t[3] == 1) == sorted(oracle.ENCODABLE)
    assert sorted(n for n, t in types.items() if t[3] == 2) == sorted(SEARCHED)


@pytest.mark.parametrize("name", SEARCHED)
def test_searched_encoding_means_the_same_to_gguf(tool, tmp_path, name):
    """What our encoder writes decodes alike here and there, and is no worse than plain rounding with
    as many or fewer bits: q4_0 for the 4-bit formats, and half or twice its error per bit of others."""
    values = (np.random.default_rng(13).standard_normal(ELEMENTS // 4) * 0.02).astype(np.float32)
    encoded = run(tool, "encode", name, values.tobytes(), tmp_path)
    theirs = oracle.decode(name, encoded)
    ours = np.frombuffer(run(tool, "decode", name, encoded, tmp_path), np.float32)
    np.testing.assert_array_equal(oracle.bits(ours), oracle.bits(theirs))

    def error(decoded):
        return float(np.sqrt(np.mean((decoded - values).astype(np.float64) ** 2)))

    # MXFP4's scales are powers of two: up to twice too coarse, and codes of unequal steps.
    code_bits = {"q2_k": 2, "q3_k": 3, "q5_k": 5, "q6_k": 6}.get(name, 4)
    bound = error(oracle.decode("q4_0", oracle.encode("q4_0", values))) * 2.0 ** (4 - code_bits)
    assert error(theirs) < bound * (2 if name == "mxfp4" else 1)
