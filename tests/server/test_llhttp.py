"""llhttp's request cases: our verdict on each is written down in llhttp_verdicts.tsv, and what both
accept must be read alike.

    python tests/server/test_llhttp.py     prints the table anew (judge every changed line)
"""
import collections
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

TABLE = pathlib.Path(__file__).with_name("llhttp_verdicts.tsv")
Case = collections.namedtuple("Case", "file number title kind data log")


def read_cases(folder):
    """The cases of llhttp's Markdown: its own rules for escapes."""
    for path in sorted((folder / "request").glob("*.md")):
        text = path.read_text()
        title, number = "", 0
        for part in re.finditer(r"^#+ (?P<title>[^\n]*)$|<!-- meta=(?P<meta>\{.*?\}) -->\s*```http\n(?P<http>.*?)```(?:\s*```log\n(?P<log>.*?)```)?",
                                text, re.M | re.S):
            if part["title"]:
                title = part["title"]
                continue
            data = part["http"]
            data = re.sub(r"\n\Z", "", data)
            data = re.sub(r"\\\n", "", data)
            data = data.replace("\n", "\r\n")
            for escape, byte in (("\\r", "\r"), ("\\n", "\n"), ("\\t", "\t"), ("\\f", "\f")):
                data = data.replace(escape, byte)
            data = re.sub(r"\\x([0-9a-fA-F]+)", lambda m: chr(int(m[1], 16)), data)
            number += 1
            raw = data.encode("latin-1", "surrogateescape") if all(ord(c) < 256 for c in data) else data.encode()
            yield Case(path.name, number, title, json.loads(part["meta"])["type"], raw, part["log"] or "")


def judge(build_dir, cases, step=1 << 20):
    """What our parsers say of each case."""
    lines = "".join(json.dumps({"hex": case.data.hex(), "step": step}) + "\n" for case in cases)
    done = subprocess.run([str(pathlib.Path(build_dir) / "tests" / "http_parse_tool")], input=lines, text=True,
                          capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def with_host(case):
    """The same bytes with a Host in every HTTP/1.1 request that has none: most cases lack it, and
    would be refused for that alone."""
    if re.search(rb"^host *:", case.data, re.I | re.M):
        return case
    return case._replace(data=re.sub(rb"(^|(?<=\n))([A-Z]+ [^\r\n]* HTTP/1\.1\r\n)", rb"\2Host: a\r\n", case.data))


def verdict(result):
    """"2 then 400", "1", "0 then more"."""
    tail = {"done": "", "need_more": " then more", "fault": f" then {result.get('status')}"}[result["end"]]
    return f"{len(result['requests'])}{tail}"


def llhttp_messages(case):
    """What llhttp's log says it read: [{method, url, body, fields, complete}], and whether it failed."""
    messages = []
    for line in case.log.splitlines():
        span = re.match(r'off=\d+ len=\d+ span\[(\w+)\]="(.*)"$', line)
        if "message begin" in line:
            messages.append({"method": "", "url": "", "body": "", "complete": False})
        elif span and messages and span[1] in ("method", "url", "body"):
            messages[-1][span[1]] += span[2]
        elif "message complete" in line and messages:
            messages[-1]["complete"] = True
    return messages, "error code" in case.log


@pytest.fixture(scope="module")
def cases(shared_data):
    folder = shared_data / "conformance" / "llhttp"
    if not folder.exists():
        pytest.skip("skipped: no shared data (conformance/llhttp)")
    return list(read_cases(folder))


def read_table():
    rows = {}
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            file, number, *rest = line.split("\t")
            rows[file, int(number)] = rest
    return rows


def test_every_case_has_the_verdict_of_the_table(build_dir, cases):
    table = read_table()
    assert {(c.file, c.number) for c in cases} == set(table)
    wrong = []
    for step in (1 << 20, 1, 7):
        for column, form in ((0, cases), (1, [with_host(case) for case in cases])):
            for case, result in zip(form, judge(build_dir, form, step)):
                if verdict(result) != table[case.file, case.number][column]:
                    wrong.append((step, case.file, case.number, case.title, verdict(result), result.get("message")))
    assert not wrong
    print(f"{len(cases)} cases")


def test_what_strict_llhttp_refuses_we_refuse_and_what_both_read_is_the_same(build_dir, cases):
    compared = 0
    cases = [with_host(case) for case in cases]
    for case, result in zip(cases, judge(build_dir, cases)):
        messages, failed = llhttp_messages(case)
        if case.kind.startswith("request-lenient"):
            # llhttp's lenient modes switch checks off. Nothing to compare: the table says that we
            # refuse, or why the input is well-formed.
            continue
        complete = [m for m in messages if m["complete"]]
        where = (case.file, case.number, case.title)
        if failed:
            assert len(result["requests"]) <= len(complete), where
        for ours, theirs in zip(result["requests"], complete):
            assert ours["method"] == theirs["method"], where
            url = theirs["url"]
            assert ours["target"] == (re.sub(r"^https?://[^/]*", "", url) or "/"), where
            body = theirs["body"].replace("\\r", "\r").replace("\\n", "\n").replace("cr", "cr")
            if "lf" not in theirs["body"] and "cr" not in theirs["body"]:
                assert ours["body"].replace("\r", "").replace("\n", "") == body, where
            compared += 1
    assert compared >= 35


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    data = pathlib.Path(os.environ.get("RILL_SHARED_DATA", root.parent / "shared" / "data"))
    found = list(read_cases(data / "conformance" / "llhttp"))
    build = os.environ.get("RILL_BUILD", root / "build" / "ci")
    hosted = [with_host(case) for case in found]
    for case, result, second in zip(found, judge(build, found), judge(build, hosted)):
        _, failed = llhttp_messages(case)
        reason = second.get("message", "")
        print(case.file, case.number, verdict(result), verdict(second), reason, sep="\t")
        if "-v" in sys.argv:
            print("   ", case.title, case.kind, "llhttp:", "error" if failed else "ok", file=sys.stderr)


if __name__ == "__main__":
    main()
