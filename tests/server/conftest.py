"""Servers that several files of tests share."""
import os
import pathlib
import sys

import pytest

# LiteLLM would fetch its table of prices from the network.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness import CHAT_TEMPLATE, Server, copy_with_chat_template  # noqa: E402


@pytest.fixture(scope="session")
def tiny_chat(stories, tmp_path_factory) -> str:
    """stories260K with a chat template."""
    path = tmp_path_factory.mktemp("models") / "tiny-chat.gguf"
    copy_with_chat_template(stories, path, CHAT_TEMPLATE)
    return str(path)


@pytest.fixture(scope="session")
def tiny(rill, tiny_chat):
    """A server of the tiny model under two names."""
    with Server(rill, "tiny=" + tiny_chat, "--alias", "gpt-tiny", "--admin-port", "0",
                "--tokenizer-info") as server:
        yield server


@pytest.fixture(scope="session")
def smol(rill, smollm2):
    """A server of SmolLM2."""
    with Server(rill, "smollm2=" + smollm2, "--context", "2048", "--kv-memory", "512M",
                "--tokenizer-info") as server:
        yield server
