"""stories260K, a trained model, against the greedy texts of llama2.c's run.c, in every container."""
import json
import subprocess

import numpy as np
import pytest

EXACT = ["--activations", "f32", "--kv-dtype", "f32"]
CONTAINERS = ["stories260K.gguf", "tinyllamas-stories-260k-f32.gguf", "stories260K.bin",
              "stories260K.llama2c-v1.bin"]


def run_json(*words):
    result = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False,
                            stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def cases(shared_data):
    path = shared_data / "models" / "reference-outputs" / "run_c_greedy.json"
    found = [case for case in json.loads(path.read_text())["cases"]
             if case["model"].startswith("stories260K/")]
    assert found
    return found


def test_greedy_texts_in_every_container(rill, shared_data, cases, tmp_path):
    """run.c prints `steps` tokens after BOS: the prompt, then the greedy continuation."""
    folder = shared_data / "models" / "stories260K"
    for case in cases:
        ids_of_prompt = run_json(rill, "tokenize", folder / CONTAINERS[0], case["prompt"],
                                 "--json")["ids"]
        count = case["steps"] + 1 - len(ids_of_prompt)
        outs = [run_json(rill, "run", folder / name, case["prompt"], "--raw", "--temperature", 0,
                         "-n", count, "--ignore-eos", "--json", *EXACT) for name in CONTAINERS[:2]]
        for out in outs:
            assert out["prompt_ids"] == ids_of_prompt
            assert (case["prompt"] + out["text"]).rstrip() == case["text"].rstrip()
        # The .bin files bring no tokenizer: the same ids must be their greedy choice at each step.
        ids = outs[0]["prompt_ids"] + outs[0]["output_ids"]
        (tmp_path / "ids.json").write_text(json.dumps(ids))
        for name in CONTAINERS:
            run_json(rill, "eval", "logits", folder / name, "--tokens", tmp_path / "ids.json",
                     "--out", tmp_path / "x.npy", "--json", *EXACT)
            choice = np.load(tmp_path / "x.npy").argmax(axis=1)
            assert choice[len(ids_of_prompt) - 1:-1].tolist() == outs[0]["output_ids"], name
