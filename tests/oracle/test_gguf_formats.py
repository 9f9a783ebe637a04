"""Every block format of GGUF, from the file to the logits: the same network with its weights decoded by
the `gguf` package. With f32 activations the logits must be equal in every bit, for one token and for
tiles of them: the weights are, and so is the order of additions."""
import json
import subprocess

import numpy as np
import pytest

from test_hf_oracle import backends, run_logits

gguf = pytest.importorskip("gguf")

FORMATS = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl",
           "iq4_xs", "tq1_0", "tq2_0", "mxfp4"]


def decoded_copy(source, target):
    """The GGUF file with its matrices as f32."""
    reader = gguf.GGUFReader(str(source))
    writer = gguf.GGUFWriter(str(target), "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub_type)
    kinds = set()
    for tensor in reader.tensors:
        kinds.add(tensor.tensor_type.name.lower())
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.reshape([int(n) for n in reversed(tensor.shape)]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kinds


@pytest.mark.parametrize("name", FORMATS)
def test_same_network(build_dir, rill, tmp_path, name):
    packed, plain = tmp_path / "packed.gguf", tmp_path / "plain.gguf"
    done = subprocess.run([rill, "bench", "--synthetic", f"llama-tiny:{name}", "--write-gguf", str(packed)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert name in decoded_copy(packed, plain), "the file has the format"
    ids = tmp_path / "ids.json"
    rng = np.random.default_rng(7)
    ids.write_text(json.dumps([rng.integers(3, 500, n).tolist() for n in (41, 9)]))
    for backend in backends(build_dir):
        args = (ids, tmp_path / "out.npy", "--backend", backend)
        want = run_logits(build_dir, plain, *args)
        assert want.max() - want.min() > 0.1
        for chunk in ("512", "1"):
            got = run_logits(build_dir, packed, *args, "--chunk", chunk)
            assert np.array_equal(got, want), (backend, chunk)
