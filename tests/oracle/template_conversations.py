"""Conversations and template snippets for test_templates.py."""
import copy
import itertools

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.\nIn °C — or °F.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "City & country, e.g. \"Zürich, CH\""},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "minimum": 0, "maximum": 14},
                "options": {
                    "type": "object",
                    "properties": {
                        "detailed": {"type": "boolean"},
                        "layers": {"type": "array", "items": {"type": "string"}},
                        "limit": {"type": ["number", "null"], "nullable": True},
                    },
                    "required": ["layers"],
                },
            },
            "required": ["city"],
        },
        "return": {"type": "string", "description": "A sentence"},
    },
}
ADD_TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds numbers.",
        "parameters": {
            "type": "object",
            "properties": {"values": {"type": "array", "items": {"type": "number"},
                                      "description": "What to add"},
                           "mode": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
            "required": ["values"],
        },
    },
}
PLAIN_TOOL = {"name": "ping", "description": "", "parameters": {"type": "object", "properties": {}}}

NESTED_ARGUMENTS = {
    "city": "Zürich <b>\"CH\"</b>", "days": 3, "ratio": 0.1, "big": 1e22, "flag": True, "none": None,
    "options": {"detailed": False, "layers": ["rain", "snow\n", "日本"], "limit": -2.5e-7},
}


def user(content, **more):
    return {"role": "user", "content": content, **more}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def call(name, arguments, call_id="call_00001"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def text_parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def message_lists():
    tool_turn = [user("Weather?"), assistant("", tool_calls=[call("get_weather", NESTED_ARGUMENTS)]),
                 {"role": "tool", "name": "get_weather", "content": "{\"t\": 21.5}",
                  "tool_call_id": "call_00001"}]
    yield [user("Hello, how are you?")]
    yield [system("Be brief."), user("2+2?")]
    yield [system("Be brief."), user("Hi"), assistant("Hello!"), user("Bye"), assistant("Bye.")]
    yield [user("Hi"), assistant("Hello!"), user("Again")]
    yield [user("  leading and trailing \n\n"), assistant("\n\nx \n"), user("\t")]
    yield [user(""), assistant(""), user("")]
    yield [user("Ünïcödé ß İ 日本語 🎉 \u2028 \u00a0x\u3000"), assistant("ΑΣ 👩‍👩‍👧"), user("é")]
    yield [user("<|im_end|>{{ 1 }}{% if %}</s>[INST]<think>a</think>'\"\\")]
    yield [assistant("I speak first."), user("odd")]
    yield [user("a"), user("b")]
    yield [system("")]
    yield []
    yield [user(text_parts("part one", "part two"))]
    yield [system(text_parts("sys")), user(text_parts("a")), assistant(text_parts("b", "c")), user("d")]
    yield [user([{"type": "image", "url": "x"}, {"type": "text", "text": "What is this?"}])]
    yield [user([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "?"}])]
    yield [user("Think"), assistant("42", reasoning_content="Let me see.\nSix by nine."), user("Sure?")]
    yield [user("Think"), assistant("<think>\nhm\n</think>\n\n42"), user("Sure?"), assistant("Yes")]
    yield [user("Think"), assistant("x", thinking="deep", reasoning="deeper"), user("ok")]
    yield tool_turn
    yield tool_turn + [assistant("It is 21.5 °C."), user("Thanks")]
    yield [system("Use tools.")] + tool_turn
    yield [user("Both"), assistant(None, tool_calls=[call("get_weather", NESTED_ARGUMENTS, "call_0001"),
                                                     call("add", {"values": [1, 2.5]}, "call_0002")]),
           {"role": "tool", "content": "sunny", "tool_call_id": "call_0001"},
           {"role": "tool", "content": "3.5", "tool_call_id": "call_0002"}, user("And?")]
    yield [user("Both"), assistant("Let me call.", reasoning_content="Call it",
                                   tool_calls=[call("add", {"values": []}, "abcdefghi")]),
           {"role": "tool", "name": "add", "content": "0", "tool_call_id": "abcdefghi"}]
    yield [user("s"), assistant("", tool_calls=[call("add", "{\"values\": [1]}", "abcdefghi")]),
           {"role": "tool", "name": "add", "content": "1", "tool_call_id": "abcdefghi"}, user("t")]
    yield [user("s"), assistant("", tool_calls=[{"name": "add", "arguments": {"values": [1]}}]),
           {"role": "tool", "content": {"sum": 1, "ok": True}}]
    yield [user("s"), assistant("", tool_calls=[call("ping", {})]),
           {"role": "tool", "content": text_parts("pong")}]
    yield [user("Long " * 50), assistant("word " * 200), user("?")]
    yield [{"role": "developer", "content": "Dev says"}, user("x")]
    yield [{"role": "unknown", "content": "x"}]
    yield [user(None)]
    yield [{"role": "user"}]
    yield [system("S1"), system("S2"), user("u")]
    yield [user("x"), assistant("y", prefix=True)]
    yield [user("multi\nline\r\ntext\twith\ttabs"), assistant("a\\nb"), user("…")]


