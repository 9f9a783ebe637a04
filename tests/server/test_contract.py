"""The contract of the OpenAI endpoints, from outside, over httpx."""
import json
import math
import threading
import time

import pytest

from harness import Server, stream

MESSAGES = [{"role": "user", "content": "Once upon a time"}]
GREEDY = {"model": "tiny", "temperature": 0}


def chat(server, **extra):
    response = server.post("/v1/chat/completions",
                           {**GREEDY, "messages": MESSAGES, "max_tokens": 16, **extra})
    assert response.status_code == 200, response.text
    return response.json()


def complete(server, prompt="Once upon a time", **extra):
    response = server.post("/v1/completions", {**GREEDY, "prompt": prompt, **extra})
    assert response.status_code == 200, response.text
    return response.json()


def refused(server, path, body, status=400, code=None, param=None):
    response = server.post(path, body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/json")
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    if code:
        assert error["code"] == code
    if param:
        assert error["param"] == param
    return error


def refused_get(server, path):
    response = server.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_models(tiny):
    listed = tiny.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [m["id"] for m in listed["data"]] == ["tiny", "gpt-tiny"]
    for model in listed["data"]:
        assert model["object"] == "model" and model["owned_by"] and model["created"] > 0
        assert model["max_model_len"] > 0 and model["root"] == "tiny" and model["parent"] is None
    assert tiny.get("/v1/models/gpt-tiny").json()["id"] == "gpt-tiny"
    assert tiny.get("/v1/models/").json() == listed  # a trailing slash is tolerated
    missing = tiny.get("/v1/models/none/such")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"


def test_health_routes(tiny):
    for path in ("/health", "/live", "/ready", "/health/ready"):
        assert tiny.get(path).status_code == 200, path
    assert tiny.get("/version").json()["version"]
    assert tiny.get("/load").json() == {"server_load": 0}
    assert tiny.get("/is_sleeping").json() == {"is_sleeping": False}


def test_chat_whole(tiny):
    body = chat(tiny)
    assert body["object"] == "chat.completion" and body["id"].startswith("chatcmpl-")
    assert body["model"] == "tiny" and body["system_fingerprint"].startswith("fp_")
    choice, = body["choices"]
    assert choice["index"] == 0 and choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] and choice["finish_reason"] == "length"
    assert choice["logprobs"] is None
    usage = body["usage"]
    assert usage["completion_tokens"] == 16
    assert usage["total_tokens"] == usage["prompt_tokens"] + 16
    assert usage["prompt_tokens_details"]["cached_tokens"] >= 0
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0


def test_headers(tiny):
    response = tiny.post("/v1/completions", {**GREEDY, "prompt": "a", "max_tokens": 1},
                         headers={"x-request-id": "my-request-1"})
    assert response.headers["x-request-id"] == "my-request-1"
    assert float(response.headers["openai-processing-ms"]) >= 0
    own = tiny.post("/v1/completions", {**GREEDY, "prompt": "a", "max_tokens": 1})
    assert own.headers["x-request-id"] and own.headers["x-request-id"] != "my-request-1"


def test_chat_stream_equals_whole(tiny):
    whole = chat(tiny, max_tokens=24)
    events = stream(tiny, "/v1/chat/completions",
                    {**GREEDY, "messages": MESSAGES, "max_tokens": 24,
                     "stream_options": {"include_usage": True}})
    assert events.pop() == "[DONE]"
    totals = events.pop()
    assert totals["choices"] == []
    expected, got = dict(whole["usage"]), dict(totals["usage"])
    expected.pop("prompt_tokens_details"), got.pop("prompt_tokens_details")
    assert got == expected
    assert all(e["usage"] is None for e in events)
    assert len({(e["id"], e["created"], e["model"], e["object"]) for e in events}) == 1
    assert events[0]["object"] == "chat.completion.chunk"
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all("role" not in e["choices"][0]["delta"] for e in events[1:])
    assert events[-1]["choices"][0]["delta"] == {}
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert all(e["choices"][0]["finish_reason"] is None for e in events[:-1])
    text = "".join(e["choices"][0]["delta"].get("content") or "" for e in events)
    assert text == whole["choices"][0]["message"]["content"]


