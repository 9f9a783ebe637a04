"""tools/crossover.py: data and plot of the decode rate by weights and number of sequences."""
import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "crossover.py"
MODES = ["f16", "w8a8", "w4g128", "w4g128/f32"]


def test_it_measures_each_mode_and_draws_it(rill, tmp_path):
    data, plot = tmp_path / "curve.json", tmp_path / "curve.svg"
    subprocess.run([sys.executable, TOOL, "run", rill, data, "--model", "llama-tiny:f16",
                    "--batches", "1,2,8", "--rounds", "2", "--modes", ",".join(MODES),
                    "--flags=-r 1 --min-time 0"], check=True, timeout=120)
    curves = json.loads(data.read_text())["curves"]
    assert list(curves) == MODES
    for mode, curve in curves.items():
        assert [p["num_seqs"] for p in curve["points"]] == [1, 2, 8]
        assert all(p["least"] <= p["tokens_per_s"] <= p["most"] for p in curve["points"]), mode
    # Four kinds of weights, so four sizes of what is in memory or four commands at least.
    assert len({curve["command"] for curve in curves.values()}) == 4
    subprocess.run([sys.executable, TOOL, "plot", data, plot], check=True, timeout=60)
    svg = xml.etree.ElementTree.parse(plot).getroot()
    lines = svg.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 4 and all(len(line.get("points").split()) == 3 for line in lines)


def test_unknown_modes_are_refused_by_name(rill, tmp_path):
    done = subprocess.run([sys.executable, TOOL, "run", rill, tmp_path / "x.json", "--modes",
                           "f16,w9"], capture_output=True, timeout=60, check=False)
    text = done.stderr.decode()
    assert done.returncode == 2 and "'w9'" in text and "w4g128/f32" in text
    assert "Traceback" not in text


def test_an_empty_mode_is_refused(rill, tmp_path):
    for modes in ("f16,", "", ","):
        done = subprocess.run([sys.executable, TOOL, "run", rill, tmp_path / "x.json", "--modes", modes],
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2 and "--modes: unknown ''" in done.stderr, (modes, done.stderr)


def test_one_point_whose_rate_is_a_power_of_two_is_drawn(tmp_path):
    point = {"num_seqs": 1, "tokens_per_s": 64.0, "least": 64, "most": 64, "limit": "dram_read",
             "pct_of_limit": 50}
    (tmp_path / "one.json").write_text(json.dumps(
        {"model": "m", "context": 0, "curves": {"f16": {"points": [point]}}}))
    subprocess.run([sys.executable, TOOL, "plot", tmp_path / "one.json", tmp_path / "one.svg"], check=True,
                   timeout=60)
    assert (tmp_path / "one.svg").read_text().count("<circle") == 1


def test_trace_csv_explains_itself_without_its_package(tmp_path):
    (tmp_path / "sentencepiece.py").write_text("raise ImportError")
    for words, code, expected in ((["--help"], 0, "usage: trace_csv.py"), ([], 2, "usage: trace_csv.py"),
                                  (["a.json", "b.model"], 1, "needs the package sentencepiece")):
        done = subprocess.run([sys.executable, TOOL.with_name("trace_csv.py"), *words], capture_output=True,
                              text=True, timeout=60, check=False, env={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == code and expected in done.stdout + done.stderr, done
        assert "Traceback" not in done.stderr


def test_what_cannot_be_read_or_written_is_said(rill, tmp_path):
    (tmp_path / "no.json").write_text("{")
    (tmp_path / "other.json").write_text('{"curves": {}}')
    (tmp_path / "list.json").write_text("[1]")
    absent = tmp_path / "absent"
    for words, culprit in (
            (["run", absent, tmp_path / "x.json"], absent), (["plot", absent, tmp_path / "x.svg"], absent),
            (["plot", tmp_path, tmp_path / "x.svg"], tmp_path),
            (["run", "/bin/true", tmp_path / "x.json"], "/bin/true"),
            (["run", rill, absent / "x.json", "--batches", "1"], absent / "x.json"),
            *[(["plot", tmp_path / name, tmp_path / "x.svg"], name)
              for name in ("no.json", "other.json", "list.json")]):
        done = subprocess.run([sys.executable, TOOL, *words], capture_output=True, text=True, timeout=60,
                              check=False)
        assert done.returncode == 1 and str(culprit) in done.stderr, done
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list(tmp_path.glob("x.*"))


def test_bench_without_prefill_or_decode(rill):
    for words, phases in ((["-p", "none", "-b", "2"], {"decode"}),
                          (["-p", "8", "-b", "none"], {"prefill"})):
        done = subprocess.run([rill, "bench", "--synthetic", "llama-tiny:q8_0", "--at", "0", *words,
                               "--mixed", "none", "-r", "1", "--min-time", "0", "--json"],
                              check=True, capture_output=True, timeout=60)
        assert {run["phase"] for run in json.loads(done.stdout)["runs"]} == phases
