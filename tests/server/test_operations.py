"""Running a server: start, several models, reload, drain, logs, memory budget."""
import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

import httpx
import pytest

from harness import Server, copy_with_chat_template, stream
from test_deploy import free_ports


def request(server, model, **extra):
    return server.post("/v1/completions", {"model": model, "prompt": "Once", "max_tokens": 4,
                                           "temperature": 0, **extra})


def test_summary_says_what_a_user_needs(tiny):
    text = tiny.stderr()
    assert re.search(r"tiny: weights .*KV .* positions \(context \d+\)", text)
    assert "memory:" in text and "budget" in text
    assert "keys: none" in text and "ready on http://127.0.0.1:" in text


def wait_until(holds, seconds=10):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_is_wrong_with_a_model_that_loads_is_told(rill, stories, tmp_path):
    gguf = pytest.importorskip("gguf")
    tensor = next(t for t in gguf.GGUFReader(stories).tensors if t.name == "blk.2.ffn_up.weight")
    data = bytearray(pathlib.Path(stories).read_bytes())
    # The last two bytes of the first element: all bits of the exponent.
    data[int(tensor.data_offset) + int(tensor.n_bytes // tensor.n_elements) - 1] = 0x7F
    data[int(tensor.data_offset) + int(tensor.n_bytes // tensor.n_elements) - 2] = 0xFF
    broken = tmp_path / "nan.gguf"
    broken.write_bytes(data)

    def warned(server, model):
        return any(line["level"] == "warning" and line.get("model") == model and
                   "blk.2.ffn_up" in line["message"] for line in server.log())

    with Server(rill, f"n={broken}", "a=" + stories, "--admin-port", "0") as server:
        assert re.search(r"rill: warning: n: .*blk\.2\.ffn_up.* NaN", server.stderr())
        assert "warning: a:" not in server.stderr()
        wait_until(lambda: warned(server, "n"))  # the log has a thread of its own
        assert not warned(server, "a")
        # Its requests fail, one by one; the other model serves.
        assert request(server, "n").status_code == 500
        assert request(server, "a").status_code == 200
        loaded = httpx.post(server.admin_url + "/admin/models",
                            json={"path": str(broken), "name": "later"}, timeout=60)
        assert loaded.status_code == 200, loaded.text
        wait_until(lambda: warned(server, "later"))


def test_admin_loads_wait_for_those_of_the_command_line(rill, stories, tiny_chat):
    """While those load nobody takes their names or their memory."""
    port, = free_ports(1)
    server = Server(rill, "a=" + stories, "b=" + stories, "--admin-port", port, wait=False)
    try:
        answers = []
        end = time.monotonic() + 60
        while not answers or answers[-1].status_code == 503:
            assert time.monotonic() < end
            with contextlib.suppress(httpx.TransportError):
                answers.append(httpx.post(f"http://127.0.0.1:{port}/admin/models",
                                          json={"path": str(tiny_chat), "name": "b"}, timeout=30))
            time.sleep(0.002)
        assert answers[0].status_code == 503
        assert answers[0].json()["error"]["code"] == "model_loading"
        assert int(answers[0].headers["retry-after"]) >= 1
        # The configured one has the name.
        assert answers[-1].status_code == 400
        assert answers[-1].json()["error"]["param"] == "name"
        server.wait_ready()
        assert {m["id"] for m in server.get("/v1/models").json()["data"]} == {"a", "b"}
    finally:
        server.stop()

def test_two_models_aliases_and_one_that_fails(rill, stories, tiny_chat, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(open(stories, "rb").read()[:5000])
    with Server(rill, "d=/no/such.gguf", "a=" + stories, "b=" + tiny_chat, f"c={broken}",
                "--alias", "b=bee") as server:
        assert "not loaded: c:" in server.stderr()
        assert re.search(r"not loaded: d: .*no/such\.gguf", server.stderr())
        listed = [m["id"] for m in server.get("/v1/models").json()["data"]]
        assert listed == ["a", "b", "bee"]
        assert request(server, "a").json()["choices"][0]["text"] == \
            request(server, "b").json()["choices"][0]["text"]
        assert request(server, "bee").json()["model"] == "bee"
        assert request(server, "c").status_code == 404
        missing = server.post("/v1/completions", {"prompt": "x"})
        assert missing.status_code == 400 and missing.json()["error"]["param"] == "model"
        # No chat template: an error that says so, not a wrong prompt.
        no_template = server.post("/v1/chat/completions",
                                  {"model": "a", "messages": [{"role": "user", "content": "x"}]})
        assert no_template.status_code == 400 and "chat template" in no_template.text
        # Admin routes are nowhere unless asked for.
        assert server.get("/server_info").status_code in (401, 403, 404)
        assert server.post("/admin/models", {"path": stories}).status_code in (401, 403, 404)


def test_admin_load_and_unload(rill, stories, tiny_chat, tmp_path):
    with Server(rill, "a=" + stories, "--admin-port", "0") as server:
        admin = server.admin_url
        info = httpx.get(admin + "/server_info").json()
        assert info["models"][0]["id"] == "a" and info["limits"]["max_choices"] == 16
        loaded = httpx.post(admin + "/admin/models",
                            json={"path": tiny_chat, "name": "b", "aliases": ["bee"]}, timeout=60)
        assert loaded.status_code == 200, loaded.text
        assert request(server, "bee").status_code == 200
        for bad, status in (({"path": "/no/such/file.gguf"}, 404), ({}, 400), ({"path": 5}, 400),
                            ({"path": tiny_chat, "name": "b"}, 400),  # in use
                            ({"path": tiny_chat, "name": "c", "aliases": ["bee"]}, 400),
                            # As on the command line, and none that no path could unload.
                            ({"path": tiny_chat, "name": "c", "aliases": ["d", "d"]}, 400),
                            ({"path": tiny_chat, "name": "c", "aliases": ["c"]}, 400),
                            ({"path": tiny_chat, "name": "x\ny\"z\x07"}, 400),
                            ({"path": tiny_chat, "name": "c", "aliases": ["\x1b[31m"]}, 400),
                            ({"path": tiny_chat, "name": ".."}, 400),
                            ({"path": tiny_chat, "name": "a//b"}, 400),
                            ({"path": tiny_chat, "name": "a\\b"}, 400),
                            ({"path": "/dev/zero", "name": "z"}, 400)):
            answer = httpx.post(admin + "/admin/models", json=bad, timeout=60)
            assert answer.status_code == status, (bad, answer.text)
            assert answer.json()["error"]["message"]
        odd = "org/x é%2F?#"
        assert httpx.post(admin + "/admin/models", json={"path": tiny_chat, "name": odd},
                          timeout=60).status_code == 200
        listed = [m["id"] for m in server.get("/v1/models").json()["data"]]
        assert listed == ["a", "b", "bee", odd]
        assert httpx.delete(admin + "/admin/models/" + urllib.parse.quote(odd, safe=""),
                            timeout=60).status_code == 200
        # Requests under way end before the model goes.
        results = []
        thread = threading.Thread(target=lambda: results.append(
            request(server, "b", max_tokens=400, ignore_eos=True)))
        thread.start()
        wait_until(lambda: results or server.metric("rill_requests_running"))
        gone = httpx.delete(admin + "/admin/models/b", timeout=60)
        thread.join()
        assert gone.status_code == 200, gone.text
        assert results[0].status_code == 200
        assert results[0].json()["usage"]["completion_tokens"] == 400
        assert request(server, "b").status_code == 404
        missing = httpx.delete(admin + "/admin/models/b", timeout=60)
        assert missing.status_code == 404 and missing.json()["error"]["param"] == "model"
        assert request(server, "a").status_code == 200
        assert httpx.delete(admin + "/admin/models/a", timeout=60).status_code == 200
        none = server.post("/v1/completions", {"prompt": "x"})
        assert none.status_code == 404 and "No model is loaded" in none.text, none.text
        assert none.json()["error"]["code"] == "model_not_found"


def test_admin_work_that_cannot_wait_is_refused(rill, stories, smollm2):
    """An operator's script in a loop: one unload waits for a stream, 16 wait for it; more are 503."""
    with Server(rill, "a=" + stories, "b=" + smollm2, "--admin-port", "0", "--context", "2048",
                "--kv-memory", "256M") as server:
        body = {"model": "b", "prompt": "Once", "max_tokens": 2000, "ignore_eos": True,
                "stream": True}
        with concurrent.futures.ThreadPoolExecutor(64) as pool, contextlib.ExitStack() as streams:
            response = streams.enter_context(
                httpx.stream("POST", server.url + "/v1/completions", json=body, timeout=60))
            events = response.iter_raw()  # kept: its end would close the stream
            next(events)
            unload = pool.submit(httpx.delete, server.admin_url + "/admin/models/b", timeout=60)
            while request(server, "b").status_code != 404:  # the name goes first
                time.sleep(0.01)
            waiting = [pool.submit(httpx.delete, server.admin_url + f"/admin/models/none{i}",
                                   timeout=60) for i in range(40)]
            refused = []
            end = time.monotonic() + 10
            while len(refused) < 24 and time.monotonic() < end:
                refused = [w for w in waiting if w.done()]
                time.sleep(0.02)
            load = httpx.post(server.admin_url + "/admin/models", json={"path": stories, "name": "c"},
                              timeout=60)
            assert not unload.done()
            for answer in [load, *(w.result() for w in refused)]:
                assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
                error = answer.json()["error"]
                assert error["type"] == "overloaded_error" and error["code"] == "server_overloaded"
            assert len(refused) == 24
            streams.close()
            assert unload.result().status_code == 200
            assert [w.result().status_code for w in waiting].count(404) == 16
        assert request(server, "a").status_code == 200


def test_limits_are_the_operators_and_all_are_told(rill, stories):
    """The defaults are those of docs/server.md; what is set is in force."""
    with Server(rill, "m=" + stories, "--admin-port", "0", "--limit", "max_header_fields=12",
                "--limit", "head_timeout_ms=1500", "--limit", "json_keys=100", "--limit",
                "json_depth=6", "--limit", "max_stop_strings=1", "--limit", "max_prompts=2",
                "--limit", "max_requests_per_connection=2",
                prefix=["sh", "-c", 'ulimit -n 400; exec "$@"', "sh"]) as server:
        told = httpx.get(server.admin_url + "/server_info").json()["limits"]
        documented = {name: int(value.replace(",", "")) for name, value in re.findall(
            r"^\| `(\w+)` \| ([\d,]+) \|",
            (pathlib.Path(__file__).parents[2] / "docs/server.md").read_text(), re.MULTILINE)}
        assert len(documented) > 25
        documented |= {"max_header_fields": 12, "head_timeout_ms": 1500, "json_keys": 100,
                       "json_depth": 6, "max_stop_strings": 1, "max_prompts": 2,
                       "max_requests_per_connection": 2,
                       # Less what is no client, of the I/O thread, and the admin listener's.
                       "max_connections": 400 - 160 - 4 - 64}
        assert {name: told[name] for name in documented} == documented
        for name in ("max_body_bytes", "max_waiting", "drain_delay_s", "watchdog_s",
                     "template_steps"):
            assert name in told
        many = {f"x-{i}": "1" for i in range(12)}
        assert server.get("/health", headers=many).status_code == 431
        body = {"model": "m", "prompt": "a", "max_tokens": 1}
        for wrong, param in (({"stop": ["a", "b"]}, "stop"), ({"prompt": ["a"] * 3}, "prompt"),
                             ({"metadata": {"a": {"b": {"c": {"d": {"e": {}}}}}}}, None),
                             ({"metadata": {str(i): "x" * 20 for i in range(100)}}, None)):
            answer = server.post("/v1/completions", {**body, **wrong})
            assert answer.status_code == 400, wrong
            assert answer.json()["error"]["param"] == param
        assert "100 members" in answer.text
        fits = {str(i): "x" * 20 for i in range(96)}
        assert server.post("/v1/completions", {**body, "metadata": fits}).status_code == 200
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as slow:
            slow.sendall(b"GET /health HTTP/1.1\r\n")
            assert b" 408 " in slow.recv(100)
        assert time.monotonic() - start < 5
        with server.client() as client:
            assert "connection" not in client.get("/health").headers
            assert client.get("/health").headers["connection"] == "close"


def test_budget_too_small_is_refused_with_the_sums(rill, stories):
    done = subprocess.run([rill, "serve", stories, "--port", "0", "--memory", "1M"],
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 5
    assert b"memory budget" in done.stderr and b"weights" in done.stderr


def in_bytes(text):
    number, unit = re.fullmatch(r"([\d.]+) ([MG]B)", text).groups()
    return float(number) * {"MB": 1e6, "GB": 1e9}[unit]


def test_what_a_loaded_model_takes_is_within_the_budget(rill, stories, smollm2):
    """SmolLM2's weights take more in memory than in the file."""
    words = ["--context", "2048", "--kv-memory", "1", "--memory"]
    with Server(rill, "m=" + smollm2, *words, "1G") as server:
        used = re.search(r"weights (.*), activations (.*), KV (.*) = 2048 pos", server.stderr())
    weights, activations, context = (in_bytes(text) for text in used.groups())
    tight = weights + activations + context / 2
    done = subprocess.run([rill, "serve", smollm2, "--port", "0", *words, str(int(tight))],
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 5, done.stderr
    assert b"memory budget" in done.stderr and b"weights 0.1" in done.stderr
    words = [*words[:2], words[-1], str(int(tight + context))]
    with Server(rill, "m=" + smollm2, "--admin-port", "0", *words) as server:
        text = server.stderr()
        used, budget = re.search(r"memory: (.*) of a budget of (.*)", text).groups()
        assert in_bytes(used) <= in_bytes(budget) * 1.001, text
        # What the admin route loads is held to the same sum, and leaves nothing behind.
        assert httpx.delete(server.admin_url + "/admin/models/m", timeout=60).status_code == 200
        assert httpx.post(server.admin_url + "/admin/models", timeout=60,
                          json={"path": stories, "name": "s"}).status_code == 200
        for _ in range(2):
            refused = httpx.post(server.admin_url + "/admin/models", timeout=60,
                                 json={"path": smollm2, "name": "again"})
            assert refused.status_code == 400 and "memory budget" in refused.text, refused.text
        assert [m["id"] for m in server.get("/v1/models").json()["data"]] == ["s"]


@pytest.mark.parametrize("words,code,text", [
    (["/no/such.gguf"], 3, "no/such.gguf"),
    (["n="], 2, "MODEL: expected [NAME=]MODEL, got 'n='"),
    (["a={m}", "a={m}"], 2, "two models are called 'a'"),
    (["{m}", "--port", "99999"], 2, ""),
    (["{m}", "--memory", "lots"], 2, "--memory"),
    # Beyond this machine without keys.
    (["{m}", "--host", "0.0.0.0", "--port", "0"], 2, "listen on '0.0.0.0': reachable from other machi"
     "nes, and no API key is asked for: give keys (--key-file FILE), or --allow-unauthenticated"),
    (["{m}", "--log-file", "/no/such/log"], 3, "log: /no/such/log: cannot be opened: No such file"),
    # Admin routes for whoever reaches the port.
    (["{m}", "--port", "0", "--admin-on-main"], 2, "--admin-on-main: expected API keys, one of them"),
    (["{m}", "--port", "0", "--admin-on-main", "--host", "0.0.0.0", "--allow-unauthenticated"], 2,
     "--admin-on-main: expected API keys"),
    (["{m}", "--alias", "x=y"], 2, "--alias"),
    (["{m}", "--limit", "max_messages=0"], 2, "limit max_messages: expected 1 to 1048576, got 0"),
    (["{m}", "--limit", "max_messages"], 2, "expected 1 to 1048576, got ''"),
    (["{m}", "--limit", "max_mess=1"], 2, "no limit is called 'max_mess'; there are: max_request_l"),
    (["a\tb={m}"], 2, "no path can hold the model's name"),
    (["a=/no/such.gguf", "b=/nor/such.gguf"], 3, "no/such.gguf"),
])
def test_wrong_usage(rill, stories, words, code, text):
    done = subprocess.run([rill, "serve", *(w.format(m=stories) for w in words)],
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert text in done.stderr.decode()


@pytest.mark.parametrize("text", ["", "# alice key-of-alice-0123456789\n\n"])
def test_an_empty_key_file_opens_nothing(rill, stories, tmp_path, text):
    keys = tmp_path / "keys"
    keys.write_text(text)
    done = subprocess.run([rill, "serve", stories, "--port", "0", "--key-file", keys],
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"{keys}: no key in it" in done.stderr.decode()


def test_an_empty_key_in_the_environment_opens_nothing(rill, stories):
    done = subprocess.run([rill, "serve", stories, "--port", "0"], capture_output=True, timeout=60,
                          check=False, env={**os.environ, "RILL_API_KEY": ""})
    assert done.returncode == 2 and "RILL_API_KEY: empty" in done.stderr.decode()


def test_a_tiny_memory_budget_is_told_as_it_is(rill, stories):
    done = subprocess.run([rill, "serve", stories, "--port", "0", "--memory", "1M"],
                          capture_output=True, timeout=60, check=False)
    assert done.returncode != 0 and "the memory budget is 1.05 MB" in done.stderr.decode()
    assert "0.00 GB" not in done.stderr.decode()


def test_errors_tell_no_path_of_the_server(rill, stories, tmp_path):
    folder = tmp_path / "secret-folder"
    folder.mkdir()
    path = folder / "m.gguf"
    copy_with_chat_template(stories, path, "{% if messages[0]['content'] == 'x' %}"
                                           "{{ raise_exception('no x here') }}{% endif %}"
                                           "{{ messages[0].content.nothing.at.all }}")
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    with Server(rill, "m=" + str(path)) as server:
        for route in ("/v1/chat/completions", "/tokenize"):
            for content in ("x", "y"):
                chat["messages"][0]["content"] = content
                answer = server.post(route, chat)
                assert answer.status_code == 400, answer.text
                assert "secret-folder" not in answer.text and "m.gguf" not in answer.text
                assert "chat template" in answer.json()["error"]["message"]


def test_admin_routes_on_the_main_address_ask_for_an_admin_key(rill, stories, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice key-of-alice-0123456789\n")
    done = subprocess.run([rill, "serve", stories, "--port", "0", "--admin-on-main", "--key-file",
                           keys], capture_output=True, timeout=60, check=False)
    assert done.returncode == 2 and "one of them marked admin" in done.stderr.decode()
    keys.write_text("alice key-of-alice-0123456789\nroot key-of-root-0123456789 admin\n")
    # The file's name from the environment, as a service gets it.
    with Server(rill, "m=" + stories, "--admin-on-main",
                env={"RILL_KEY_FILE": str(keys)}) as server:
        def status(key):
            headers = {"authorization": "Bearer " + key} if key else {}
            return server.get("/server_info", headers=headers).status_code
        assert [status(k) for k in ("", "key-of-alice-0123456789", "key-of-root-0123456789")] == \
            [401, 403, 200]
        keys.write_text("alice key-of-alice-0123456789\n")  # nobody may any more
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while status("key-of-root-0123456789") != 401:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert status("key-of-alice-0123456789") == 403


def test_port_in_use(rill, stories, tiny):
    port = tiny.url.rsplit(":", 1)[1]
    done = subprocess.run([rill, "serve", stories, "--port", port], capture_output=True, timeout=60,
                          check=False)
    assert done.returncode != 0 and port in done.stderr.decode()


def test_sigterm_drains_then_ends(rill, stories):
    with Server(rill, "m=" + stories) as server:
        results = []
        threads = [threading.Thread(target=lambda: results.append(
            request(server, "m", max_tokens=450, n=4, ignore_eos=True))) for _ in range(4)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 10
        while server.metric("rill_requests_running") < 4 and time.monotonic() < end:
            time.sleep(0.005)
        server.terminate()
        try:
            refused = request(server, "m")
            while refused.status_code == 200:  # until the signal is seen
                assert time.monotonic() < end
                refused = request(server, "m")
            assert refused.status_code == 503 and "retry-after" in refused.headers
            assert refused.json()["error"]["code"] == "draining"
        except httpx.TransportError:
            pass  # it had already ended
        for thread in threads:
            thread.join()
        assert [r.status_code for r in results] == [200] * 4
        assert all(r.json()["usage"]["completion_tokens"] == 4 * 450 for r in results)
        assert server.process.wait(20) == 0


def test_scrubbed_memory_changes_no_answer(rill, stories):
    """F4: many requests over few pages, with memory overwritten as it is freed."""
    def answers(*words):
        with Server(rill, "m=" + stories, "--kv-memory", "1M", "--max-sequences", "8", *words) as server:
            bodies = [{"model": "m", "prompt": f"Once there was a {word} who", "max_tokens": 40,
                       "temperature": 0, "logprobs": 2} for word in
                      ("cat", "dog", "girl", "boy", "tree", "king", "frog", "bear") * 5]
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                return [r.json()["choices"] for r in
                        pool.map(lambda body: server.post("/v1/completions", body), bodies)]
    assert answers("--scrub-kv") == answers()


def test_second_sigterm_stops_at_once(rill, smollm2):
    with Server(rill, "m=" + smollm2, "--context", "2048", "--kv-memory", "256M") as server:
        thread = threading.Thread(target=lambda: pytest.raises(
            httpx.HTTPError, request, server, "m", max_tokens=2000, ignore_eos=True))
        thread.start()
        end = time.monotonic() + 20
        while server.metric("rill_requests_running") < 1:
            assert time.monotonic() < end
            time.sleep(0.02)
        server.terminate()
        wait_until(lambda: "draining: 1 requests" in server.stderr())
        assert server.process.poll() is None
        start = time.monotonic()
        server.terminate()
        assert server.process.wait(10) == 0
        assert time.monotonic() - start < 5
        thread.join()


def test_sighup_reads_keys_again(rill, stories, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice key-of-alice-0123456789\n")
    with Server(rill, "m=" + stories, "--key-file", keys) as server:
        def status(key):
            headers = {"authorization": "Bearer " + key} if key else {}
            return server.get("/v1/models", headers=headers).status_code
        assert status("key-of-alice-0123456789") == 200
        assert status("") == 401 and status("wrong") == 401
        assert "keys: 1" in server.stderr()
        keys.write_text("bob key-of-bob-0123456789\n")
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while status("key-of-bob-0123456789") != 200 and time.monotonic() < end:
            time.sleep(0.05)
        assert status("key-of-bob-0123456789") == 200
        assert status("key-of-alice-0123456789") == 401
        for wrong in ("broken line that is = no key !!!\n", "# no key any more\n"):
            keys.write_text(wrong)
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            assert status("key-of-bob-0123456789") == 200  # the old ones stay
        assert server.get("/health").status_code == 200  # public
        assert server.get("/metrics").status_code == 401


def test_a_key_may_hold_the_sign_of_a_comment(rill, stories, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("hash abcdefgh#ijklmnop\n#bob key-of-bob-0123456789\n"
                    "carol key-of-carol-0123\t# her own\ndave key-of-dave-01234 #x\n")
    with Server(rill, "m=" + stories, "--key-file", keys) as server:
        status = {key: server.get("/v1/models", headers={"authorization": "Bearer " + key}).status_code
                  for key in ("abcdefgh#ijklmnop", "abcdefgh", "key-of-bob-0123456789",
                              "key-of-carol-0123", "key-of-dave-01234")}
        assert list(status.values()) == [200, 401, 401, 200, 200], status


def test_sighup_opens_the_log_anew(rill, stories, tmp_path):
    log, moved = tmp_path / "log", tmp_path / "log.1"
    with Server(rill, "m=" + stories, "--log-file", log) as server:
        def reload():
            count = server.stderr().count("read again")
            server.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + 10
            while server.stderr().count("read again") == count:
                assert time.monotonic() < end
                time.sleep(0.02)

        request(server, "m")
        end = time.monotonic() + 10
        while '"generation"' not in log.read_text():
            assert time.monotonic() < end
            time.sleep(0.02)
        log.rename(moved)
        reload()
        old = moved.read_text().count("\n")
        request(server, "m")
        # Where it cannot be opened the lines go on to the file that is open.
        newer = tmp_path / "log.2"
        log.rename(newer)
        log.mkdir()
        reload()
        assert "the log goes on as it was" in server.stderr()
        request(server, "m")
        server.stop()
    for path, requests in [(moved, 1), (newer, 2)]:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert sum(line["event"] == "generation" for line in lines) == requests, (path, lines)
    assert moved.read_text().count("\n") == old


def test_reload_is_all_or_nothing(rill, stories, tmp_path):
    """New keys beside a certificate that is wrong: neither is taken."""
    cert, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj",
                    "/CN=localhost", "-keyout", private, "-out", cert], check=True,
                   capture_output=True)
    keys = tmp_path / "keys"
    keys.write_text("alice key-of-alice-0123456789\n")
    with Server(rill, "m=" + stories, "--key-file", keys, "--tls-cert", cert,
                "--tls-key", private, "--admin-port", "0") as server:
        # The address as it is told.
        assert httpx.get(server.admin_url + "/server_info", verify=False).status_code == 401

        def status(key):
            return server.get("/v1/models", headers={"authorization": "Bearer " + key},
                              verify=False).status_code

        def reload(word):
            before = server.stderr().count("rill: " + word)
            server.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + 10
            while server.stderr().count("rill: " + word) == before:
                assert time.monotonic() < end, server.stderr()
                time.sleep(0.02)

        assert status("key-of-alice-0123456789") == 200
        keys.write_text("bob key-of-bob-0123456789\n")
        good = cert.read_text()
        cert.write_text("garbage")
        reload("reload failed")
        assert "cert.pem" in server.stderr()
        assert status("key-of-alice-0123456789") == 200
        assert status("key-of-bob-0123456789") == 401
        cert.write_text(good)
        reload("keys and certificates read again")
        assert status("key-of-alice-0123456789") == 401
        assert status("key-of-bob-0123456789") == 200


def wait_for_signals(server):
    """From when SIGTERM is blocked the server waits for it."""
    end = time.monotonic() + 30
    status = pathlib.Path(f"/proc/{server.process.pid}/status")
    while not int(re.search(r"SigBlk:\s*(\w+)", status.read_text())[1], 16) >> 14 & 1:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_sigterm_while_models_load(rill):
    """I5: who stops the server before it serves is no failure, and waits for no load."""
    # Quantising this model takes 7 s of one thread, and more on a machine that has other work.
    with Server(rill, "m=synthetic:llama-1.1b:f16", "--weights", "w4g128", "--context", "512",
                wait=False) as server:
        wait_for_signals(server)
        time.sleep(1)
        asked = time.monotonic()
        server.terminate()
        assert server.process.wait(120) == 0
        assert time.monotonic() - asked < 5
        assert "stopped while loading" in server.stderr()
        assert "stopped while loading" in server.log_path.read_text()


def test_sigterm_as_soon_as_it_is_waited_for(rill, smollm2):
    with Server(rill, "m=" + smollm2, wait=False) as server:
        wait_for_signals(server)
        server.terminate()
        assert server.process.wait(30) == 0
        assert "stopped while loading" in server.stderr()


def test_while_models_load(rill, smollm2, tmp_path):
    """Names and aliases are there already, and SIGHUP reads keys."""
    keys = tmp_path / "keys"
    keys.write_text("alice key-of-alice-0123456789\n")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with Server(rill, "a=" + smollm2, "b=" + smollm2, "--alias", "b=bee", "--context", "2048",
                "--kv-memory", "256M", "--key-file", keys, wait=False, port=port) as server:
        server.url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 60

        def get(path, key):
            return server.get(path, headers={"authorization": f"Bearer key-of-{key}-0123456789"})

        while True:
            try:
                listed = get("/v1/models", "alice").json()["data"]
                break
            except httpx.TransportError:
                assert time.monotonic() < end and server.process.poll() is None
        assert [m["id"] for m in listed] == ["a", "b", "bee"]
        for name in ("b", "bee"):
            one = get("/v1/models/" + name, "alice")
            assert one.status_code == 200, one.text
            assert (one.json()["id"], one.json()["root"], one.json()["created"]) == (name, "b", 0)
        assert get("/v1/models/c", "alice").status_code == 404
        keys.write_text("bob key-of-bob-0123456789\ncarol key-of-carol-0123456789\n")
        server.process.send_signal(signal.SIGHUP)
        while get("/v1/models", "bob").status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert get("/v1/models", "alice").status_code == 401
        server.wait_ready()
        server.logged(event="ready")
        events = [line["event"] for line in server.log()]
        assert events.index("reload") < events.index("ready")
        assert "keys: 2" in server.stderr()
        assert get("/v1/models/bee", "bob").json()["created"] > 0


def test_the_end_of_the_drain_tells_requests_on_a_model_that_is_unloaded(rill, stories, smollm2):
    with Server(rill, "a=" + stories, "b=" + smollm2, "--admin-port", "0", "--context", "2048",
                "--kv-memory", "256M", "--drain", "1") as server:
        body = {"model": "b", "prompt": "Once", "max_tokens": 2000, "ignore_eos": True}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            events = pool.submit(stream, server, "/v1/completions", body)
            end = time.monotonic() + 20
            while server.metric("rill_requests_running") < 1:
                assert time.monotonic() < end
                time.sleep(0.02)
            unload = pool.submit(httpx.delete, server.admin_url + "/admin/models/b", timeout=60)
            while request(server, "b").status_code != 404:
                assert time.monotonic() < end
                time.sleep(0.01)
            server.terminate()
            assert events.result()[-1]["error"]["code"] == "draining"
            assert unload.result().status_code == 200, unload.result().text
            assert server.process.wait(10) == 0


def test_keys_are_told_nowhere(rill, stories, tmp_path):
    """Threat G5: keys come from a file or the environment, and no log, page or answer repeats one."""
    secrets = ["key-of-alice-0123456789", "key-of-root-0123456789", "key-from-the-environment-42",
               "a-wrong-key-that-was-tried"]
    keys = tmp_path / "keys"
    keys.write_text(f"alice {secrets[0]}\nroot {secrets[1]} admin\n")
    with Server(rill, "m=" + stories, "--key-file", keys, "--admin-port", "0",
                env={"RILL_API_KEY": secrets[2]}) as server:
        seen = []
        for secret in secrets:
            headers = {"authorization": "Bearer " + secret}
            seen.append(server.post("/v1/completions", {"model": "m", "prompt": "a",
                                                        "max_tokens": 1}, headers=headers))
            seen.append(server.post("/v1/completions", {"model": "none"}, headers=headers))
            seen.append(server.get("/metrics", headers=headers))
            seen.append(httpx.get(server.admin_url + "/server_info", headers=headers, timeout=60))
        assert [r.status_code for r in seen[::4]] == [200, 200, 200, 401]
        assert seen[7].status_code == 200  # root's
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        told = server.stderr() + server.log_path.read_text() + " ".join(server.process.args[1:])
        told += "".join(r.text + str(r.headers) for r in seen)
        assert not [s for s in secrets if s in told]
    # No flag takes a key itself: others on the machine could read it.
    help_text = subprocess.run([rill, "serve", "--help"], capture_output=True, text=True,
                               check=True).stdout
    assert "--key-file" in help_text and "--api-key" not in help_text


def test_trace_and_objective_are_checked_and_on_both_lines(rill, stories):
    """traceparent as W3C says, or none (cases: http/trace_context_test.cc); an objective of any bytes."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    good = f"00-{trace}-00f067aa0ba902b7-01"
    sent = [  # headers, trace id, objective
        ([("traceparent", good), ("x-llm-d-inference-objective", "batch")], trace, "batch"),
        ([("traceparent", f"cc-{trace}-00f067aa0ba902b7-01-later")], trace, None),
        ([("traceparent", good.upper())], None, None),
        ([("traceparent", good + "-more")], None, None),
        ([("traceparent", f"ff-{trace}-00f067aa0ba902b7-01")], None, None),
        ([("traceparent", f"00-{'0' * 32}-00f067aa0ba902b7-01")], None, None),
        ([("traceparent", f"00-{trace}-{'0' * 16}-01")], None, None),
        ([("traceparent", good), ("traceparent", good)], None, None),
        ([("x-llm-d-inference-objective", "o" * 253)], None, "o" * 253),
        ([("x-llm-d-inference-objective", "o" * 254)], None, None),
        ([("x-llm-d-inference-objective", "a"), ("x-llm-d-inference-objective", "b")], None, None),
        ([("x-llm-d-inference-objective", 'x","level":"error\t\\\xff'.encode("latin-1"))], None,
         'x","level":"error\t\\\ufffd'),
        ([], None, None)]
    with Server(rill, "m=" + stories) as server:
        for number, (headers, _, _) in enumerate(sent):
            body = {"model": "m", "prompt": "Once", "max_tokens": 1}
            assert server.post("/v1/completions", body, headers=[
                ("x-request-id", f"trace-{number}"), *headers]).status_code == 200, headers
        # A request that no handler saw has the same line.
        server.get("/nowhere", headers={"x-request-id": "lost", "traceparent": good})
        assert server.logged(request_id="lost")["trace_id"] == trace
        for number, (headers, trace_id, objective) in enumerate(sent):
            for event in ("request", "generation"):
                line = server.logged(event=event, request_id=f"trace-{number}")
                assert sum(x["event"] == event and x["request_id"] == line["request_id"]
                           for x in server.log() if "request_id" in x) == 1
                assert line.get("trace_id") == trace_id, headers
                assert line.get("objective") == objective, headers
                assert line["level"] == "info"


def test_logs_have_ids_and_no_prompt_text(rill, tiny_chat):
    secret = "xylophone-secret-4711"
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with Server(rill, "m=" + tiny_chat) as server:
        answer = server.post("/v1/chat/completions",
                             {"model": "m", "max_tokens": 3, "user": secret,
                              "messages": [{"role": "user", "content": secret}]},
                             headers={"x-request-id": "log-me-1", "traceparent": trace})
        assert answer.status_code == 200
        server.post("/v1/chat/completions", {"model": secret, "messages": secret},
                    headers={"x-request-id": "bad-1"})
        server.post("/v1/completions", {"model": "m", "prompt": secret, "stop": [5]},
                    headers={"x-request-id": "bad-2"})
        for name in ("log-me-1", "bad-1", "bad-2"):
            server.logged(event="request", request_id=name)
        server.logged(event="generation", request_id="log-me-1")
        lines = server.log()
        assert secret not in server.log_path.read_text()
        assert secret not in server.stderr()
        assert secret not in server.get("/metrics").text
        done = [line for line in lines if line["event"] == "generation"
                and line["request_id"] == "log-me-1"]
        assert len(done) == 1
        assert done[0]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
        assert done[0]["completion_tokens"] == 3 and done[0]["finish_reason"] == "length"
        assert done[0]["total_ms"] >= done[0]["first_token_ms"] > 0
        access = [line for line in lines if line["event"] == "request"]
        assert any(line["request_id"] == "log-me-1" and line["status"] == 200
                   and line["route"] == "/v1/chat/completions" for line in access)


def test_disk_full_for_logs_changes_nothing(rill, stories):
    with Server(rill, "m=" + stories, "--log-file", "/dev/full") as server:
        for _ in range(20):
            assert request(server, "m").status_code == 200


def test_any_model_name(rill, stories):
    with Server(rill, "m=" + stories, "--any-model-name") as server:
        assert request(server, "gpt-4o").json()["model"] == "gpt-4o"


def on_a_terminal(rill, words, columns, until):
    """What a server writes on a terminal, until `until` of it is true or for 30 s."""
    import fcntl
    import pty
    import select
    import struct
    import termios
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([rill, "serve", *map(str, words), "--port", "0"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    text, end = "", time.monotonic() + 30
    while time.monotonic() < end and not until(text):
        if select.select([master], [], [], 0.2)[0]:
            try:
                text += os.read(master, 65536).decode(errors="replace")
            except OSError:
                break
    process.send_signal(signal.SIGINT)  # Ctrl-C: no balancer to wait for
    assert process.wait(10) == 0
    os.close(master)
    return text


@pytest.mark.parametrize("columns, words", [(120, []), (80, []), (40, []), (120, ["--log-format", "none"]),
                                            (120, ["--log-format", "json", "--log-file"])])
def test_live_line_on_a_terminal(rill, stories, tmp_path, columns, words):
    """On a terminal: a line that says what share of the machine is in use, no longer than it is wide."""
    if "--log-file" in words:
        words = [*words, tmp_path / "log"]
    text = on_a_terminal(rill, [stories, *words], columns, lambda text: text.count(" run") >= 2)
    line = re.search(r"\r\x1b\[K(\d+ run[^\r]*)\r", text)[1]
    words_of_120 = r"\d+ running, \d+ waiting \| .* memory \d+ %, compute \d+ %, KV \d+ %"
    words_of_80 = r"\d+ run \d+ wait \| .* \| mem \d+ % comp \d+ % KV \d+ %"
    assert len(line) < columns
    assert (re.fullmatch(words_of_120, line) is not None) == (columns == 120)
    assert (re.fullmatch(words_of_80, line) is not None) == (columns == 80)
    if words and words[1] == "json":
        # Read after the server has ended: every line is there.
        assert '"ready"' in (tmp_path / "log").read_text()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_logs_on_a_terminal_when_asked_for(rill, stories, log_format):
    """Instead of the live line, which they would write over."""
    requested = []

    def until(text):
        if (url := re.search(r"ready on (http://\S+)/v1", text)) and not requested:
            requested.append(httpx.get(url[1] + "/v1/models").status_code)
        return "GET /v1/models" in text or '"/v1/models"' in text

    text = on_a_terminal(rill, [stories, "--log-format", log_format], 120, until)
    assert requested == [200] and " running," not in text
    assert "/v1/models" in text


def test_less_kv_memory_than_a_context_is_told(rill, stories):
    with Server(rill, "m=" + stories, "--kv-memory", "16K") as server:
        assert re.search(r"m: \S+ \w+ of KV memory, one context of \d+ positions; --kv-memory \S+ \w+ is less",
                         server.stderr()), server.stderr()


def test_what_meets_an_unload_is_not_found(rill, stories):
    """The name is gone: an answer that asks to try again would be wrong."""
    with Server(rill, "m=" + stories, "--kv-memory", "32M", "--admin-port", "0") as server:
        seen, stop = collections.Counter(), threading.Event()

        def ask():
            with server.client() as client:
                while not stop.is_set():
                    answer = client.post("/v1/completions", json={
                        "model": "two", "prompt": "Once upon", "max_tokens": 3})
                    error = answer.json().get("error") or {}
                    seen[answer.status_code, error.get("code")] += 1

        with concurrent.futures.ThreadPoolExecutor(4) as pool, \
                httpx.Client(base_url=server.admin_url, timeout=60) as admin:
            clients = [pool.submit(ask) for _ in range(4)]
            try:
                for _ in range(30):
                    assert admin.post("/admin/models",
                                      json={"path": stories, "name": "two"}).is_success
                    time.sleep(0.02)
                    assert admin.delete("/admin/models/two").is_success
            finally:
                stop.set()
            for client in clients:
                client.result()
        known = {(200, None), (404, "model_not_found")}
        assert known <= set(seen) <= known | {(503, "draining")}, seen


def test_the_wait_of_what_ended_in_the_queue_is_logged(rill, smollm2):
    with Server(rill, "m=" + smollm2, "--context", "2048", "--kv-memory", "64M", "--max-sequences",
                "1", "--queue-timeout", "1") as server:
        def post():
            return server.post("/v1/completions", {"prompt": "a", "max_tokens": 1900,
                                                   "ignore_eos": True, "model": "m"}).status_code
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            assert 503 in list(pool.map(lambda _: post(), range(3)))
        assert server.logged(outcome="overloaded")["queue_ms"] > 900