def test_stream_without_usage_option_has_none(tiny):
    events = stream(tiny, "/v1/completions", {**GREEDY, "prompt": "a", "max_tokens": 3})
    assert events[-1] == "[DONE]"
    assert all("usage" not in e for e in events[:-1])


def test_continuous_usage(tiny):
    events = stream(tiny, "/v1/completions",
                    {**GREEDY, "prompt": "Once upon", "max_tokens": 5, "ignore_eos": True,
                     "stream_options": {"include_usage": True, "continuous_usage_stats": True}})
    counts = [e["usage"]["completion_tokens"] for e in events[:-1]]
    assert counts == sorted(counts) and counts[0] == 1 and counts[-1] == 5


def test_continuous_usage_needs_include_usage(tiny):
    for options in {"continuous_usage_stats": True}, \
            {"continuous_usage_stats": True, "include_usage": False}:
        for path, prompt in ("/v1/completions", {"prompt": "a"}), \
                ("/v1/chat/completions", {"messages": MESSAGES}):
            events = stream(tiny, path, {**GREEDY, **prompt, "max_tokens": 3,
                                         "stream_options": options})
            assert events.pop() == "[DONE]"
            assert all("usage" not in e and e["choices"] for e in events)


def test_text_of_an_event_is_in_its_first_16_kib(tiny):
    """vllm bench serve strips each piece that it receives: a space at its end would be lost."""
    request = {**GREEDY, "max_tokens": 2, "ignore_eos": True, "echo": True, "return_token_ids": True}
    pad = "\u00e9 \U0001F389 \x01 \" \\ hello"
    for prompt, count in ("\x01" * 1900, 4), ([5] * 1900, 4), (pad * 60, 3), ("a", 3):
        whole = tiny.post("/v1/completions", {**request, "prompt": prompt}).json()["choices"][0]
        events = stream(tiny, "/v1/completions", {**request, "prompt": prompt})
        assert events.pop() == "[DONE]"
        choices = [e["choices"][0] for e in events]
        assert "".join(c["text"] for c in choices) == whole["text"]
        assert choices[0]["prompt_token_ids"] == whole["prompt_token_ids"]
        assert all("prompt_token_ids" not in c for c in choices[1:])
        assert [i for c in choices for i in c.get("token_ids", [])] == whole["token_ids"]
        sizes = [len(json.dumps(c["text"], ensure_ascii=False).encode()) for c in choices]
        assert max(sizes) <= 8192
        assert len(choices) == count  # two tokens, their end, and what an echo has beyond


def test_completion_stream_equals_whole(tiny):
    whole = complete(tiny, max_tokens=40)
    events = stream(tiny, "/v1/completions",
                    {**GREEDY, "prompt": "Once upon a time", "max_tokens": 40})
    text = "".join(e["choices"][0]["text"] for e in events[:-1])
    assert text == whole["choices"][0]["text"]
    assert events[0]["object"] == "text_completion"


def test_prompt_forms_agree(tiny):
    text = complete(tiny, "Once upon a time", max_tokens=12)["choices"][0]["text"]
    ids = tiny.post("/tokenize", {"model": "tiny", "prompt": "Once upon a time"}).json()["tokens"]
    assert complete(tiny, ids, max_tokens=12)["choices"][0]["text"] == text
    batch = complete(tiny, ["The dog", "Once upon a time"], max_tokens=12)
    assert [c["index"] for c in batch["choices"]] == [0, 1]
    assert batch["choices"][1]["text"] == text
    batch = complete(tiny, [ids, ids], max_tokens=12)
    assert [c["text"] for c in batch["choices"]] == [text, text]
    assert batch["usage"]["prompt_tokens"] == 2 * len(ids)
    assert batch["usage"]["completion_tokens"] == 24


