"""Numbers on the command line: decimal, the whole word, in range, for every option of every command."""
import json
import re
import subprocess

import pytest

# Words that are no decimal number, or one that fits no type. C would read some of them.
NO_NUMBERS = ["", " ", "x", "0x10", "+5", " 5", "5x", "1e", "1;5", "--", "٣",
              "99999999999999999999", "-99999999999999999999"]
NO_INTEGERS = ["1.5", "1e3", "18446744073709551616", "3000000000000"]
NO_REALS = ["nan", "inf", "-inf", "1e999"]


def run(rill: str, *words) -> subprocess.CompletedProcess:
    return subprocess.run([rill, *map(str, words)], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=60)


def commands(rill: str, prefix: tuple = ()) -> list[tuple]:
    """Every command and subcommand, as words."""
    text = run(rill, *prefix, "--help").stdout
    found = []
    if "Subcommands:" in text:
        for line in text.split("Subcommands:")[1].splitlines()[1:]:
            if not line.startswith("  "):
                break
            if match := re.match(r"  ([a-z]+)\s", line):
                found += [(*prefix, match[1]), *commands(rill, (*prefix, match[1]))]
    return found


def numeric_options(rill: str, command: tuple) -> list[tuple[list[str], str, str]]:
    """(names, type, the rest of the line) for each numeric option in a command's help."""
    text = run(rill, *command, "--help").stdout
    return [(match[1].split(","), match[2], match[3])
            for match in re.finditer(r"^  (-\S+) (U?INT|FLOAT)\b(.*)$", text, re.MULTILINE)]


def test_every_numeric_option_of_every_command_is_strict(rill):
    tried = []
    for command in commands(rill):
        for names, kind, rest in numeric_options(rill, command):
            # What has no limit of its own takes what its type holds.
            assert kind == "UINT" or re.search(r"\bin [\[(]", rest), (command, names, rest)
            words = NO_NUMBERS + (NO_REALS if kind == "FLOAT" else NO_INTEGERS)
            limits = (kind, re.findall(r"\bin [\[(].*?[\])]", rest))
            if limits in [before for _, before in tried]:
                words = ["", "0x10", "99999999999999999999"]  # read by the same check as another
            for word in words:
                if kind == "UINT" and word == "3000000000000":
                    continue
                flag = names[-1]
                done = run(rill, *command, *([f"{flag}={word}"] if word else [flag, ""]))
                said = done.stderr.splitlines()[0] if done.stderr else ""
                assert done.returncode == 2 and done.stdout == "", (command, flag, word, done)
                assert re.match("rill: (.*?): ", said)[1] in names and word in said, (word, said)
                assert "expected" in said or "not in range" in said, (flag, word, said)
            tried.append((command, limits))
    # A walk that finds nothing proves nothing.
    assert {command for command, _ in tried} >= {("run",), ("chat",), ("serve",), ("inspect",),
                                                 ("bench",), ("bench", "serve"), ("eval", "quality")}
    assert len(tried) > 100, len(tried)


def test_a_leading_zero_changes_nothing(rill, stories):
    def output(*words):
        done = run(rill, "run", stories, "Once", "--raw", "--json", "-q", *words)
        assert done.returncode == 0, done.stderr
        out = json.loads(done.stdout)
        return out["seed"], out["output_ids"]

    ten = output("--seed", 10, "-n", 10, "--ignore-eos")
    assert ten[0] == 10 and len(ten[1]) == 10
    assert output("--seed", "010", "-n", "010", "--ignore-eos") == ten
    assert output("--seed", 2**64 - 1, "-n", 1)[0] == 2**64 - 1
    assert output("--seed", 10, "-n", "10", "--temperature", "0.30", "--ignore-eos") == ten


@pytest.mark.parametrize("words", [
    ["bench", "MODEL", "--mixed", "8x512"], ["bench", "MODEL", "--mixed", "+8x512+128"],
    ["bench", "MODEL", "--mixed", "8x 512+128"], ["bench", "MODEL", "--mixed", "8x512+0x10"],
    ["bench", "MODEL", "--mixed", "4294967297x512+128"], ["bench", "MODEL", "--mixed", "x+"],
    ["bench", "MODEL", "--mixed", "8+512x128"],
    ["bench", "serve", "--dataset", "fixed:1"], ["bench", "serve", "--dataset", "fixed:1,"],
    ["bench", "serve", "--dataset", "fixed:+1,1"], ["bench", "serve", "--dataset", "fixed:1,1,1"],
    ["bench", "serve", "--dataset", "fixed:4294967297,1"],
    ["serve", "MODEL", "--memory", "0x10G"], ["serve", "MODEL", "--memory", "nan"],
    ["serve", "MODEL", "--memory", " 8G"], ["serve", "MODEL", "--memory", "1e1G"],
    ["serve", "MODEL", "--memory", "8X"], ["serve", "MODEL", "--kv-memory", "-1G"],
    ["serve", "MODEL", "--kv-memory", "G"], ["serve", "MODEL", "--kv-memory", "1.2.3G"],
    ["run", "MODEL", "Hi", "--logit-bias", "+5=1"], ["run", "MODEL", "Hi", "--logit-bias", "5= 1"],
    ["run", "MODEL", "Hi", "--logit-bias", "5="], ["run", "MODEL", "Hi", "--logit-bias", "5=101"]])
def test_words_that_hold_numbers(rill, stories, words):
    done = run(rill, *[stories if word == "MODEL" else word for word in words])
    assert done.returncode == 2, done
    assert words[-2] in done.stderr and words[-1].split(":")[-1] in done.stderr, done.stderr
