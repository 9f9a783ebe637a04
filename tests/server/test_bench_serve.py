"""rill bench serve against a server whose delays are known."""
import json
import pathlib
import resource
import signal
import socket
import subprocess
import time
import xml.etree.ElementTree

import numpy
import pytest

from fake_openai import FakeServer
from harness import Server, is_sanitized


def bench(rill, url, *words, ok=True, **env):
    done = subprocess.run([rill, "bench", "serve", "--url", url, "--json", *map(str, words)], capture_output=True,
                          text=True, timeout=120, check=False)
    assert (done.returncode == 0) == ok, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout) if ok else done


def test_json_has_exactly_the_promised_keys_and_the_true_times(rill, tmp_path):
    """TTFT, ITL and E2E are what the server's clock says; percentiles are numpy's."""
    with FakeServer(first_s=0.08, gap_s=0.02) as fake:
        details = tmp_path / "details.jsonl"
        report = bench(rill, fake.url, "--dataset", "fixed:20,10", "-n", 24, "-c", 8, "--details", details)
        assert list(report) == ["requests", "failed", "requests_per_s", "output_tokens_per_s", "ttft_ms", "itl_ms", "e2e_ms"]
        assert all(list(report[k]) == ["mean", "p50", "p99"] for k in ("ttft_ms", "itl_ms", "e2e_ms"))
        assert report["requests"] == 24 and report["failed"] == 0
        # 8 clients at a time, each 80 + 9 * 20 ms: a busy machine only adds to that.
        assert report["ttft_ms"]["p50"] >= 80 and report["e2e_ms"]["p50"] >= 259
        assert report["output_tokens_per_s"] == pytest.approx(10 * report["requests_per_s"])
        assert 3 < report["requests_per_s"] <= 8 / 0.26
        assert fake.most == 8
        # The same from the details, by another hand.
        rows = [json.loads(line) for line in details.read_text().splitlines()]
        gaps = numpy.concatenate([numpy.diff(row["events_s"]) for row in rows]) * 1e3
        assert len(gaps) == 24 * 9
        assert report["itl_ms"]["p99"] == pytest.approx(numpy.percentile(gaps, 99))
        first = numpy.array([row["events_s"][0] - row["arrival_s"] for row in rows]) * 1e3
        assert report["ttft_ms"]["p99"] == pytest.approx(numpy.percentile(first, 99))
        # And the server's clock: the mean gap is the same but for the delay of the last token, the
        # first token came after it was sent. (The defect to catch measures from the first token:
        # a mean of 100 ms.)
        sent = numpy.concatenate([numpy.diff(times) for times in fake.token_times]) * 1e3
        assert report["itl_ms"]["mean"] == pytest.approx(sent.mean(), abs=5)
        sent_first = numpy.mean([times[0] - arrival for times, arrival in zip(fake.token_times, fake.arrivals)]) * 1e3
        assert sent_first - 5 < report["ttft_ms"]["mean"] < sent_first + 500
        path, body = fake.bodies[0]
        assert path == "/v1/completions" and body["model"] == "fake-model" and body["max_tokens"] == 10
        assert body["stream"] is True and body["ignore_eos"] is True and body["stream_options"] == {"include_usage": True}
        assert fake.connections <= 10, "connections are kept"


def test_prefixes_are_shared_by_as_many_requests_as_said(rill):
    with FakeServer(first_s=0.001, gap_s=0.001) as fake:
        for prefixes, groups in ((1, 1), (3, 3), (12, 12)):
            del fake.bodies[:]
            bench(rill, fake.url, "--dataset", "fixed:6,2", "-n", 12, "-c", 4, "--prefix-tokens", 40,
                  "--prefixes", prefixes)
            texts = [body["prompt"].split("\n\n") for _, body in fake.bodies]
            assert len({prefix for prefix, _ in texts}) == groups and len({own for _, own in texts}) == 12
            assert all(len(prefix.split()) == 40 and len(own.split()) == 6 for prefix, own in texts)
        del fake.bodies[:]
        bench(rill, fake.url, "--dataset", "fixed:6,2", "-n", 1)
        assert "\n" not in fake.bodies[0][1]["prompt"]


