"""Real clients against the server, feature by feature.

The table in docs/server.md is made here: RILL_WRITE_MATRIX=1 writes it, otherwise the test of the
table fails when it is out of date. A client that is not installed is not in the table's run: its
column is only compared when it is.
"""
import asyncio
import importlib
import importlib.metadata
import os
import pathlib
import re

import pytest

DOC = pathlib.Path(__file__).resolve().parents[2] / "docs" / "server.md"
CLIENTS = ["httpx", "openai", "langchain-openai", "litellm", "instructor"]
RESULTS: dict[tuple[str, str], bool] = {}
MESSAGES = [{"role": "user", "content": "Once upon a time"}]


def feature(client: str, name: str):
    """Marks a test as one cell of the table; skips where the client is absent."""
    def wrap(function):
        def test(tiny):
            try:
                importlib.metadata.version(client)
            except importlib.metadata.PackageNotFoundError:
                pytest.skip(f"skipped: {client} is not installed")
            RESULTS[client, name] = False
            function(tiny)
            RESULTS[client, name] = True
        test.__name__ = function.__name__
        return test
    return wrap


def openai_client(server, **kwargs):
    import openai
    return openai.OpenAI(base_url=server.url + "/v1", api_key="unused", timeout=60, **kwargs)


@feature("httpx", "chat")
def test_httpx_chat(tiny):
    answer = tiny.post("/v1/chat/completions", {"model": "tiny", "messages": MESSAGES,
                                                "max_tokens": 3})
    assert answer.json()["choices"][0]["message"]["content"]


@feature("openai", "models")
def test_openai_models(tiny):
    client = openai_client(tiny)
    assert [m.id for m in client.models.list()] == ["tiny", "gpt-tiny"]
    assert client.models.retrieve("tiny").object == "model"


@feature("openai", "chat")
def test_openai_chat(tiny):
    answer = openai_client(tiny).chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=5, temperature=0, seed=1)
    assert answer.choices[0].message.content and answer.usage.completion_tokens == 5
    assert answer.system_fingerprint


@feature("openai", "chat stream")
def test_openai_chat_stream(tiny):
    client = openai_client(tiny)
    chunks = list(client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=5,
                                                 temperature=0, stream=True,
                                                 stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == 5 and chunks[-1].choices == []
    text = "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
    whole = client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=5,
                                           temperature=0)
    assert text == whole.choices[0].message.content


@feature("openai", "stream helper")
def test_openai_stream_helper(tiny):
    """The accumulator concatenates repeated fields: each must come once."""
    with openai_client(tiny).chat.completions.stream(
            model="tiny", messages=MESSAGES, n=2, logprobs=True, stop=["e", "a", "o", "."]) as events:
        for _ in events:
            pass
        final = events.get_final_completion()
    assert [c.message.role for c in final.choices] == ["assistant", "assistant"]
    assert all(c.finish_reason == "stop" and c.logprobs.content for c in final.choices)


@feature("openai", "logprobs")
def test_openai_logprobs(tiny):
    answer = openai_client(tiny).chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=4, logprobs=True, top_logprobs=2)
    assert len(answer.choices[0].logprobs.content) == 4


@feature("openai", "completions")
def test_openai_completions(tiny):
    answer = openai_client(tiny).completions.create(
        model="tiny", prompt=["Once", "The dog"], max_tokens=4, logprobs=1)
    assert len(answer.choices) == 2 and len(answer.choices[0].logprobs.token_logprobs) == 4


@feature("openai", "errors")
def test_openai_errors(tiny):
    import openai
    client = openai_client(tiny, max_retries=0)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="none", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=10**8)
    assert error.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=5)
    assert error.value.param == "temperature"


@feature("openai", "async cancel")
def test_openai_async_cancel(tiny):
    import openai

    async def run():
        async with openai.AsyncOpenAI(base_url=tiny.url + "/v1", api_key="x") as client:
            stream = await client.chat.completions.create(
                model="tiny", messages=MESSAGES, max_tokens=450, stream=True,
                extra_body={"ignore_eos": True})
            async for _ in stream:
                break
            await stream.close()
    asyncio.run(run())
    tiny.wait_idle(5)


@feature("openai", "vLLM extensions")
def test_openai_extra_body(tiny):
    answer = openai_client(tiny).completions.create(
        model="tiny", prompt="Once", max_tokens=20,
        extra_body={"ignore_eos": True, "top_k": 5, "min_p": 0.01, "repetition_penalty": 1.1,
                    "min_tokens": 2, "return_token_ids": True})
    assert len(answer.choices[0].model_extra["token_ids"]) == 20


def langchain(server, **kwargs):
    chat = importlib.import_module("langchain_openai").ChatOpenAI
    return chat(base_url=server.url + "/v1", api_key="x", model="tiny", max_tokens=6, **kwargs)


@feature("langchain-openai", "chat")
def test_langchain_chat(tiny):
    assert langchain(tiny).invoke("Once upon a time").content


@feature("langchain-openai", "chat stream")
def test_langchain_stream(tiny):
    chunks = list(langchain(tiny, stream_usage=True).stream("Once upon a time"))
    assert "".join(c.content for c in chunks)
    assert sum(c.usage_metadata["output_tokens"] for c in chunks if c.usage_metadata) == 6


@feature("litellm", "chat")
def test_litellm_chat(tiny):
    litellm = importlib.import_module("litellm")
    answer = litellm.completion(model="openai/tiny", api_base=tiny.url + "/v1", api_key="x",
                                messages=MESSAGES, max_tokens=4)
    assert answer.choices[0].message.content


@feature("litellm", "chat stream")
def test_litellm_stream(tiny):
    litellm = importlib.import_module("litellm")
    chunks = list(litellm.completion(model="openai/tiny", api_base=tiny.url + "/v1", api_key="x",
                                     messages=MESSAGES, max_tokens=4, stream=True))
    assert chunks[-1].choices[0].finish_reason in ("length", "stop")


@feature("litellm", "errors")
def test_litellm_errors(tiny):
    litellm = importlib.import_module("litellm")
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(model="openai/tiny", api_base=tiny.url + "/v1", api_key="x",
                           messages=MESSAGES, max_tokens=10**8)


def table(results) -> str:
    features = sorted({name for _, name in results},
                      key=[n for _, n in results].index)
    clients = [c for c in CLIENTS if any(client == c for client, _ in results)]
    lines = ["| feature | " + " | ".join(
        f"{c} {importlib.metadata.version(c)}" for c in clients) + " |",
        "|---" * (len(clients) + 1) + "|"]
    for name in features:
        cells = ["" if (c, name) not in results else ("yes" if results[c, name] else "**no**")
                 for c in clients]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def test_matrix_is_in_the_docs(tiny):
    """Runs last in this file. Every cell that was run is 'yes', and the table says so."""
    if not RESULTS or ("openai", "models") not in RESULTS:
        pytest.skip("skipped: the tests of the cells did not run")
    assert all(RESULTS.values()), RESULTS
    text = DOC.read_text()
    pattern = r"(<!-- clients -->\n).*?(\n<!-- /clients -->)"
    if os.environ.get("RILL_WRITE_MATRIX"):
        DOC.write_text(re.sub(pattern, lambda m: m[1] + table(RESULTS) + m[2], text, flags=re.S))
        return
    written = re.search(pattern, text, flags=re.S)[0]
    for (client, name), good in RESULTS.items():
        row = re.search(rf"^\| {re.escape(name)} \|.*$", written, flags=re.M)
        assert row and "yes" in row[0], (client, name)
        assert good and f"{client} " in written, (client, name)
