"""The server's own OpenAPI document: true of what it takes and of what it gives."""
import copy

import httpx
import pytest

jsonschema = pytest.importorskip("jsonschema")

BASES = {
    "/v1/chat/completions": {"model": "tiny", "max_tokens": 1,
                             "messages": [{"role": "user", "content": "Once"}]},
    "/v1/completions": {"model": "tiny", "max_tokens": 1, "prompt": "Once"},
    "/tokenize": {"model": "tiny", "prompt": "Once"},
    "/detokenize": {"model": "tiny", "tokens": [5, 9]},
}
VALUES = [True, False, 1.5, -7, 0, 3, 2.0**40, "", "x", "none", [], ["x"], ["x", 1], [1, 2], [-1], [[1]],
          [[]], {}, {"a": 1}, {"7": 1}, {"type": "text"}, {"type": "json_object"},
          [{"role": "user", "content": "a"}], [{"role": "boss", "content": "a"}],
          [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
          [{"role": "user", "content": [{"type": "image_url"}]}], [{"role": "user", "content": 7}],
          {"include_usage": True}, {"include_usage": 1}]

# What a schema cannot say: names of no model, and values that do not go together.
UNSAID = {"model", "max_tokens", "max_completion_tokens", "min_tokens", "top_logprobs", "stream_options",
          "logit_bias", "best_of"}


@pytest.fixture(scope="module")
def document(tiny):
    return tiny.get("/openapi.json").json()


def validator(document, schema):
    return jsonschema.Draft202012Validator({"components": document["components"], **schema})


def test_is_a_document(tiny, document):
    assert document["openapi"].startswith("3.1.")
    operations = [(path, method, operation) for path, item in document["paths"].items()
                  for method, operation in item.items()]
    assert len(operations) > 12
    for path, method, operation in operations:
        assert operation["summary"] and operation["responses"], path
        for response in operation["responses"].values():
            for kind, media in response["content"].items():
                if kind == "text/event-stream":
                    assert media == {}  # a schema here is taken for an event's
                else:
                    jsonschema.Draft202012Validator.check_schema(media["schema"])
        if "requestBody" in operation:
            schema, = [m["schema"] for m in operation["requestBody"]["content"].values()]
            jsonschema.Draft202012Validator.check_schema(schema)
        if "admin" in operation.get("tags", []):
            continue
        # Each of these answers, and as its schema says.
        if method == "get":
            response = tiny.get(path.replace("{id}", "tiny"))
            assert response.status_code == 200, path
            kind = response.headers["content-type"].split(";")[0]
            schema = operation["responses"]["200"]["content"][kind]["schema"]
            if kind == "application/json":
                validator(document, schema).validate(response.json())


@pytest.mark.parametrize("path", BASES)
def test_what_the_schema_refuses_is_refused(tiny, document, path):
    """And by the name of the field. What it allows never ends in a 5xx."""
    schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    check = jsonschema.Draft202012Validator(schema)
    properties = {}
    for one in schema.get("anyOf", [schema]):
        properties |= one["properties"]
    counts = {True: 0, False: 0}
    refused = set()  # though the schema allows it
    client = httpx.Client(base_url=tiny.url)  # one connection for all
    for field in properties:
        for value in VALUES:
            body = {**copy.deepcopy(BASES[path]), field: value}
            if field == "messages" and path == "/tokenize":
                del body["prompt"]
            allowed = check.is_valid(body)
            counts[allowed] += 1
            response = client.post(path, json=body)
            if allowed:
                assert response.status_code in (200, 400, 404), (field, value, response.text)
                if response.status_code != 200:
                    refused.add(field)
            else:
                assert response.status_code == 400, (field, value, response.text)
                param = response.json()["error"]["param"]
                assert param.split(".")[0].split("[")[0] == field, (field, value, response.text)
    assert refused <= UNSAID, refused - UNSAID
    assert counts[False] > 3 * len(properties), counts


def test_required_fields(tiny, document):
    for path, base in BASES.items():
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"][
            "schema"]
        for field in ("messages", "prompt", "tokens"):
            if field not in base:
                continue
            body = {key: value for key, value in base.items() if key != field}
            if path != "/tokenize":  # there one of two is enough, which the handler says
                assert not validator(document, schema).is_valid(body)
            response = tiny.post(path, body)
            assert response.status_code == 400 and field in response.json()["error"]["message"]


@pytest.mark.parametrize("path", BASES)
def test_answers(tiny, document, path):
    post = document["paths"][path]["post"]
    check = validator(document, post["responses"]["200"]["content"]["application/json"]["schema"])
    more = {"/v1/chat/completions": [{}, {"n": 2}, {"logprobs": True, "top_logprobs": 2}],
            "/v1/completions": [{}, {"logprobs": 2}, {"echo": True, "logprobs": 1},
                                {"prompt": [[5, 9], [7]]}, {"n": 2, "best_of": 3}],
            "/tokenize": [{}, {"return_token_strs": True}], "/detokenize": [{}]}[path]
    for extra in more:
        check.validate(tiny.post(path, {**BASES[path], **extra}).json())
    error = validator(document, {"$ref": "#/components/schemas/Error"})
    error.validate(tiny.post(path, {"model": 7}).json())
    error.validate(tiny.post(path, {**BASES[path], "model": "nobody"}).json())
    with pytest.raises(jsonschema.ValidationError):
        check.validate({})