def test_large_batch_streams_every_choice(tiny):
    prompts = [f"Story number {i}" for i in range(200)]  # more than the window of one request
    events = stream(tiny, "/v1/completions", {**GREEDY, "prompt": prompts, "max_tokens": 3,
                                              "ignore_eos": True})
    ends = [e["choices"][0] for e in events[:-1] if e["choices"][0]["finish_reason"]]
    assert sorted(c["index"] for c in ends) == list(range(200))


def test_n_choices_are_different_and_reproducible(tiny):
    def texts(**extra):
        body = chat(tiny, n=3, temperature=1.0, seed=7, max_tokens=20, **extra)
        assert [c["index"] for c in body["choices"]] == [0, 1, 2]
        return [c["message"]["content"] for c in body["choices"]]
    first = texts()
    assert len(set(first)) > 1
    assert texts() == first
    events = stream(tiny, "/v1/chat/completions",
                    {"model": "tiny", "messages": MESSAGES, "n": 3, "temperature": 1.0, "seed": 7,
                     "max_tokens": 20})
    streamed = ["", "", ""]
    for event in events[:-1]:
        choice = event["choices"][0]
        streamed[choice["index"]] += choice["delta"].get("content") or ""
    assert streamed == first


def test_negative_seed_is_reproducible(tiny):
    texts = {complete(tiny, temperature=1.0, seed=-2**63, max_tokens=12)["choices"][0]["text"]
             for _ in range(2)}
    assert len(texts) == 1


def test_best_of_is_the_likeliest(tiny):
    body = complete(tiny, best_of=6, n=2, temperature=1.0, seed=3, max_tokens=8, logprobs=0,
                    ignore_eos=True)
    every = complete(tiny, n=6, temperature=1.0, seed=3, max_tokens=8, logprobs=0,
                     ignore_eos=True)

    def score(choice):
        values = choice["logprobs"]["token_logprobs"]
        return sum(values) / len(values)
    ranked = sorted(every["choices"], key=score, reverse=True)
    assert [c["text"] for c in body["choices"]] == [c["text"] for c in ranked[:2]]
    assert body["usage"]["completion_tokens"] == 48


def test_chat_logprobs(tiny):
    content = chat(tiny, logprobs=True, top_logprobs=3)["choices"][0]["logprobs"]["content"]
    assert len(content) == 16
    for entry in content:
        assert len(entry["top_logprobs"]) == 3
        best = entry["top_logprobs"][0]
        # Greedy: the chosen token is the likeliest, with the same value.
        assert (best["token"], best["logprob"]) == (entry["token"], entry["logprob"])
        assert bytes(entry["bytes"]).decode(errors="replace") == entry["token"] or \
            entry["token"].startswith("bytes:")
        assert -9999 <= entry["logprob"] <= 0
    events = stream(tiny, "/v1/chat/completions",
                    {**GREEDY, "messages": MESSAGES, "max_tokens": 16, "logprobs": True,
                     "top_logprobs": 3})
    streamed = [entry for e in events[:-1] if e["choices"][0]["logprobs"]
                for entry in e["choices"][0]["logprobs"]["content"]]
    assert streamed == content


def test_legacy_logprobs(tiny):
    choice = complete(tiny, max_tokens=8, logprobs=2)["choices"][0]
    logprobs = choice["logprobs"]
    assert set(logprobs) == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
    assert len(logprobs["tokens"]) == 8
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert logprobs["text_offset"][0] == 0
    for value, top in zip(logprobs["token_logprobs"], logprobs["top_logprobs"]):
        assert value == max(top.values())