EXTRAS = [
    {},
    {"enable_thinking": True},
    {"enable_thinking": False},
    {"thinking": True, "reasoning_effort": "high", "builtin_tools": ["python", "browser"]},
    {"date_string": "01 Jan 2025", "tools_in_user_message": False, "keep_reasoning": True},
    {"unk_token": "<unk>", "pad_token": "<pad>", "thinking_budget": 512, "thinking_mode": "on"},
]


def conversations():
    """A fixed list of template variables: every kind of message, with tools and kwargs rotated."""
    tools = itertools.cycle([None, [WEATHER_TOOL], None, [WEATHER_TOOL, ADD_TOOL], [PLAIN_TOOL], None])
    documents = [{"title": "Doc <1>", "text": "Text of\ndoc 1"}, {"title": "Ünï", "text": ""}]
    extras = itertools.cycle(EXTRAS)
    out = []
    for index, messages in enumerate(message_lists()):
        for prompt in (True, False):
            variables = {"messages": messages, "tools": next(tools), "documents": None,
                         "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>"}
            if index % 7 == 3:
                variables["documents"] = documents
            variables.update(next(extras))
            out.append(copy.deepcopy(variables))
    return out


CONTROL_STRINGS = ["<|im_end|>", "<|im_start|>system", "</s>", "[INST]", "<|eot_id|>", "<|endoftext|>",
                   "<end_of_turn>", "<|end|>", "[/INST]", "<|user|>", "<｜User｜>", "<|channel|>"]


def tainted_conversations():
    """Conversations whose every word is marked with a snowman and control strings."""
    def mark(value, role_key=False):
        if isinstance(value, str):
            controls = "\u2603".join(CONTROL_STRINGS)
            return f"\u2603{controls}\u2604" + "\u2603".join(value.split(" ")) + "\u2604<|im_end|>\u2603"
        if isinstance(value, list):
            return [mark(item) for item in value]
        if isinstance(value, dict):
            return {key: item if key in ("role", "type") else mark(item) for key, item in value.items()}
        return value

    out = []
    for variables in conversations():
        variables = copy.deepcopy(variables)
        for key in ("messages", "tools", "documents"):
            if variables[key] is not None:
                variables[key] = mark(variables[key])
        out.append(variables)
    return out


WORDS = ["hello", "x", "Ünï", "日本", "🎉", " ", "\n", "\t", "'", "\"", "\\", "{{", "%}", "<think>", "</think>",
         "<|im_end|>", "</s>", "0", "-1", "1e5", "", "a b  c", "\u2028", "ß", "True", "None", "</tool_call>"]


def random_text(rng):
    return "".join(rng.choice(WORDS) for _ in range(rng.randrange(0, 8)))


def random_json(rng, depth=0):
    kind = rng.randrange(0, 9 if depth < 3 else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.randrange(-10**6, 10**6)
    if kind == 2:
        return rng.choice([0.0, -0.0, 1.5, 1e16, 1e-5, 123456.789, 1e300, 0.1 + 0.2, rng.uniform(-1e6, 1e6)])
    if kind < 6:
        return random_text(rng)
    if kind == 6:
        return [random_json(rng, depth + 1) for _ in range(rng.randrange(0, 4))]
    return {random_text(rng) or "k": random_json(rng, depth + 1) for _ in range(rng.randrange(0, 4))}


def random_content(rng):
    kind = rng.randrange(0, 10)
    if kind < 7:
        return random_text(rng)
    if kind == 7:
        return None
    return text_parts(*[random_text(rng) for _ in range(rng.randrange(0, 3))])


def random_message(rng, role):
    message = {"role": role, "content": random_content(rng)}
    if role == "assistant":
        if rng.random() < 0.3:
            message["tool_calls"] = [
                call(rng.choice(["add", "get_weather", "päng"]), random_json(rng) if rng.random() < 0.2 else
                     {random_text(rng) or "k": random_json(rng) for _ in range(rng.randrange(0, 4))},
                     f"call_{i:04d}") for i in range(rng.randrange(0, 3))]
        if rng.random() < 0.3:
            message[rng.choice(["reasoning_content", "thinking", "reasoning"])] = random_text(rng)
    if role == "tool" and rng.random() < 0.7:
        message["name"] = "add"
        message["tool_call_id"] = rng.choice(["call_0000", "abcdefghi"])
    return message


def random_conversation(rng):
    messages = []
    if rng.random() < 0.4:
        messages.append(random_message(rng, "system"))
    for _ in range(rng.randrange(0, 4)):
        messages.append(random_message(rng, "user"))
        if rng.random() < 0.8:
            messages.append(random_message(rng, "assistant"))
        if rng.random() < 0.25:
            messages.append(random_message(rng, "tool"))
        if rng.random() < 0.05:
            messages.append(random_message(rng, rng.choice(["developer", "ipython", "function", "odd"])))
    tools = None
    if rng.random() < 0.4:
        tools = rng.sample([WEATHER_TOOL, ADD_TOOL, PLAIN_TOOL], rng.randrange(1, 3))
    documents = None
    if rng.random() < 0.1:
        documents = [{"title": random_text(rng), "text": random_text(rng)}]
    return {"messages": messages, "tools": tools, "documents": documents,
            "add_generation_prompt": rng.random() < 0.5, "bos_token": "<s>", "eos_token": "</s>",
            **rng.choice(EXTRAS)}


from template_snippets import SNIPPETS  # noqa: E402,F401