def test_waiting_is_charged_from_the_arrival(rill):
    """Poisson at 50/s on a server with one slot of 40 ms: the queue grows, and first tokens show it."""
    with FakeServer(first_s=0.02, gap_s=0.02, slots=1) as fake:
        report = bench(rill, fake.url, "--dataset", "fixed:5,2", "-n", 40, "--poisson", 50)
        assert report["ttft_ms"]["p99"] > 500 and report["itl_ms"]["p50"] < 40
    with FakeServer(first_s=0.02, gap_s=0.02) as fake:
        # A limit on the client's side does not hide the wait either.
        limited = bench(rill, fake.url, "--dataset", "fixed:5,2", "-n", 40, "--poisson", 200, "-c", 2)
        assert fake.most == 2 and limited["ttft_ms"]["p99"] > 300


def test_poisson_arrivals_are_exponential(rill, tmp_path):
    with FakeServer(first_s=0.0, gap_s=0.0) as fake:
        details = tmp_path / "details.jsonl"
        bench(rill, fake.url, "--dataset", "fixed:1,1", "-n", 300, "--poisson", 150, "--seed", 3, "--details", details)
        rows = [json.loads(line) for line in details.read_text().splitlines()]
        planned = numpy.array([row["arrival_s"] for row in rows])
        gaps = numpy.diff(planned)
        # Mean and standard deviation of an exponential are equal; 300 samples: 6 % each.
        assert gaps.mean() == pytest.approx(1 / 150, rel=0.25) and gaps.std() == pytest.approx(gaps.mean(), rel=0.35)
        # None is sent, and so answered, before its time.
        assert all(row["events_s"][0] > row["arrival_s"] for row in rows)


def test_replay_keeps_the_trace_and_its_speed(rill, tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.0000000,30,3\n"
                     "2023-11-16 18:15:47.0000000,40,4\n2023-11-16 18:15:50.0000000,50,5\n")
    with FakeServer(first_s=0.01, gap_s=0.001) as fake:
        details = tmp_path / "details.jsonl"
        report = bench(rill, fake.url, "--dataset", f"azure:{trace}", "--replay", 10, "--details", details)
        planned = [json.loads(line)["arrival_s"] for line in details.read_text().splitlines()]
        assert planned == pytest.approx([0, 0.1, 0.4])
        start = fake.arrivals[0]
        assert all(-0.5 < a - start - p < 2 for a, p in zip(fake.arrivals, planned))
        assert [b["max_tokens"] for _, b in fake.bodies] == [3, 4, 5]
        assert [len(b["prompt"].split()) for _, b in fake.bodies] == [30, 40, 50]
        assert report["requests"] == 3


def test_together_and_plot_and_text(rill, tmp_path):
    with FakeServer(first_s=1, gap_s=0.01) as fake:
        plot = tmp_path / "plot.svg"
        done = subprocess.run([rill, "bench", "serve", "--url", fake.url + "/v1", "--dataset", "fixed:5,5", "-n", "16",
                               "--together", "--chat", "--plot", str(plot)], capture_output=True, text=True, check=True)
        assert fake.most > 8 and "QPS" in done.stdout and "throughput" in done.stdout
        assert fake.bodies[0][0] == "/v1/chat/completions"
        first = float(done.stdout.split("first token of all")[1].split()[0])
        assert 1000 <= first < 4000
        root = xml.etree.ElementTree.parse(plot).getroot()
        lines = root.findall(".//{http://www.w3.org/2000/svg}polyline")
        assert len(lines) == 4 and all(line.get("points") for line in lines)


def test_a_place_that_cannot_be_written_is_told_before_the_measurement(rill, tmp_path):
    with FakeServer() as fake:
        for flag in ("--plot", "--details"):
            done = bench(rill, fake.url, "-n", 4, flag, tmp_path / "none" / "file", ok=False)
            assert "none/file" in done.stdout + done.stderr
        assert not fake.bodies
        # Full only when it is written: the report is there all the same.
        done = bench(rill, fake.url, "-n", 4, "--details", "/dev/full", ok=False)
        assert json.loads(done.stdout)["requests"] == 4 and "/dev/full" in done.stderr


