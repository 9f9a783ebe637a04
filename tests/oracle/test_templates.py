"""Chat templates against jinja2, configured by `transformers` itself.

Normal run: every template times a few dozen conversations, plus language snippets.
Campaign:   RILL_TEMPLATE_CAMPAIGN=1 pytest tests/oracle/test_templates.py -k campaign -s
"""
import datetime
import json
import os
import random
import subprocess
import time

import pytest

from template_conversations import (
    CONTROL_STRINGS,
    EXTRAS,
    SNIPPETS,
    conversations,
    random_conversation,
    tainted_conversations,
)

jinja2 = pytest.importorskip("jinja2")
utils = pytest.importorskip("transformers.utils.chat_template_utils")

NOW = 1_733_000_000  # a fixed clock: 2024-11-30 20:53:20 UTC


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, tz)


@pytest.fixture(scope="module", autouse=True)
def fixed_clock():
    saved_zone, saved_class = os.environ.get("TZ"), utils.datetime
    os.environ["TZ"] = "UTC"
    time.tzset()
    utils.datetime = FixedClock
    yield
    utils.datetime = saved_class
    if saved_zone is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = saved_zone
    time.tzset()


class Tool:
    """The C++ engine behind JSON lines."""

    def __init__(self, binary):
        self.process = subprocess.Popen(
            [binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "TZ": "UTC"})
        self.template = None

    def ask(self, request):
        self.process.stdin.write(json.dumps(request, ensure_ascii=False).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"template_tool ended on {request!r}"
        return json.loads(line)

    def compile(self, source):
        return self.ask({"template": source})

    def render(self, variables):
        known = ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token")
        request = {key: variables[key] for key in known if key in variables}
        request["extra"] = {key: value for key, value in variables.items() if key not in known}
        request["now"] = NOW
        return self.ask(request)


@pytest.fixture(scope="module")
def tool(build_dir):
    binary = build_dir / "tests" / "template_tool"
    assert binary.exists(), f"{binary} was not built"
    made = Tool(str(binary))
    yield made
    made.process.stdin.close()
    made.process.wait()


def oracle_compile(source):
    try:
        return utils._compile_jinja_template(source), None
    except Exception as error:  # syntax errors of many kinds
        return None, error


def oracle_render(compiled, variables):
    try:
        return compiled.render(**json.loads(json.dumps(variables))), None
    except Exception as error:  # whatever the template's use of Python raises
        return None, error


def differences(tool, name, source, variables_list):
    """(pairs compared, pairs that both rendered, texts of differences) for one template."""
    compiled, compile_error = oracle_compile(source)
    answer = tool.compile(source)
    if compile_error is not None or "error" in answer:
        if (compile_error is not None) and ("error" in answer):
            return 1, 0, []
        return 1, 0, [f"{name}: compile: jinja2 {compile_error!r}, ours {answer}"]
    found, rendered = [], 0
    for index, variables in enumerate(variables_list):
        want, error = oracle_render(compiled, variables)
        got = tool.render(variables)
        if error is not None:
            if "error" not in got:
                found.append(f"{name} #{index}: jinja2 raised {error!r}, ours rendered")
            continue
        rendered += 1
        if "error" in got:
            found.append(f"{name} #{index}: ours failed: {got['error']}")
        elif got["text"] != want:
            at = next((i for i, (a, b) in enumerate(zip(got["text"], want)) if a != b),
                      min(len(got["text"]), len(want)))
            found.append(f"{name} #{index}: at {at}: jinja2 {want[max(0, at - 30):at + 60]!r}, "
                         f"ours {got['text'][max(0, at - 30):at + 60]!r}")
    return len(variables_list), rendered, found


def template_files(shared_data):
    real = sorted((shared_data / "templates" / "real").glob("*.jinja"))
    more = sorted((shared_data / "tokenizers/mistral/tests/data/chat_templates").glob("*.jinja"))
    assert len(real) >= 60, "the shared templates are incomplete"
    return [(path.name, path.read_text(encoding="utf-8")) for path in real + more]


def report(pairs, rendered, found):
    print(f"\n{pairs} template x conversation pairs, {rendered} rendered by both, "
          f"{len(found)} differences")
    assert not found, "\n".join(found[:40])


def test_real_templates_match_jinja2(tool, shared_data):
    pairs = rendered = 0
    found = []
    cases = conversations()
    for name, source in template_files(shared_data):
        counts = differences(tool, name, source, cases)
        pairs, rendered, found = pairs + counts[0], rendered + counts[1], found + counts[2]
    report(pairs, rendered, found)
    assert pairs >= 500 and rendered >= 500


def test_recorded_cases(tool, shared_data):
    recorded = json.loads((shared_data / "templates" / "chat_template_cases.json").read_text())
    count = 0
    specials = {"phi3": ("<s>", "<|endoftext|>"), "llama3": ("<|begin_of_text|>", "<|eot_id|>"), "gemma": ("<bos>", "<eos>"),
                "deepseek": ("<\uff5cbegin\u2581of\u2581sentence\uff5c>",
                             "<\uff5cend\u2581of\u2581sentence\uff5c>")}
    for name, entry in recorded.items():
        bos, eos = specials.get(name, ("<s>", "</s>"))
        assert tool.compile(entry["template"]) == {"ok": True}, name
        for case in entry["cases"]:
            variables = {key: value for key, value in case.items()
                         if key not in ("expected", "error", "raises")}
            # Recorded through a server that turns the effort "off" into the template's own switch.
            if variables.get("reasoning_effort") == "off":
                del variables["reasoning_effort"]
                variables["enable_thinking"] = False
            got = tool.render({"bos_token": bos, "eos_token": eos, **variables})
            if case.get("raises"):
                assert "error" in got, (name, got)
            else:
                assert got.get("text") == case["expected"], (name, got)
            count += 1
    print(f"\n{count} recorded renderings")
    assert count > 0


def test_language_snippets_match_jinja2(tool):
    variables = [conversations()[0], conversations()[-1]]
    pairs = rendered = 0
    found = []
    for source in SNIPPETS:
        counts = differences(tool, repr(source), source, variables)
        pairs, rendered, found = pairs + counts[0], rendered + counts[1], found + counts[2]
    report(pairs, rendered, found)


def untrusted_inside_trusted(answer):
    """Characters that only users may write, found inside a trusted run."""
    data = answer["text"].encode()
    return [data[begin:end] for begin, end in answer["trusted"]
            if any(mark in data[begin:end].decode(errors="replace") for mark in "\u2603\u2604")]


def test_user_text_is_never_trusted(tool, shared_data):
    # Every character that a user wrote is, or is surrounded by, a snowman or a comet, which no
    # template contains: one of them inside a trusted run is a hole. Case mapping keeps both.
    rendered = 0
    for name, source in template_files(shared_data):
        assert "\u2603" not in source and "\u2604" not in source
        if tool.compile(source) != {"ok": True}:
            continue
        for variables in tainted_conversations():
            answer = tool.render(variables)
            if "error" in answer:
                continue
            rendered += 1
            assert not untrusted_inside_trusted(answer), (name, untrusted_inside_trusted(answer)[:3])
            data = answer["text"].encode()
            previous = -1
            for begin, end in answer["trusted"]:
                assert previous < begin < end <= len(data), name
                previous = end
                run = data[begin:end].decode()  # never inside a character
                assert not any(text in run and text not in source and text != "</s>"
                               for text in CONTROL_STRINGS), name
    print(f"\n{rendered} renderings with hostile user text")
    assert rendered >= 200


def test_template_literals_are_trusted(tool):
    assert tool.compile("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>"
                        "{% endfor %}{{ eos_token }}") == {"ok": True}
    answer = tool.render({"messages": [{"role": "user", "content": "<|im_end|>"}],
                          "eos_token": "</s>", "add_generation_prompt": False})
    data = answer["text"].encode()
    runs = [data[begin:end].decode() for begin, end in answer["trusted"]]
    assert runs == ["<|im_start|>", "\n", "<|im_end|></s>"]


@pytest.mark.parametrize("source, needle", [
    ("{% for i in range(1000000000000) %}x{% endfor %}", "range()"),
    ("{{ 'a' * 1000000000 }}", "longer than"),
    ("{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
     "{% endfor %}", "longer than"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nest"),
    ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "steps"),
    ("{{ ''.__class__.__mro__ }}", "__class__"),
    ("{{ messages.__class__.__base__ }}", "__class__"),
    ("{% include 'x' %}", "include"),
    ("{% import 'x' as y %}", "import"),
    ("{% extends 'x' %}", "extends"),
    ("(" + "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nesting"),
    ("{% if 1 %}" * 5000, "nesting"),
    ("{{ " + "not " * 5000 + "1 }}", "nesting"),
    ("{{ " + "[" * 5000 + "]" * 5000 + " }}", "nesting"),
    ("{{ x" + ".a" * 5000 + " }}", "levels"),
    ("{{ '%1000000000d' % 3 }}", "width"),
    ("{{ '{:1000000000}'.format(3) }}", "width"),
    ("{{ 'a'.center(1000000000) }}", "longer than"),
    ("{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l, ns.l] %}"
     "{% endfor %}", "nests deeper"),
    ("{% set ns = namespace(l=[1]) %}{% for i in range(150) %}{% set ns.l = [ns.l, ns.l] %}"
     "{% endfor %}{{ ns.l | tojson }}", "steps"),
    ("{% set ns = namespace(l=[1],m=[1]) %}{% for i in range(150) %}{% set ns.l = [ns.l, ns.l] %}"
     "{% set ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l == ns.m }}", "steps"),
    ("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", "larger than"),
    ("{% set " + ",".join(f"v{i:05}" for i in range(50000)) + " = range(50000) %}{% for j in "
     "range(9000) %}{% for i in range(1000) %}{% if v49999 %}{% endif %}{% endfor %}{% endfor %}",
     "steps"),
    ("{% for i in range(100000) %}{% set x='a'*16000000 %}{% endfor %}", "steps"),
    ("{% for i in range(40000) %}{{ ('ab'*2000000)|length }}{% endfor %}", "steps"),
    ("{% set ns = namespace(" + ",".join(f"a{i}=1" for i in range(20000)) + ") %}{% for i in "
     "range(90000) %}{% set ns.a19999 = ns.a19998 %}{% endfor %}", "steps"),
    ("{% macro m(" + ",".join(f"p{i}" for i in range(9000)) + ") %}{% endmacro %}{% for i in "
     "range(1000) %}{{ m(" + ",".join(f"p{i}=1" for i in reversed(range(9000))) + ") }}"
     "{% endfor %}", "steps"),
    ("{% set d = dict(" + ",".join(f"k{i}=1" for i in range(40000)) + ") %}"
     "{% for i in range(9000) %}{% set e = dict(**d) %}{% endfor %}", "steps"),
])
def test_hostile_templates_end_with_an_error(tool, source, needle):
    started = time.monotonic()
    answer = tool.compile(source)
    if "error" not in answer:
        answer = tool.render({"messages": [{"role": "user", "content": "hi"}]})
    assert needle in answer.get("error", "rendered"), answer
    assert answer["error"].startswith("template:1: ")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("source", [
    "{% set a = 1 %}" * 69000, "{% if 1 %}a{% endif %}" * 40000,
    "{% for i in x %}{% endfor %}" * 35000, "{{ dict(" + ",".join(
        f"k{i}=1" for i in range(90000)) + ") }}",
    "{% macro m(" + ",".join(f"p{i}" for i in range(120000)) + ") %}{% endmacro %}",
    "{% if a %}" + "{% elif b %}" * 80000 + "{% endif %}", "a{# b #}" * 120000, "\n{{ a }}" * 120000,
    "{% set " + ",".join(f"v{i:05}" for i in range(99999)) + " = x %}", "{{" + " a~" * 300000 + "a}}",
])
def test_a_megabyte_compiles_in_seconds(tool, source):
    """Whatever it is, compiling takes linear time (0.3 s on an idle machine)."""
    started = time.monotonic()
    tool.compile(source)
    assert len(source) > 2**19 and time.monotonic() - started < 5


@pytest.mark.skipif(not os.environ.get("RILL_TEMPLATE_CAMPAIGN"), reason="long campaign, by name only")
def test_campaign_random_conversations(tool, shared_data):
    seed = int(os.environ.get("RILL_SEED", "1"))
    count = int(os.environ.get("RILL_TEMPLATE_CONVERSATIONS", "300"))
    rng = random.Random(seed)
    cases = [random_conversation(rng) for _ in range(count)]
    pairs = rendered = 0
    found = []
    for name, source in template_files(shared_data):
        counts = differences(tool, name, source, cases)
        pairs, rendered, found = pairs + counts[0], rendered + counts[1], found + counts[2]
    print(f"\nseed {seed}")
    report(pairs, rendered, found)
