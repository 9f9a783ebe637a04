"""SmolLM2 through transformers: the oracle for tests of the real model.

Reads the same GGUF file that Rill reads. Results are cached by the file's size, time and the inputs,
because a forward of 2,000 tokens takes transformers longer than all of Rill's tests of it.
"""
import hashlib
import json
import os
import pathlib

import numpy as np

CACHE = pathlib.Path(os.environ.get("RILL_ORACLE_CACHE",
                                    pathlib.Path(__file__).resolve().parents[2] / "build" / "oracle"))

# Questions, instructions, code, other languages: 20 prompts of the greedy comparison.
PROMPTS = [
    "What is the capital of France?",
    "Why is the sky blue?",
    "Write a haiku about a river.",
    "List three prime numbers larger than ten.",
    "Explain photosynthesis to a child.",
    "Translate 'good morning' into Spanish.",
    "def fibonacci(n):",
    "What is 17 + 25?",
    "Name the planets of the solar system.",
    "Who wrote Romeo and Juliet?",
    "Give me a recipe for pancakes.",
    "What does HTTP stand for?",
    "Summarise: The cat sat on the mat and slept all day.",
    "Wie heißt die Hauptstadt von Deutschland?",
    "How many legs does a spider have?",
    "Write one sentence about the sea.",
    "What is the difference between a list and a tuple in Python?",
    "Tell me a joke.",
    "🙂 What does this emoji mean?",
    "Complete the sequence: 2, 4, 8, 16,",
]


class Oracle:
    """Loads the model only when something is not in the cache."""

    def __init__(self, gguf_path: str):
        self.path = pathlib.Path(gguf_path)
        stat = self.path.stat()
        self._key = f"{stat.st_size}-{int(stat.st_mtime)}"
        self._model = None
        self._tokenizer = None

    def tokenizer(self):
        if self._tokenizer is None:
            from tokenizers import pre_tokenizers
            from transformers import AutoTokenizer
            self._tokenizer = AutoTokenizer.from_pretrained(self.path.parent,
                                                            gguf_file=self.path.name)
            # The conversion from GGUF forgets that the model's tokenizer splits digits first.
            self._tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True),
                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
        return self._tokenizer

    def model(self):
        if self._model is None:
            import torch
            from transformers import AutoModelForCausalLM
            self._model = AutoModelForCausalLM.from_pretrained(
                self.path.parent, gguf_file=self.path.name, dtype=torch.float32).eval()
        return self._model

    def _cached(self, what: str, compute):
        CACHE.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(f"{self._key}:{what}".encode()).hexdigest()[:24]
        path = CACHE / f"{digest}.npy"
        if not path.exists():
            temporary = path.with_suffix(f".tmp{os.getpid()}.npy")
            np.save(temporary, compute())
            temporary.rename(path)
        return np.load(path, mmap_mode="r")

    def logits(self, ids: list[int]) -> np.ndarray:
        """[num_tokens, vocab_size] f32."""
        def compute():
            import torch
            with torch.no_grad():
                return self.model()(torch.tensor([ids])).logits[0].numpy()
        return self._cached(f"logits:{json.dumps(ids)}", compute)

    def greedy(self, ids: list[int], count: int) -> list[int]:
        """At most `count` ids, with the end token when it comes."""
        def compute():
            import torch
            with torch.no_grad():
                out = self.model().generate(torch.tensor([ids]), max_new_tokens=count,
                                            do_sample=False, num_beams=1,
                                            repetition_penalty=1.0, eos_token_id=2, pad_token_id=2)
            return out[0, len(ids):].numpy()
        return [int(i) for i in self._cached(f"greedy:{count}:{json.dumps(ids)}", compute)]

    def mean_nll(self, ids: list[int], window: int, stride: int, on_progress=None) -> tuple[float, int]:
        """Sliding windows as in transformers' documentation: (mean nll, tokens predicted)."""
        def compute():
            import torch
            total, count, predicted_to = 0.0, 0, 1
            with torch.no_grad():
                for begin in range(0, len(ids), stride):
                    if predicted_to >= len(ids):
                        break
                    end = min(begin + window, len(ids))
                    chunk = torch.tensor([ids[begin:end]])
                    first = max(predicted_to, begin + 1)
                    rows = self.model()(chunk).logits[0, first - 1 - begin:end - 1 - begin]
                    targets = torch.tensor(ids[first:end])
                    for at in range(0, len(rows), 128):
                        losses = torch.nn.functional.cross_entropy(
                            rows[at:at + 128].double(), targets[at:at + 128], reduction="sum")
                        total += float(losses)
                    count += end - first
                    predicted_to = end
                    if on_progress:
                        on_progress(end, len(ids))
            return np.array([total / count, count])
        digest = hashlib.sha256(json.dumps(ids).encode()).hexdigest()
        value = self._cached(f"nll:{window}:{stride}:{digest}", compute)
        return float(value[0]), int(value[1])
