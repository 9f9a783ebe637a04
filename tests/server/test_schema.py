"""Responses against the published OpenAPI document of OpenAI."""
import copy
import functools
import json

import pytest

from harness import stream

jsonschema = pytest.importorskip("jsonschema")
MESSAGES = [{"role": "user", "content": "Once upon a time"}]


def to_json_schema(node):
    """OpenAPI 3.0's words for JSON Schema: nullable; $refs stay within the document."""
    if isinstance(node, list):
        return [to_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: to_json_schema(value) for key, value in node.items()
           if key not in ("discriminator", "example", "x-oaiMeta")}
    if out.pop("nullable", False):
        return {"anyOf": [out, {"type": "null"}]}
    return out


@pytest.fixture(scope="module")
def validate(shared_data):
    path = shared_data / "conformance" / "openai-openapi" / "openapi.json"
    document = to_json_schema(json.loads(path.read_text()))

    @functools.cache
    def validator(name):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        return jsonschema.Draft202012Validator(schema)

    def check(name, value):
        errors = sorted(validator(name).iter_errors(value), key=lambda e: e.path)
        assert not errors, (name, errors[0].message[:500], list(errors[0].path))
    return check


def chat_bodies():
    base = {"model": "tiny", "messages": MESSAGES, "max_tokens": 6}
    for extra in ({}, {"n": 3}, {"logprobs": True}, {"logprobs": True, "top_logprobs": 4},
                  {"temperature": 0, "stop": "a"}, {"seed": 5, "user": "u", "store": True},
                  {"max_completion_tokens": 2}, {"temperature": 0, "max_tokens": 400},
                  {"presence_penalty": 1, "frequency_penalty": 1}):
        yield {**base, **extra}


def completion_bodies():
    base = {"model": "tiny", "prompt": "Once", "max_tokens": 5}
    for extra in ({}, {"prompt": ["a", "b"]}, {"prompt": [1, 5, 9]}, {"prompt": [[1, 5], [1]]},
                  {"n": 2, "best_of": 3}, {"logprobs": 3}, {"echo": True},
                  {"stop": ["a", "e"]}, {"suffix": None, "user": "u"}):
        yield {**base, **extra}


def test_chat(tiny, validate):
    for body in chat_bodies():
        validate("CreateChatCompletionRequest", copy.deepcopy(body))
        whole = tiny.post("/v1/chat/completions", body)
        assert whole.status_code == 200, whole.text
        validate("CreateChatCompletionResponse", whole.json())
        for include in (False, True):
            more = {"stream_options": {"include_usage": True}} if include else {}
            for event in stream(tiny, "/v1/chat/completions", {**body, **more})[:-1]:
                validate("CreateChatCompletionStreamResponse", event)


def test_completions(tiny, validate):
    for body in completion_bodies():
        whole = tiny.post("/v1/completions", body)
        assert whole.status_code == 200, whole.text
        validate("CreateCompletionResponse", whole.json())
        if body.get("best_of"):
            continue
        for event in stream(tiny, "/v1/completions", body)[:-1]:
            # The schema wants finish_reason to be one of three words; a stream's chunks before
            # the last carry null, as OpenAI's own do.
            for choice in event["choices"]:
                choice["finish_reason"] = choice["finish_reason"] or "stop"
            validate("CreateCompletionResponse", event)


def test_models_and_errors(tiny, validate):
    validate("ListModelsResponse", tiny.get("/v1/models").json())
    validate("Model", tiny.get("/v1/models/tiny").json())
    for response in (tiny.get("/v1/models/x"), tiny.get("/v1/files"),
                     tiny.post("/v1/chat/completions", {"model": "tiny"}),
                     tiny.post("/v1/chat/completions", {"model": "x", "messages": MESSAGES}),
                     tiny.post("/v1/completions", {"model": "tiny", "prompt": "a", "n": 0}),
                     tiny.get("/v1/completions")):
        assert response.status_code >= 400
        validate("ErrorResponse", response.json())
