"""text_offset of completions: an index into the answer's text."""
import pytest

from harness import stream

TEXTS = ["Once upon a time", "Once", " Once  upon", "naïve ☃ snow", "🎉 hi é x", "\n\nOnce", "a"]


def check(text, logprobs):
    """Each token that is a text stands at its offset; the first of a text may have lost its space."""
    tokens, offsets = logprobs["tokens"], logprobs["text_offset"]
    assert len(tokens) == len(offsets) and offsets == sorted(offsets)
    found = 0
    for i, (token, offset) in enumerate(zip(tokens, offsets)):
        assert 0 <= offset <= len(text)
        if token.startswith("bytes:"):
            continue
        after = offsets[i + 1] if i + 1 < len(offsets) else len(text)
        shown = text[offset:after]
        found += shown == token
        is_first = offset == 0 or text[:offset] == "<s>"
        assert shown == token or (is_first and shown in (token[1:], "")), (token, shown, text)
    assert found >= len(tokens) - 2 - sum(token.startswith("bytes:") for token in tokens)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["tiny", "smol"])
def test_offsets_index_the_echoed_text(request, name, text):
    server = request.getfixturevalue(name)
    ids = server.post("/tokenize", {"prompt": text}).json()["tokens"]
    for prompt in (text, ids, ids[1:]):
        if not prompt:
            continue
        for max_tokens in (0, 4):
            choice = server.post("/v1/completions", {
                "prompt": prompt, "echo": True, "logprobs": 0, "temperature": 0,
                "max_tokens": max_tokens}).json()["choices"][0]
            check(choice["text"], choice["logprobs"])


def test_the_start_of_a_text_of_sentencepiece(tiny):
    """Its first word has no space; a BOS is shown for ids only."""
    body = {"echo": True, "logprobs": 1, "temperature": 0}
    ids = tiny.post("/v1/completions", {**body, "prompt": [[1, 403, 407, 261]], "max_tokens": 1})
    choice = ids.json()["choices"][0]
    assert choice["text"].startswith("<s>Once upon a")
    assert choice["logprobs"]["text_offset"][:4] == [0, 3, 7, 12]
    text = tiny.post("/v1/completions", {**body, "prompt": "Once", "max_tokens": 0})
    assert text.json()["choices"][0]["logprobs"]["text_offset"] == [0, 0]


@pytest.mark.parametrize("stop", [None, "Once upon a timz", " Once zz"])
@pytest.mark.parametrize("prompt", ["Once upon", "", [1]])
def test_offsets_of_a_stream_are_those_of_the_whole(tiny, prompt, stop):
    """Also where the first words are held back, since a stop string may begin with them."""
    body = {"model": "tiny", "prompt": prompt, "logprobs": 0, "temperature": 0, "max_tokens": 12,
            "stop": stop}
    whole = tiny.post("/v1/completions", body).json()["choices"][0]
    check(whole["text"], whole["logprobs"])
    events = stream(tiny, "/v1/completions", body)
    offsets = [offset for event in events[:-1]
               for offset in (event["choices"][0]["logprobs"] or {"text_offset": []})["text_offset"]]
    assert offsets == whole["logprobs"]["text_offset"]


def test_offsets_behind_a_character_that_is_never_finished(tiny, smol):
    body = {"echo": True, "logprobs": 0, "temperature": 0, "max_tokens": 0}
    house = smol.post("/tokenize", {"prompt": " house car"}).json()["tokens"]
    for server, ids, right in [(smol, [187, *house], [0, 1, 7]), (tiny, [233, 483, 450], [0, 1, 2])]:
        choice = server.post("/v1/completions", {**body, "prompt": ids}).json()["choices"][0]
        assert choice["logprobs"]["text_offset"] == right and choice["text"].startswith("\ufffd")
    forced = {"prompt": "Once", "logprobs": 0, "logit_bias": {"233": 100}, "max_tokens": 2}
    choice = tiny.post("/v1/completions", forced).json()["choices"][0]
    assert choice["text"] == "\ufffd\ufffd" and choice["logprobs"]["text_offset"] == [0, 1]
