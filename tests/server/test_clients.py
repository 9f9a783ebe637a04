"""Real clients against the server, feature by feature.

The table in docs/server.md is made here: RILL_WRITE_MATRIX=1 writes it, otherwise the test of the
table fails when it is out of date. A client that is not installed is not in the table's run: its
column is only compared when it is.
"""
import asyncio
import functools
import importlib
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

DOC = pathlib.Path(__file__).resolve().parents[2] / "docs" / "server.md"
CLIENTS = ["httpx", "openai", "langchain-openai", "litellm", "llama-index-llms-openai-like",
           "instructor", "lm-eval", "guidellm", "schemathesis", "openai (npm)", "ai (npm)"]
NODE = pathlib.Path(__file__).parent / "node"
RESULTS: dict[tuple[str, str], bool] = {}
MESSAGES = [{"role": "user", "content": "Once upon a time"}]


def version_of(client: str) -> str:
    """Of the installed package; "" without it. npm's packages lie in $RILL_NODE_MODULES, or beside
    their tests."""
    if not client.endswith(" (npm)"):
        try:
            return importlib.metadata.version(client)
        except importlib.metadata.PackageNotFoundError:
            return ""
    modules = pathlib.Path(os.environ.get("RILL_NODE_MODULES", NODE / "node_modules"))
    package = modules / client.removesuffix(" (npm)") / "package.json"
    return json.loads(package.read_text())["version"] if package.exists() else ""


def feature(client: str, name: str):
    """Marks a test as one cell of the table; skips where the client is absent."""
    def wrap(function):
        def test(tiny):
            if not version_of(client):
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


def llama_index(server):
    like = importlib.import_module("llama_index.llms.openai_like").OpenAILike
    return like(model="tiny", api_base=server.url + "/v1", api_key="x", is_chat_model=True,
                max_tokens=6, context_window=512)


@feature("llama-index-llms-openai-like", "chat")
def test_llama_index_chat(tiny):
    message = importlib.import_module("llama_index.core.llms").ChatMessage
    answer = llama_index(tiny).chat([message(role="user", content="Once upon a time")])
    assert answer.message.content


@feature("llama-index-llms-openai-like", "chat stream")
def test_llama_index_stream(tiny):
    message = importlib.import_module("llama_index.core.llms").ChatMessage
    pieces = list(llama_index(tiny).stream_chat([message(role="user", content="Once")]))
    assert "".join(p.delta or "" for p in pieces) == pieces[-1].message.content


@feature("llama-index-llms-openai-like", "completions")
def test_llama_index_complete(tiny):
    client = llama_index(tiny)
    client.is_chat_model = False
    assert client.complete("Once upon a time").text


@feature("instructor", "chat")
def test_instructor_chat(tiny):
    client = importlib.import_module("instructor").from_openai(openai_client(tiny))
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=4,
                                            response_model=None)
    assert answer.choices[0].message.content


@feature("instructor", "errors")
def test_instructor_is_told_that_there_are_no_schemas(tiny):
    """Structured output is not there yet: a plain refusal, not a wrong answer."""
    instructor = importlib.import_module("instructor")
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str
    client = instructor.from_openai(openai_client(tiny, max_retries=0),
                                    mode=instructor.Mode.JSON_SCHEMA)
    with pytest.raises(Exception, match="unsupported_parameter"):
        client.chat.completions.create(model="tiny", messages=MESSAGES, response_model=Person,
                                       max_retries=1)


