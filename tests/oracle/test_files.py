"""io/ against the `gguf` and `safetensors` packages on every model file of the shared data."""
import json
import pathlib
import subprocess

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

TYPE_NAMES = {"UINT8": "u8", "INT8": "i8", "UINT16": "u16", "INT16": "i16", "UINT32": "u32", "INT32": "i32",
              "FLOAT32": "f32", "BOOL": "bool", "STRING": "string", "ARRAY": "array", "UINT64": "u64",
              "INT64": "i64", "FLOAT64": "f64"}
TORCH_NAMES = {"torch.float32": "f32", "torch.float16": "f16", "torch.bfloat16": "bf16", "torch.int64": "i64"}


def fnv1a(data: bytes) -> str:
    """64-bit FNV-1a in hexadecimal."""
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


@pytest.fixture(scope="session")
def dump(build_dir):
    tool = build_dir / "tests" / "file_tool"
    assert tool.exists(), f"{tool} was not built"

    def run(path):
        done = subprocess.run([str(tool), str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    return run


def expected_metadata(reader):
    """The pairs of a GGUFReader in the form of file_tool."""
    out = []
    for key, field in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        kinds = [TYPE_NAMES[kind.name] for kind in field.types]
        if kinds[0] == "string":
            value = fnv1a(bytes(field.parts[field.data[0]]))
        elif kinds[0] == "array":
            parts = [field.parts[i] for i in field.data]
            values = [fnv1a(bytes(part)) if kinds[1] == "string" else part[0].item() for part in parts]
            value = [kinds[1], [int(v) if isinstance(v, bool) else v for v in values]]
        else:
            value = field.parts[field.data[0]][0].item()
        out.append([key, kinds[0], value])
    return out


def check_gguf(dump, path):
    reader = gguf.GGUFReader(path)
    got = dump(path)
    assert got["metadata"] == expected_metadata(reader)
    names = {tensor[0]: tensor for tensor in got["tensors"]}
    assert len(names) == len(reader.tensors)
    for tensor in reader.tensors:
        _, dtype, shape, digest = names[tensor.name]
        assert dtype == tensor.tensor_type.name.lower()
        assert shape == [int(d) for d in reversed(tensor.shape)]
        if tensor.n_bytes <= 1 << 15:  # hashing in Python is slow
            assert digest == fnv1a(np.ascontiguousarray(tensor.data).tobytes()), tensor.name


def test_gguf_models(dump, shared_data):
    paths = sorted((shared_data / "models").rglob("*.gguf"))
    assert len(paths) >= 5
    for path in paths:
        version = int.from_bytes(path.read_bytes()[4:8], "little")
        if version > 1:  # the package does not read version 1
            check_gguf(dump, path)


def test_gguf_vocabularies(dump, shared_data):
    paths = (shared_data / "tokenizers" / "ggml-vocab").glob("*.gguf")
    paths = sorted(paths, key=lambda path: path.stat().st_size)
    assert len(paths) >= 5
    for path in paths[:3]:  # the package takes about ten seconds for each of the large ones
        check_gguf(dump, path)


def test_smollm2(dump, smollm2):
    check_gguf(dump, smollm2)


def test_safetensors_models(dump, shared_data):
    paths = [p for p in sorted((shared_data / "models").rglob("*.safetensors")) if "-of-" not in p.name]
    assert len(paths) >= 17
    for path in paths:
        expected = safetensors.load_file(path)
        got = {name: rest for name, *rest in dump(path)["tensors"]}
        assert sorted(got) == sorted(expected)
        for name, tensor in expected.items():
            dtype, shape, digest = got[name]
            assert (dtype, shape) == (TORCH_NAMES[str(tensor.dtype)], list(tensor.shape))
            data = tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            if len(data) <= 1 << 14:
                assert digest == fnv1a(data), name


def test_sharded_equals_whole(dump, shared_data):
    folder = pathlib.Path(shared_data) / "models" / "hf-oracle"
    whole = dump(folder / "tiny_llama.safetensors")
    sharded = dump(folder / "tiny_llama.safetensors.index.json")
    assert sorted(map(str, whole["tensors"])) == sorted(map(str, sharded["tensors"]))
    assert whole["config"] == sharded["config"]
