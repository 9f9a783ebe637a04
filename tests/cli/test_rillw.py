"""The entry script, with stand-ins for apt, cmake and the binary: what it sets up, and what it says.

The stand-ins log their calls; a copy of rillw runs in a tree of its own, so nothing is installed
or built here.
"""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What a bare system has. Anything else the script calls must be one of the stand-ins.
REAL_TOOLS = ["bash", "sh", "cat", "cp", "cut", "env", "find", "flock", "getconf", "grep", "head",
              "mkdir", "mv", "printf", "readlink", "rm", "sed", "sleep", "tail", "touch", "wc",
              "ln", "chmod", "sha256sum"]

CMAKE = r"""
if [ "$1" = --preset ]; then mkdir -p "build/$2" && : >"build/$2/build.ninja"; exit; fi
[ ! -e "$STATE/broken-build" ] || { echo "error: expected ';'"; exit 1; }
mkdir -p "$2/apps/rill"
cat >"$2/apps/rill/rill" <<'END'
#!/bin/sh
if [ "$1" = pull ]; then
  mkdir -p "$RILL_CACHE/models/$2" && : >"$RILL_CACHE/models/$2/m.gguf"
fi
printf '%s\n' "$@"
END
chmod +x "$2/apps/rill/rill"
"""


class Tree:
    def __init__(self, folder: pathlib.Path) -> None:
        self.root = folder / "rill"
        self.state = folder / "state"
        self.bin = folder / "bin"
        self.cache = folder / "cache"
        for path in (self.root / "src", self.state, self.bin, self.root / "include",
                     self.root / "cmake", self.root / "apps"):
            path.mkdir(parents=True)
        shutil.copy(ROOT / "rillw", self.root / "rillw")
        for name in ("CMakeLists.txt", "CMakePresets.json"):
            (self.root / name).write_text("")
        for tool in REAL_TOOLS:
            path = shutil.which(tool)
            if path:
                (self.bin / tool).symlink_to(path)
        self.stub("cmake", CMAKE)
        self.stub("apt-get", '[ ! -e "$STATE/no-network" ] || { echo "E: Unable to fetch"; exit 100; }'
                             '\ncase "$*" in *" install "*) : >"$STATE/installed";; esac')
        self.stub("dpkg-query", 'for name; do case $name in -*|*Status*) ;; *) if '
                                '[ -e "$STATE/installed" ]; then echo "install ok installed|$name";'
                                ' fi;; esac; done')
        self.stub("id", "echo ${FAKE_UID:-0}")
        self.stub("ninja", ":")

    def stub(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"$STATE/calls"\n{body}\n')
        path.chmod(0o755)

    def run(self, *words: str, cwd=None, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run([str(self.root / "rillw"), *words], capture_output=True, text=True,
                              cwd=cwd or self.root, timeout=300, check=False,
                              stdin=subprocess.DEVNULL,
                              env={"PATH": str(self.bin), "STATE": str(self.state),
                                   "HOME": str(self.state), "RILL_CACHE": str(self.cache),
                                   **environment})

    def calls(self) -> str:
        path = self.state / "calls"
        text = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        return text


@pytest.fixture
def tree(tmp_path) -> Tree:
    return Tree(tmp_path)


def test_from_nothing_to_an_answer(tree):
    done = tree.run("run", "Why is the sky blue?")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run\nWhy is the sky blue?\n"  # the binary's, and nothing of ours
    said = done.stderr
    # It says what it will install before it does.
    assert said.index("will install") < said.index("installing")
    for word in ("g++", "libcurl4-openssl-dev", "configuring", "building", "pulling smollm2"):
        assert word in said
    assert "libgtest-dev" not in said
    calls = tree.calls()
    assert "cmake --preset app" in calls and "--target rill" in calls


def test_second_start_does_nothing(tree):
    tree.run("run", "Hi")
    tree.calls()
    done = tree.run("run", "Hi")
    assert done.stdout == "run\nHi\n" and done.stderr == ""
    assert tree.calls() == ""


def test_works_from_elsewhere_and_through_a_link(tree, tmp_path):
    (tmp_path / "link").symlink_to(tree.root / "rillw")
    done = subprocess.run([str(tmp_path / "link"), "bench", "a  b"], capture_output=True, text=True,
                          cwd="/", check=False, timeout=300,
                          env={"PATH": str(tree.bin), "STATE": str(tree.state)})
    assert done.stdout == "bench\na  b\n", done.stderr


def test_edit_builds_again(tree):
    tree.run("ops")
    tree.calls()
    (tree.root / "src" / "new.cc").write_text("")
    done = tree.run("ops")
    assert "cmake --build" in tree.calls()
    assert "configuring" not in done.stderr
    tree.run("ops")
    assert tree.calls() == ""


def test_broken_build_shows_the_error_and_is_tried_again(tree):
    (tree.state / "broken-build").write_text("")
    done = tree.run("ops")
    assert done.returncode == 1
    assert "error: expected ';'" in done.stderr and "the build failed" in done.stderr
    assert done.stdout == ""
    (tree.state / "broken-build").unlink()
    assert tree.run("ops").returncode == 0


def test_no_network_says_so(tree):
    (tree.state / "no-network").write_text("")
    done = tree.run("ops")
    assert done.returncode == 1
    assert "E: Unable to fetch" in done.stderr and "no network" in done.stderr
    assert "apt-get install --no-install-recommends g++" in done.stderr


def test_no_root_and_no_sudo_says_what_to_run(tree):
    done = tree.run("ops", FAKE_UID="1000")
    assert done.returncode == 1
    assert "no sudo" in done.stderr and "apt-get install" in done.stderr
    assert "apt-get" not in tree.calls()


def test_sudo_is_used_and_said(tree):
    tree.stub("sudo", '[ "$1" = -n ] && exit 0\nexec "$@"')
    done = tree.run("ops", FAKE_UID="1000")
    assert done.returncode == 0 and "through sudo" in done.stderr
    assert "sudo env DEBIAN_FRONTEND=noninteractive apt-get" in tree.calls()


def test_sudo_that_asks_when_nobody_can_answer(tree):
    tree.stub("sudo", "exit 1")
    done = tree.run("ops", FAKE_UID="1000")
    assert done.returncode == 1 and "password" in done.stderr


def test_forbidden_to_install(tree):
    done = tree.run("ops", RILLW_NO_INSTALL="1")
    assert done.returncode == 1 and "RILLW_NO_INSTALL" in done.stderr
    assert "apt-get" not in tree.calls()


def test_another_distribution_names_roles(tree):
    for name in ("apt-get", "cmake"):
        (tree.bin / name).unlink()
    done = tree.run("ops")
    assert done.returncode == 1
    for role in ("C++20 compiler", "Ninja", "libcurl", "simdjson"):
        assert role in done.stderr


def test_model_is_pulled_only_when_it_will_be_used(tree, tmp_path):
    tree.run("ops")
    model = tmp_path / "my model.gguf"
    model.write_text("")
    for words in (["run", str(model), "Hi"], ["run", "hf:a/b", "Hi"], ["run", "--help"],
                  ["inspect", "x"], ["chat", "--threads", "2", str(model)]):
        assert "pulling" not in tree.run(*words).stderr, words
    for words in (["run", "../a question / with slashes"], ["chat"], ["run"]):
        shutil.rmtree(tree.cache, ignore_errors=True)
        assert "pulling" in tree.run(*words).stderr, words
        assert "pulling" not in tree.run(*words).stderr, words


def test_an_environment_without_pip_is_made_anew(tree):
    """As an interrupted `python3 -m venv` leaves it."""
    (tree.root / "tests").mkdir()
    (tree.root / "tests" / "requirements.txt").write_text("")
    half = tree.root / ".venv" / "bin" / "python"
    half.parent.mkdir(parents=True)
    half.write_text("#!/bin/sh\nexit 1\n")
    half.chmod(0o755)
    tree.stub("python3", f"""[ "$*" = "-m venv --clear {tree.root}/.venv" ] || exit 9
printf '#!/bin/sh\\necho "venv $*" >>"$STATE/calls"\\n' >"{half}" """)
    done = tree.run("setup-tests")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tree.root}/.venv\n"
    calls = tree.calls()
    assert "python3 -m venv --clear" in calls and "venv -m pip install" in calls
    assert tree.run("setup-tests").returncode == 0
    assert "-m " not in tree.calls()  # the second time there is nothing to do


def test_no_word_explains_without_setting_up(tree):
    done = tree.run()
    assert done.returncode == 0 and "./rillw test" in done.stdout
    assert tree.calls() == ""


SUITE = '<testsuites tests="{n}"><testsuite name="s">{cases}</testsuite></testsuites>'
GOOD = '<testcase name="a" classname="s" status="run" result="completed"/>'
BAD = '<testcase name="b" classname="s" status="run"><failure message="x"/></testcase>'
SKIP = ('<testcase name="c" classname="s" status="run" result="skipped">'
        '<skipped message="f.cc:1&#x0A;no shared data"/></testcase>')


def summary(folder: pathlib.Path, unit: dict, ctest: str, pytest_cases: str | None):
    (folder / "unit").mkdir()
    for name, cases in unit.items():
        (folder / "unit" / f"{name}.xml").write_text(SUITE.format(n=1, cases=cases))
    (folder / "ctest.xml").write_text(f"<testsuite>{ctest}</testsuite>")
    if pytest_cases is not None:
        (folder / "pytest.xml").write_text(SUITE.format(n=1, cases=pytest_cases))
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "test_summary.py"), str(folder)],
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_summary_counts_cases(tmp_path):
    code, lines = summary(tmp_path, {"rill_base_test": GOOD * 3 + SKIP},
                          '<testcase name="base" status="run"/>', GOOD + SKIP)
    assert code == 0 and lines[-1] == "5 passed, 0 failed, 2 skipped"  # with the layer check
    assert lines[0] == "skipped 2: no shared data"


def test_summary_counts_failures_once(tmp_path):
    code, lines = summary(tmp_path, {"rill_base_test": GOOD + BAD},
                          '<testcase name="base" status="fail"/>', GOOD)
    assert code == 1 and lines[-1] == "3 passed, 1 failed, 0 skipped"
    assert "FAILED s.b" in lines


def test_summary_sees_crashes_and_missing_reports(tmp_path):
    code, lines = summary(tmp_path, {"rill_io_test": GOOD},
                          '<testcase name="io" status="run"/><testcase name="kv" status="fail"/>',
                          None)
    assert code == 1 and lines[-1] == "2 passed, 2 failed, 0 skipped"


def test_summary_sees_a_failed_layer_check(tmp_path):
    (tmp_path / "layers.failed").write_text("")
    code, lines = summary(tmp_path, {}, "", GOOD)
    assert code == 1 and lines[-1] == "1 passed, 1 failed, 0 skipped"


def test_ci_runs_what_a_developer_runs():
    text = (ROOT / ".ci" / "run").read_text()
    assert text.splitlines()[-1].endswith("exec ./rillw test")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
