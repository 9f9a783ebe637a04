"""What becomes of a prompt: the ids that a text or a conversation turns into."""
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