def test_stop_strings(tiny):
    whole = complete(tiny, max_tokens=40)["choices"][0]["text"]
    word = whole.split()[5]
    body = complete(tiny, max_tokens=40, stop=[word, "no such text"])
    assert body["choices"][0]["text"] == whole[:whole.index(word)]
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["choices"][0]["stop_reason"] == word
    kept = complete(tiny, max_tokens=40, stop=word, include_stop_str_in_output=True)
    assert kept["choices"][0]["text"] == whole[:whole.index(word)] + word
    events = stream(tiny, "/v1/completions",
                    {**GREEDY, "prompt": "Once upon a time", "max_tokens": 40, "stop": word})
    text = "".join(e["choices"][0]["text"] for e in events[:-1])
    assert text == body["choices"][0]["text"]
    # Not before min_tokens.
    later = complete(tiny, max_tokens=40, stop=word, min_tokens=40)
    assert later["choices"][0]["text"] == whole
    # The same count each time: tokens computed after the match are not told.
    counts = {complete(tiny, max_tokens=40, stop=word)["usage"]["completion_tokens"]
              for _ in range(5)}
    assert len(counts) == 1


def test_one_event_for_each_token(tiny):
    """Clients count tokens and time them by events, also of those whose text is held back."""
    whole = complete(tiny, max_tokens=40)["choices"][0]["text"]
    starts = [word + "\x00" for word in whole.split()]  # each begins a stop string, none ends it
    request = {**GREEDY, "max_tokens": 40, "stop": starts[:16], "return_token_ids": True,
               "stream_options": {"include_usage": True}}
    for path, prompt, text_of in (
            ("/v1/completions", {"prompt": "Once upon a time"}, lambda c: c["text"]),
            ("/v1/chat/completions", {"messages": MESSAGES}, lambda c: c["delta"]["content"])):
        events = stream(tiny, path, {**request, **prompt})
        assert events.pop() == "[DONE]"
        usage = events.pop()["usage"]
        end = events.pop()["choices"][0]
        assert end["finish_reason"] in ("length", "stop")
        assert len(events) == usage["completion_tokens"], path
        assert all(len(e["choices"][0]["token_ids"]) == 1 for e in events)
        texts = [text_of(e["choices"][0]) for e in events]
        if path == "/v1/completions":
            assert "" in texts and "".join(texts) == whole


def test_large_stop_strings(tiny):
    """Threat C7: 16 stop strings of 10 KB."""
    stops = [chr(97 + i) * 10_000 for i in range(16)]
    whole = complete(tiny, max_tokens=20)["choices"][0]["text"]
    assert complete(tiny, max_tokens=20, stop=stops)["choices"][0]["text"] == whole


def test_stop_token_ids_and_ignore_eos(tiny):
    body = complete(tiny, max_tokens=10, return_token_ids=True)
    ids = body["choices"][0]["token_ids"]
    assert len(ids) == 10 and body["choices"][0]["prompt_token_ids"][0] == 1
    stopped = complete(tiny, max_tokens=10, stop_token_ids=[ids[4]], return_token_ids=True)
    assert stopped["choices"][0]["finish_reason"] == "stop"
    first = ids.index(ids[4])
    assert stopped["choices"][0]["token_ids"] == ids[:first + 1]
    assert stopped["choices"][0]["stop_reason"] == ids[4]
    long = complete(tiny, max_tokens=300, ignore_eos=True)
    assert long["usage"]["completion_tokens"] == 300


