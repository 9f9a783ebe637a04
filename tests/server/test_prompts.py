"""What becomes of a prompt: the ids that a text or a conversation turns into."""
import pytest

MESSAGES = [{"role": "user", "content": "Once upon a time"}]


def ids_of(server, **body):
    """Of /tokenize, of the only model or the one that `body` names."""
    response = server.post("/tokenize", body)
    assert response.status_code == 200, response.text
    return response.json()["tokens"]


def test_special_tokens_of_a_chat_are_the_templates_unless_asked_for(tiny):
    bos = ids_of(tiny, prompt="")
    assert len(bos) == 1
    bare = ids_of(tiny, messages=MESSAGES)
    assert bare[:1] != bos
    assert ids_of(tiny, messages=MESSAGES, add_special_tokens=False) == bare
    assert ids_of(tiny, messages=MESSAGES, add_special_tokens=True) == bos + bare
    for more, count in (({}, len(bare)), ({"add_special_tokens": True}, len(bare) + 1)):
        answer = tiny.post("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 1, **more})
        assert answer.json()["usage"]["prompt_tokens"] == count
    wrong = tiny.post("/v1/chat/completions", {"messages": MESSAGES, "add_special_tokens": "x"})
    assert wrong.status_code == 400
    assert wrong.json()["error"]["param"] == "add_special_tokens"


def test_null_is_absent_when_tokenising(tiny):
    text = ids_of(tiny, prompt="Once")
    assert ids_of(tiny, prompt="Once", messages=None) == text
    chat = ids_of(tiny, messages=MESSAGES)
    assert ids_of(tiny, messages=MESSAGES, prompt=None) == chat
    neither = tiny.post("/tokenize", {"messages": None})
    assert neither.status_code == 400
    assert neither.json()["error"]["message"] == "Missing required parameter: 'prompt' or 'messages'."


def test_an_empty_text_has_only_the_tokens_around_every_text(tiny, smol):
    assert ids_of(tiny, prompt="") == ids_of(tiny, prompt="Once")[:1]
    assert ids_of(tiny, prompt="", add_special_tokens=False) == []
    assert ids_of(smol, prompt="") == []  # its tokenizer adds none
    # A completion of it still starts somewhere.
    answer = smol.post("/v1/completions", {"prompt": "", "max_tokens": 1})
    assert answer.json()["usage"]["prompt_tokens"] == 1


# Most of them stand in what the template writes after a message, too.
CONTINUED = ["Sure", " x ", "a\n", "", "  ", "assistant", "<|im_end|>", "<", ">", "e", "end", "\xa0"]


def text_of(server, content):
    """The rendered text that continues an assistant's message."""
    ids = ids_of(server, continue_final_message=True, messages=[
        {"role": "user", "content": "Write html"}, {"role": "assistant", "content": content}])
    return server.post("/detokenize", {"tokens": ids}).json()["prompt"]


def test_a_continued_message_ends_the_prompt_as_in_transformers(smol):
    render = pytest.importorskip("transformers.utils.chat_template_utils").render_jinja_template
    template = smol.get("/tokenizer_info").json()["chat_template"]
    for content in CONTINUED:
        (want,), _ = render(
            conversations=[[{"role": "user", "content": "Write html"},
                            {"role": "assistant", "content": content}]],
            chat_template=template, continue_final_message=True)
        assert text_of(smol, content) == want, content
    assert text_of(smol, None) == text_of(smol, "")