def test_ctrl_c_ends_the_question_for_the_model(rill):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen([rill, "bench", "serve", "--url", url, "-n", "4"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        silent.settimeout(20)
        try:
            with silent.accept()[0] as asked:
                assert b"/v1/models" in asked.recv(1000)
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=5)
            assert process.returncode == 130 and b"interrupted" in errors
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("arrival", [["-c", 3], ["--poisson", 500], ["--together", "-c", 3]])
@pytest.mark.parametrize("first_s", [0.05, 60])
def test_ctrl_c_ends_the_load_with_a_report_and_130(rill, tmp_path, first_s, arrival):
    """Whether some requests had ended or none."""
    details = tmp_path / "details.jsonl"
    with FakeServer(first_s=first_s, gap_s=0.05) as fake:
        words = ["--json", "--dataset", "fixed:3,3", "-n", 5000, "--details", details, *arrival]
        process = subprocess.Popen([rill, "bench", "serve", "--url", fake.url, *map(str, words)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            end = time.monotonic() + 30
            while time.monotonic() < end and len(fake.bodies if first_s > 1 else fake.token_times) < 3:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=20)
        finally:
            process.kill()
            process.wait()
        report = json.loads(out)
        assert process.returncode == 130 and errors.endswith("rill: interrupted\n"), errors
        assert report["requests"] == 5000 == len(details.read_text().splitlines())
        assert set(report["errors"]) == {"cancelled", "not sent"}
        assert sum(report["errors"].values()) == report["failed"]
        assert (report["failed"] == 5000) == (first_s > 1) and (report["output_tokens_per_s"] > 0) == (first_s < 1)


def test_prompts_of_many_requests_are_made_when_they_are_sent(rill):
    """100,000 prompts of 1,000 tokens and a prefix of as many are 900 MB of text."""
    with FakeServer(first_s=60) as fake:
        words = ["--dataset", "fixed:1000,3", "--prefix-tokens", 1000, "--prefixes", 50_000, "-n", 100_000, "-c", 3]
        process = subprocess.Popen([rill, "bench", "serve", "--url", fake.url, *map(str, words)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 60
            while time.monotonic() < end and len(fake.bodies) < 3:
                time.sleep(0.01)
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.kill()
            process.wait()
        assert all(len(body["prompt"].split()) == 2000 for _, body in fake.bodies)
        assert int(status.split("VmHWM:")[1].split()[0]) < 300_000


def test_too_little_memory_is_told(rill):
    if is_sanitized(rill):
        pytest.skip("skipped: an address space that the sanitizer fills")
    with FakeServer(first_s=60) as fake:
        # Not enough for the list of requests, for the list of times, for the bodies under way.
        for megabytes, words in ((300, ["-n", "10000000"]), (800, ["-n", "10000000"]),
                                 (200, ["-n", "50", "-c", "50", "--dataset", "fixed:1000000,1"])):
            limit = megabytes << 20
            done = subprocess.run([rill, "bench", "serve", "--url", fake.url, "--model", "x", *words],
                                  capture_output=True, text=True, timeout=60, check=False,
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
            assert done.returncode == 5 and "not enough memory for" in done.stderr, done.stderr


@pytest.mark.parametrize("kind", ["azure", "sharegpt"])
def test_endless_files_are_refused(rill, kind):
    done = bench(rill, "http://127.0.0.1:1", "--dataset", f"{kind}:/dev/zero", ok=False)
    assert done.returncode == 2 and "/dev/zero" in done.stderr


def test_a_port_that_there_is_not_is_named(rill):
    done = bench(rill, "http://127.0.0.1:99999", ok=False)
    assert done.returncode == 2 and "expected a port from 1 to 65535, got '99999'" in done.stderr


def full_listener():
    """A listening socket that takes no further connection, and what fills it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    return listener, fillers


def test_the_timeout_covers_the_connection_and_the_handshake(rill):
    """Not only the answer: one that takes the connection and says nothing, and one that does not take it."""
    silent = socket.create_server(("127.0.0.1", 0))
    full, fillers = full_listener()
    try:
        for scheme, listener in (("https", silent), ("http", full)):
            url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
            words = ["--insecure", "--timeout", 0.5, "--dataset", "fixed:4,4", "-n", 2]
            done = bench(rill, url, *words, "--model", "x", ok=False)
            assert done.returncode == 6 and json.loads(done.stdout)["errors"] == {"timeout": 2}
            done = bench(rill, url, *words, ok=False)  # asks for the model first
            assert done.returncode == 6 and f"{url}: timeout" in done.stderr
    finally:
        for sock in (silent, full, *fillers):
            sock.close()


def test_failures_are_counted_and_named(rill):
    with FakeServer(first_s=0.01, gap_s=0.001, fail_every=4) as fake:
        report = bench(rill, fake.url, "--dataset", "fixed:5,5", "-n", 20, "-c", 2)
        assert report["requests"] == 20 and report["failed"] == 5
        assert report["errors"] == {"HTTP 500: planted": 5}
    with FakeServer(first_s=0.01, gap_s=0.001, drop_every=5) as fake:
        report = bench(rill, fake.url, "--dataset", "fixed:5,9", "-n", 20, "-c", 2)
        assert report["failed"] == 4
    with FakeServer(first_s=5) as fake:
        done = bench(rill, fake.url, "--dataset", "fixed:5,9", "-n", 3, "--timeout", 0.2, ok=False)
        assert done.returncode == 6 and "every request failed: timeout" in done.stderr
        report = json.loads(done.stdout)  # one object, the report
        assert report["failed"] == 3 and report["errors"] == {"timeout": 3}
        assert "failed 3 times: timeout" in done.stderr
    done = bench(rill, "http://127.0.0.1:1", ok=False)
    assert done.returncode == 6 and "connect" in done.stderr
    for words in (["--dataset", "nothing"], ["--together", "--poisson", "3"], ["--dataset", "azure:/nonexistent"]):
        assert bench(rill, "http://127.0.0.1:1", *words, ok=False).returncode in (2, 3)


@pytest.mark.parametrize("status,answer,reason", [
    (200, '{"choices":[{"text":"a"}],"usage":{"completion_tokens":null,"prompt_tokens":"x"}}',
     "usage: prompt_tokens: expected integer, got string"),
    (200, '{"choices":[{"text":"a"}],"usage":{"completion_tokens":2.5}}',
     "usage: completion_tokens: expected integer, got number"),
    (200, '{"usage":{"completion_tokens":-7}}', "usage: completion_tokens: -7 is no token count"),
    (200, '{"usage":{"completion_tokens":9223372036854775807}}',
     "usage: completion_tokens: 9223372036854775807 is no token count"),
    (200, '{"error":{"message":7}}', 'error event: {"message":7}'),
    (200, '{"error":"boom"}', "error event: boom"),
    (200, '{"error":"\\u001b[31mred"}', "error event: \\x1b[31mred"),
    (200, "{", "an event that is not JSON"),
    (200, '{"choices":7}', "choices: not an array"),
    (200, '{"choices":[7]}', "choices[0]: not an object"),
    (200, '{"choices":[null]}', "choices[0]: not an object"),
    (200, "[1,2]", "an event that is no object"),
    (200, '{"choices":[{"delta":"x"}]}', "delta: not an object"),
    (200, '{"choices":[{"delta":{"content":7}}]}', "a piece of text that is no string"),
    (200, '{"choices":[{"delta":{"content":""}}]}', "a stream without a token"),
    (200, '{"choices":[]}', "a stream without a token"),
    (200, '{"choices":[],"usage":{"completion_tokens":1}}', None),
    (400, '{"error":"model not found"}', "HTTP 400: model not found"),
    (400, '{"error":{"message":["x"]}}', 'HTTP 400: {"message":["x"]}'),
    (400, "[[[", "HTTP 400"),
])
def test_odd_answers_fail_their_request_alone(rill, status, answer, reason):
    """Whatever the server sends: it is named, and the run goes on to its end."""
    body = answer if status != 200 else f"data: {answer}\n\ndata: [DONE]\n\n"
    with FakeServer(raw=(status, body.encode())) as fake:
        words = ["--dataset", "fixed:3,1", "-n", 2, "-c", 1]
        if reason is None:  # a token without text
            assert bench(rill, fake.url, *words)["failed"] == 0
            return
        done = bench(rill, fake.url, *words, ok=False)
        assert done.returncode == 6
        report = json.loads(done.stdout)
        assert report["failed"] == 2 and report["errors"] == {reason: 2}
        assert f"failed 2 times: {reason}" in done.stderr


def test_no_raw_byte_of_a_server_reaches_the_terminal(rill):
    reason = r"not an HTTP/1 response: '\x1b[31mred\x07\x0a\xff\x9b'"
    with FakeServer(raw=(None, b"\x1b[31mred\x07\n\xff\x9b\r\n\r\n")) as fake:
        done = bench(rill, fake.url, "-n", 2, "-c", 1, "--dataset", "fixed:3,1", ok=False)
        assert json.loads(done.stdout)["errors"] == {reason: 2} and f"failed 2 times: {reason}\n" in done.stderr
        done = subprocess.run([rill, "bench", "serve", "--url", fake.url, "-n", "2", "-c", "1"], capture_output=True,
                              text=True, timeout=120, check=False)
        assert done.returncode == 6 and f"failed 2 times: {reason}\n" in done.stdout


def test_several_tokens_in_one_event_count_by_usage(rill):
    with FakeServer(first_s=0.01, gap_s=0.01, merge=2) as fake:
        report = bench(rill, fake.url, "--dataset", "fixed:5,10", "-n", 4, "-c", 1)
        assert report["output_tokens_per_s"] == pytest.approx(10 * report["requests_per_s"])


def test_a_token_without_text_counts_after_the_first_text(rill, tmp_path):
    """Rill and vLLM send an event for a token whose text is held back. Heads and ends are none."""
    chat = ['"delta":{"role":"assistant","content":""}', '"delta":{"content":""}', '"delta":{"content":"a"}',
            '"delta":{"content":""}', '"delta":{"content":null}', '"delta":{"content":"b"},"finish_reason":null',
            '"delta":{"content":""},"finish_reason":"stop"', '"delta":{},"finish_reason":"stop"']
    legacy = ['"text":""', '"text":"a"', '"text":"","finish_reason":null', '"text":"b"', '"text":"","finish_reason":"length"']
    for pieces, words in ((chat, ["--chat"]), (legacy, [])):
        events = "".join('data: {"choices":[{"index":0,%s}]}\n\n' % piece for piece in pieces)
        details = tmp_path / "details.jsonl"
        with FakeServer(raw=(200, (events + "data: [DONE]\n\n").encode())) as fake:
            bench(rill, fake.url, "--dataset", "fixed:3,3", "-n", 1, *words, "--details", details)
        row = json.loads(details.read_text())
        assert len(row["events_s"]) == 3 and row["output_tokens"] == 3, row


def test_a_stream_ends_with_done(rill, tmp_path):
    """What a server sends after it is no token, no gap, no end and no error of the request."""
    token = b'data: {"choices":[{"text":"a","finish_reason":null}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    late = token + b'data: {"error":"late"}\n\n' + usage.replace(b"2}", b"9}") + b"data: [DONE]\n\n"
    details = tmp_path / "details.jsonl"
    for before, prompt in ((token * 2, 0), (token * 2 + usage, 3)):
        start = before + b"data: [DONE]\n\n"
        for pieces in ([start + late], [start, late], [start, b"x" * 2_000_000]):
            with FakeServer(raw=(200, pieces), gap_s=0.2) as fake:
                bench(rill, fake.url, "--dataset", "fixed:3,2", "-n", 1, "--details", details)
            row = json.loads(details.read_text())
            assert len(row["events_s"]) == row["output_tokens"] == 2 and row["prompt_tokens"] == prompt, row
            assert row["end_s"] == row["events_s"][1], row


def test_what_nobody_asked_for_is_no_answer(rill):
    """A second answer behind the first: the next request has a connection of its own."""
    token = b'data: {"choices":[{"text":"a","finish_reason":null}]}\n\n'
    body = token * 2 + b"data: [DONE]\n\n"
    other = token * 5 + b"data: [DONE]\n\n"
    surplus = b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(other) + other
    with FakeServer(raw=(200, body), surplus=surplus) as fake:
        report = bench(rill, fake.url, "--dataset", "fixed:3,2", "-n", 6, "-c", 1, "--model", "m")
        assert report["failed"] == 0 and len(fake.bodies) == 6 and fake.connections >= 6
    with FakeServer(raw=(200, body)) as fake:
        bench(rill, fake.url, "--dataset", "fixed:3,2", "-n", 6, "-c", 1, "--model", "m")
        assert fake.connections == 1


def test_what_is_sent_again_is_told(rill):
    """A kept connection that ends without an answer: it may have been closed before."""
    with FakeServer(lose_every=2) as fake:
        report = bench(rill, fake.url, "--dataset", "fixed:3,2", "-n", 4, "-c", 1, "--model", "m")
        assert report["failed"] == 0 and len(fake.bodies) == 4 + report["sent_again"] == 7
    with FakeServer() as fake:
        assert "sent_again" not in bench(rill, fake.url, "--dataset", "fixed:3,2", "-n", 4, "-c", 1)


def test_a_refused_question_for_the_model_says_why(rill, stories):
    with Server(rill, "m=" + stories, env={"RILL_API_KEY": "a-key-of-the-test"}) as server:
        for suffix in ("", "/v1"):
            done = bench(rill, server.url + suffix, "--dataset", "fixed:3,2", "-n", 1, ok=False)
            assert server.url + "/v1/models: HTTP 401: " in done.stderr, done.stderr
            assert "key" in done.stderr


def test_a_body_that_does_not_end_after_done(rill):
    """The request is good, and its client goes on."""
    token = b'data: {"choices":[{"text":"a","finish_reason":null}]}\n\n'
    with FakeServer(raw=(200, [token * 2 + b"data: [DONE]\n\n", b"x"]), gap_s=30) as fake:
        begin = time.monotonic()
        report = bench(rill, fake.url, "--dataset", "fixed:3,2", "-n", 3, "-c", 1, "--timeout", 20)
        assert report["failed"] == 0 and time.monotonic() - begin < 10
    # One that closes instead, in the middle of its body.
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + token * 2 + b"data: [DONE]\n\n"
    with FakeServer(raw=(None, answer)) as fake:
        assert bench(rill, fake.url, "--dataset", "fixed:3,2", "-n", 3, "-c", 1)["failed"] == 0


def test_wrong_datasets_name_what_is_wrong(rill, tmp_path):
    for words, reason in [
            (["--replay", 1, "--dataset", "fixed:4,4"],
             "--replay: expected --dataset azure:FILE, whose rows have times, got 'fixed:4,4'"),
            (["--dataset", "sharegpt:"], "--dataset: expected sharegpt:FILE, azure:FILE or fixed:IN,OUT, got 'sharegpt:'"),
            (["--dataset", "azure"], "--dataset: expected sharegpt:FILE, azure:FILE or fixed:IN,OUT, got 'azure'"),
            (["--dataset", f"sharegpt:{tmp_path}"], f"{tmp_path}: expected a file, got a folder"),
            (["--dataset", f"azure:{tmp_path}"], f"{tmp_path}: expected a file, got a folder")]:
        done = bench(rill, "http://127.0.0.1:1", *words, ok=False)
        assert reason in done.stderr and done.returncode == 2, (done.returncode, done.stderr)


def test_a_key_that_is_no_header_field_is_not_sent(rill, monkeypatch):
    monkeypatch.setenv("RILL_API_KEY", "secret\r\nX: y")
    with FakeServer() as fake:
        done = bench(rill, fake.url, "--dataset", "fixed:4,4", "-n", 1, ok=False)
        assert "API key: expected no control character" in done.stderr and "secret" not in done.stderr
        assert fake.connections == 0


def test_fewer_requests_than_asked_are_told(rill, tmp_path):
    """No figure "of 10 requests" is one of 2."""
    trace = tmp_path / "trace.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
        f"2023-11-16 18:15:4{i}.0,{tokens},3\n" for i, tokens in enumerate((5, 6, 500))))
    with FakeServer(first_s=0.001, gap_s=0.001) as fake:
        for words, told in ((["-n", "10", "--max-total-tokens", "256"],
                             f"rill: 2 of 10 requests: azure:{trace} has no more of at most 256 tokens\n"),
                            (["-n", "10"], f"rill: 3 of 10 requests: azure:{trace} has no more\n"),
                            (["-n", "3"], ""), ([], "")):
            done = subprocess.run([rill, "bench", "serve", "--url", fake.url, "--json", "--dataset", f"azure:{trace}",
                                   *words], capture_output=True, text=True, timeout=60, check=True)
            assert done.stderr == told
            assert json.loads(done.stdout)["requests"] == (2 if "256" in words else 3)


def test_sharegpt_sample(rill, shared_data):
    path = shared_data / "traces" / "samples_1024.json"
    if not path.exists():
        pytest.skip("skipped: no shared data (traces)")
    with FakeServer(first_s=0.0, gap_s=0.0) as fake:
        report = bench(rill, fake.url, "--dataset", f"sharegpt:{path}", "-n", 50, "-c", 16, "--max-total-tokens", 600)
        assert report["requests"] == 50 and report["failed"] == 0
        turns = {c["conversations"][0]["value"]: c["conversations"][1]["value"] for c in json.loads(path.read_text())}
        for _, body in fake.bodies:
            # Without a tokenizer, four bytes are counted as a token.
            assert body["max_tokens"] == (len(turns[body["prompt"]].encode()) + 3) // 4