def test_stop_token_ids_are_told_and_kept_as_in_vllm(tiny):
    """stop_reason is the id, unless it is the tokenizer's end; with
    include_stop_str_in_output the token's text is there, but not a control token's."""
    ids = complete(tiny, max_tokens=10, return_token_ids=True)["choices"][0]["token_ids"]
    request = {"max_tokens": 10, "stop_token_ids": [ids[4]], "include_stop_str_in_output": True}
    count = ids.index(ids[4]) + 1
    text = complete(tiny, max_tokens=count)["choices"][0]["text"]
    choice = complete(tiny, **request)["choices"][0]
    assert (choice["text"], choice["stop_reason"]) == (text, ids[4])
    without = complete(tiny, **{**request, "include_stop_str_in_output": False})["choices"][0]
    assert without["text"] == complete(tiny, max_tokens=count - 1)["choices"][0]["text"] != text
    events = stream(tiny, "/v1/completions",
                    {**GREEDY, "prompt": "Once upon a time", **request})[:-1]
    assert "".join(e["choices"][0]["text"] for e in events) == text
    assert events[-1]["choices"][0]["stop_reason"] == ids[4]
    # A stop string that the token completes goes before it.
    both = complete(tiny, **request, stop=[text[-2:]])["choices"][0]
    assert (both["text"], both["stop_reason"]) == (text, text[-2:])
    end = {"max_tokens": 3, "logit_bias": {"2": 100}, "include_stop_str_in_output": True}
    for more, reason in ({}, None), ({"stop_token_ids": [2]}, None), \
            ({"stop_token_ids": [2], "ignore_eos": True}, 2):
        choice = complete(tiny, **end, **more)["choices"][0]
        assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (
            "", "stop", reason), more
    shown = complete(tiny, **end, skip_special_tokens=False)["choices"][0]
    assert (shown["text"], shown["stop_reason"]) == ("</s>", None)


def test_logit_bias_forces_a_token(tiny):
    body = complete(tiny, max_tokens=4, logit_bias={"300": 100}, return_token_ids=True,
                    ignore_eos=True)
    assert body["choices"][0]["token_ids"] == [300] * 4


def test_sampling_extensions_reach_the_sampler(tiny):
    greedy = complete(tiny, max_tokens=20)["choices"][0]["text"]
    for extension in ({"top_k": 1}, {"min_p": 1.0}, {"top_p": 0}):
        body = complete(tiny, max_tokens=20, temperature=1.5, seed=1, **extension)
        assert body["choices"][0]["text"] == greedy, extension
    changed = complete(tiny, max_tokens=40, repetition_penalty=1.8)["choices"][0]["text"]
    assert changed != complete(tiny, max_tokens=40)["choices"][0]["text"]
    for harmless in ({"priority": -5}, {"cache_salt": "s"}, {"user": "u"}, {"metadata": {"a": "b"}},
                     {"skip_special_tokens": False}):
        assert complete(tiny, max_tokens=20, **harmless)["choices"][0]["text"] == greedy, harmless


def test_echo(tiny):
    plain = complete(tiny, max_tokens=6)["choices"][0]["text"]
    echoed = complete(tiny, max_tokens=6, echo=True)["choices"][0]["text"]
    assert echoed == "Once upon a time" + plain
    alone = complete(tiny, max_tokens=0, echo=True)
    assert alone["choices"][0]["text"] == "Once upon a time"
    assert alone["usage"]["completion_tokens"] == 0
    limit = tiny.get("/v1/models").json()["data"][0]["max_model_len"]
    whole = complete(tiny, [1] * limit, max_tokens=0, echo=True, logprobs=0)
    assert len(whole["choices"][0]["logprobs"]["token_logprobs"]) == limit
    refused(tiny, "/v1/completions", {"model": "tiny", "prompt": [1] * (limit + 1), "echo": True,
                                      "max_tokens": 0}, code="context_length_exceeded")
    events = stream(tiny, "/v1/completions", {**GREEDY, "prompt": "Once upon a time",
                                              "max_tokens": 6, "echo": True})
    assert "".join(e["choices"][0]["text"] for e in events[:-1]) == echoed