@feature("lm-eval", "logprobs")
def test_lm_eval_scores(tiny):
    """Its scores are those of the same tokens in any batch (test_lm_eval.py compares values)."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI
    pairs = [("Once upon a", " time"), ("Lily and Tom went to the", " park"), ("The", " dog")]

    def score(batch):
        client = LocalCompletionsAPI(model="tiny", base_url=tiny.url + "/v1/completions",
                                     tokenizer_backend="remote", num_concurrent=1,
                                     batch_size=batch, max_length=256)
        return client.loglikelihood([Instance("loglikelihood", {}, p, i)
                                     for i, p in enumerate(pairs)])
    assert score(1) == score(3)


@feature("lm-eval", "completions")
def test_lm_eval_generates(tiny):
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI
    client = LocalCompletionsAPI(model="tiny", base_url=tiny.url + "/v1/completions",
                                 tokenizer_backend="remote", num_concurrent=2, max_length=256)
    arguments = {"until": ["."], "max_gen_toks": 40, "do_sample": False}
    text, = client.generate_until([Instance("generate_until", {}, ("Once upon a time",
                                                                   arguments), 0)])
    assert text and "." not in text


@feature("guidellm", "chat stream")
def test_guidellm(tiny):
    """A load of its own: every request succeeds, and it counts the tokens that were asked for."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rill-guidellm-"))
    data = folder / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"Story {i}: once upon a time",
                                        "output_tokens_count": 12}) + "\n" for i in range(16)))
    tool = pathlib.Path(sys.executable).parent / "guidellm"
    done = subprocess.run(
        [tool, "run", "--backend", f"kind=openai_http,target={tiny.url},model=tiny", "--profile",
         "kind=concurrent,streams=4", "--constraint", "kind=max_requests,count=16", "--data",
         f"kind=json_file,path={data}", "--output", f"kind=json,path={folder}/report.json",
         "--disable-console"],
        capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    report, = folder.glob("*.json")
    totals = json.loads(report.read_text())["benchmarks"][0]["metrics"]["request_totals"]
    assert totals["successful"] == 16 and totals["errored"] == 0, totals


@feature("schemathesis", "published schema")
def test_schemathesis(tiny):
    """Thousands of generated requests, right and wrong: no 5xx, JSON always (campaign:
    RILL_SCHEMATHESIS_EXAMPLES)."""
    data = pathlib.Path(os.environ.get("RILL_SHARED_DATA", DOC.parents[2] / "shared" / "data"))
    document = data / "conformance" / "openai-openapi" / "openapi.json"
    if not document.exists():
        pytest.skip("skipped: no shared data")
    examples = os.environ.get("RILL_SCHEMATHESIS_EXAMPLES", "60")
    tool = pathlib.Path(sys.executable).parent / "schemathesis"
    done = subprocess.run(
        [tool, "run", str(document), "--url", tiny.url + "/v1", "--checks", "not_a_server_error",
         "--include-path", "/chat/completions", "--include-path", "/completions",
         "--include-path", "/models", "--include-path", "/models/{model}", "--exclude-method",
         "DELETE", "--max-examples", examples, "--phases", "fuzzing", "--mode", "all",
         "--request-timeout", "60", "--suppress-health-check", "all", "--seed", "1", "--no-color"],
        capture_output=True, text=True, timeout=1800, check=False)
    print(done.stdout[-1500:])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@feature("schemathesis", "own schema")
def test_schemathesis_own(tiny):
    """The same by /openapi.json, whose word on what is refused and how answers look is kept."""
    tool = pathlib.Path(sys.executable).parent / "schemathesis"
    done = subprocess.run(
        [tool, "run", tiny.url + "/openapi.json", "--url", tiny.url, "--checks",
         "not_a_server_error,status_code_conformance,content_type_conformance,"
         "response_schema_conformance,negative_data_rejection", "--exclude-path-regex", "admin|server_info",
         "--max-examples", os.environ.get("RILL_SCHEMATHESIS_EXAMPLES", "60"), "--phases",
         "fuzzing", "--mode", "all", "--request-timeout", "60", "--suppress-health-check", "all",
         "--seed", "1", "--no-color"],
        capture_output=True, text=True, timeout=1800, check=False)
    print(done.stdout[-1500:])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@functools.cache
def node_results(script, url):
    modules = pathlib.Path(os.environ.get("RILL_NODE_MODULES", NODE / "node_modules"))
    # ES modules are looked for beside the script.
    copy = modules.parent / script
    if copy != NODE / script:
        shutil.copyfile(NODE / script, copy)
    done = subprocess.run(["node", copy, url], capture_output=True, text=True, timeout=120,
                          check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def node_feature(client, script, name):
    @feature(client, name)
    def test(tiny):
        assert node_results(script, tiny.url)[name] == ""
        if name == "async cancel":
            tiny.wait_idle(5)
    return test


for client_, script_, names_ in (
        ("openai (npm)", "openai_client.mjs", ["models", "chat", "chat stream", "stream helper",
                                               "completions", "errors", "async cancel"]),
        ("ai (npm)", "ai_client.mjs", ["chat", "chat stream", "completions", "errors",
                                       "async cancel"])):
    for name_ in names_:
        globals()[f"test_{script_[:-4]}_{name_.replace(' ', '_')}"] = node_feature(client_, script_,
                                                                                  name_)


def table(results) -> str:
    features = sorted({name for _, name in results},
                      key=[n for _, n in results].index)
    clients = [c for c in CLIENTS if any(client == c for client, _ in results)]
    lines = ["| feature | " + " | ".join(
        f"{c} {version_of(c)}" for c in clients) + " |",
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