def test_echo_with_logprobs_scores_as_lm_eval_does(tiny):
    """prompt + 1 entries; the values of one token are equal, whichever way they were asked for."""
    ids = tiny.post("/tokenize", {"model": "tiny", "prompt": "Once upon a time there was"}
                    ).json()["tokens"]
    body = complete(tiny, [ids, ids[:4]], max_tokens=1, logprobs=1, echo=True, seed=1234)
    for choice, prompt in zip(body["choices"], (ids, ids[:4])):
        logprobs = choice["logprobs"]
        assert len(logprobs["tokens"]) == len(prompt) + 1
        assert len(logprobs["token_logprobs"]) == len(prompt) + 1
        assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
        assert all(isinstance(v, float) for v in logprobs["token_logprobs"][1:])
    # The same context gives the same bits, short or long.
    assert body["choices"][1]["logprobs"]["token_logprobs"][:4] == \
        body["choices"][0]["logprobs"]["token_logprobs"][:4]
    # A greedy continuation, scored: each token is the maximum of its alternatives, with the value
    # that it had when it was generated.
    made = complete(tiny, ids, max_tokens=8, logprobs=1, return_token_ids=True)["choices"][0]
    scored = complete(tiny, ids + made["token_ids"], max_tokens=1, logprobs=1,
                      echo=True)["choices"][0]["logprobs"]
    for i, value in enumerate(made["logprobs"]["token_logprobs"]):
        at = len(ids) + i
        assert scored["token_logprobs"][at] == value
        assert value == max(scored["top_logprobs"][at].values())


def test_prompt_logprobs(tiny):
    choice = complete(tiny, max_tokens=1, prompt_logprobs=2, return_token_ids=True)["choices"][0]
    entries, ids = choice["prompt_logprobs"], choice["prompt_token_ids"]
    assert len(entries) == len(ids) and entries[0] is None
    for entry, token in zip(entries[1:], ids[1:]):
        assert str(token) in entry and 2 <= len(entry) <= 3
        for value in entry.values():
            assert set(value) == {"logprob", "rank", "decoded_token"}
    body = chat(tiny, max_tokens=1, prompt_logprobs=0)
    assert body["prompt_logprobs"][0] is None and len(body["prompt_logprobs"]) > 1


def test_chat_template_arguments(tiny):
    def prompt_tokens(**extra):
        return chat(tiny, max_tokens=1, **extra)["usage"]["prompt_tokens"]
    base = prompt_tokens()
    assert prompt_tokens(add_generation_prompt=False) < base
    assert prompt_tokens(chat_template_kwargs={"enable_thinking": True}) > base
    assert prompt_tokens(chat_template_kwargs={"not_in_this_template": True}) == base
    refused(tiny, "/v1/chat/completions",
            {**GREEDY, "messages": MESSAGES, "chat_template": "{{ 1 }}"}, param="chat_template")


def test_continue_final_message(tiny):
    messages = [{"role": "user", "content": "Tell"}, {"role": "assistant", "content": "Once upon"}]
    body = chat(tiny, messages=messages, continue_final_message=True, add_generation_prompt=False)
    # The rendered text ends with the message: the same as completing it.
    text = complete(tiny, "user: Tell\nassistant: Once upon", max_tokens=16)["choices"][0]["text"]
    assert body["choices"][0]["message"]["content"] == text
    refused(tiny, "/v1/chat/completions",
            {**GREEDY, "messages": messages, "continue_final_message": True,
             "add_generation_prompt": True}, param="continue_final_message")


def test_control_tokens_in_user_text_stay_text(tiny):
    """Threat C6: "</s>" from a user is no end of text."""
    plain = chat(tiny, messages=[{"role": "user", "content": "a"}], max_tokens=1)
    with_eos = chat(tiny, messages=[{"role": "user", "content": "a</s>"}], max_tokens=1)
    added = with_eos["usage"]["prompt_tokens"] - plain["usage"]["prompt_tokens"]
    assert added > 1  # '<', '/', 's', '>': not one control token
    kwarg = chat(tiny, max_tokens=1, chat_template_kwargs={"enable_thinking": "</s>"})
    assert kwarg["usage"]["prompt_tokens"] > 0


def test_tokenizer_routes(tiny):
    made = tiny.post("/tokenize", {"model": "tiny", "prompt": "Once upon a time",
                                   "return_token_strs": True}).json()
    assert made["count"] == len(made["tokens"]) == len(made["token_strs"])
    assert made["max_model_len"] > 0
    back = tiny.post("/detokenize", {"model": "tiny", "tokens": made["tokens"]}).json()
    assert "Once upon a time" in back["prompt"]
    bare = tiny.post("/tokenize", {"model": "tiny", "prompt": "Once", "add_special_tokens": False})
    assert bare.json()["tokens"][0] != made["tokens"][0]
    assert tiny.post("/tokenize", {"model": "tiny", "messages": MESSAGES}).json()["count"] > 5
    info = tiny.get("/tokenizer_info").json()
    assert info["eos_token"] == "</s>" and info["bos_token"] == "<s>" and info["chat_template"]
    refused(tiny, "/tokenize", {"model": "tiny"}, param="prompt")
    refused(tiny, "/detokenize", {"model": "tiny", "tokens": [-1]}, param="tokens")
    refused(tiny, "/detokenize", {"model": "tiny", "tokens": "x"}, param="tokens")


def test_tokenizer_info_is_opt_in(rill, stories):
    with Server(rill, "m=" + stories) as server:
        error = refused_get(server, "/tokenizer_info")
        assert error["code"] == "not_found" and error["type"] == "invalid_request_error"
        assert "/tokenizer_info" not in server.get("/openapi.json").json()["paths"]
        assert server.post("/tokenize", {"model": "m", "prompt": "Once"}).status_code == 200


def test_errors_before_the_first_byte_are_http_errors(tiny):
    refused(tiny, "/v1/chat/completions", {"model": "none", "messages": MESSAGES}, status=404,
            code="model_not_found", param="model")
    refused(tiny, "/v1/completions", {"model": "tiny", "prompt": "a", "stream": True,
                                      "temperature": 3}, param="temperature")
    limit = tiny.get("/v1/models").json()["data"][0]["max_model_len"]
    for path, prompt in (("/v1/completions", {"prompt": "word " * 3 * limit}),
                         ("/v1/completions", {"prompt": [1] * limit}),
                         ("/v1/completions", {"prompt": "a", "max_tokens": 10**9}),
                         ("/v1/completions", {"prompt": "a" * (17 * limit)}),
                         ("/v1/chat/completions",
                          {"messages": [{"role": "user", "content": "word " * 3 * limit}]}),
                         ("/v1/completions", {"prompt": "a", "max_tokens": 10**9,
                                              "stream": True})):
        error = refused(tiny, path, {"model": "tiny", **prompt}, code="context_length_exceeded")
        assert "maximum context length" in error["message"]
    assert tiny.post("/v1/embeddings", {}).status_code == 404
    assert tiny.get("/v1/chat/completions").status_code == 405


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b"\"x\"", b"null", b"{", b"{\"a\":1,}",
                                  b"{\"a\":NaN}", b"\xff\xfe", b"{\"model\":\"\xff\"}",
                                  b"{\"model\":\"tiny\",\"model\":\"tiny\"}",
                                  b"{\"a\":" + b"[" * 200 + b"]" * 200 + b"}"])
def test_bodies_that_are_no_json_object(tiny, body):
    import httpx
    response = httpx.post(tiny.url + "/v1/completions", content=body,
                          headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_wrong_content_type(tiny):
    import httpx
    response = httpx.post(tiny.url + "/v1/completions", content=b"{}",
                          headers={"content-type": "text/plain"})
    assert response.status_code == 400
    assert "Content-Type" in response.json()["error"]["message"]


def test_empty_prompts_and_ends_at_token_zero(tiny):
    """Threat C12."""
    assert complete(tiny, "", max_tokens=1)["usage"]["prompt_tokens"] == 1  # BOS
    assert complete(tiny, "", max_tokens=0, echo=True)["choices"][0]["text"] == ""
    refused(tiny, "/v1/chat/completions", {"model": "tiny", "messages": []}, param="messages")
    first = complete(tiny, max_tokens=1, return_token_ids=True)["choices"][0]["token_ids"][0]
    stopped = complete(tiny, max_tokens=9, stop_token_ids=[first])
    assert stopped["choices"][0]["text"] == ""
    assert stopped["choices"][0]["finish_reason"] == "stop"
    events = stream(tiny, "/v1/chat/completions",
                    {**GREEDY, "messages": [{"role": "user", "content": ""}], "max_tokens": 1})
    assert events[-1] == "[DONE]" and events[0]["choices"][0]["delta"]["role"] == "assistant"


def test_duplicate_request_id_is_refused(tiny):
    """Threat C10: the second of two at once; the first goes on."""
    headers = {"x-request-id": "twice"}
    work = {**GREEDY, "prompt": ["a"] * 64, "n": 2, "max_tokens": 400, "ignore_eos": True}
    # Whole, not streamed: reading 50,000 events would keep this process from asking in time. A few
    # tries: on a busy machine the tiny model may still be done before the second one is sent.
    for _ in range(5):
        answers = []
        first = threading.Thread(
            target=lambda: answers.append(tiny.post("/v1/completions", work, headers=headers)))
        first.start()
        deadline = time.monotonic() + 30
        while first.is_alive() and not tiny.metric("rill_requests_running"):
            assert time.monotonic() < deadline
        second = tiny.post("/v1/completions", {**GREEDY, "prompt": "a", "max_tokens": 1},
                           headers=headers)
        first.join(60)
        assert answers and answers[0].status_code == 200, answers
        assert len(answers[0].json()["choices"]) == 128
        if second.status_code == 400:
            break
    assert second.status_code == 400
    assert second.json()["error"]["code"] == "duplicate_request_id"
    again = tiny.post("/v1/completions", {**GREEDY, "prompt": "a", "max_tokens": 1},
                      headers=headers)
    assert again.status_code == 200


def test_a_request_id_is_free_when_its_answer_is_there(tiny):
    with tiny.client() as client:
        for more in ({}, {"stream": True}, {"max_tokens": 100_000}):
            codes = {client.post("/v1/completions", headers={"x-request-id": "again"},
                                 json={**GREEDY, "prompt": "a", "max_tokens": 1, **more}).text
                     for _ in range(100)}
            assert not [text for text in codes if "duplicate_request_id" in text]


def test_min_tokens_that_the_context_cannot_hold_are_blamed(tiny):
    answer = tiny.post("/v1/chat/completions", {**GREEDY, "min_tokens": 100_000, "messages": [
        {"role": "user", "content": "hi"}]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "min_tokens", answer.text


def test_json_test_suite_bodies(tiny, shared_data):
    """318 files as bodies: 400 each (none is a valid request), and the server lives."""
    import httpx
    folder = shared_data / "conformance" / "jsontestsuite"
    files = sorted(folder.glob("*.json"))
    assert len(files) > 250
    with httpx.Client(base_url=tiny.url, timeout=30) as client:
        for path in files:
            response = client.post("/v1/completions", content=path.read_bytes(),
                                   headers={"content-type": "application/json"})
            assert response.status_code == 400, path.name
            error = response.json()["error"]
            if path.name.startswith("n_"):
                assert error["code"] == "invalid_json", path.name
    assert tiny.alive()


def test_json_numbers_have_no_nan(tiny):
    body = chat(tiny, logprobs=True, top_logprobs=20, max_tokens=8,
                logit_bias={str(i): -100 for i in range(100, 300)})
    assert "NaN" not in json.dumps(body) and "Infinity" not in json.dumps(body)
    for entry in body["choices"][0]["logprobs"]["content"]:
        assert math.isfinite(entry["logprob"])
