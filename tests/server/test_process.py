"""The process and its surroundings (threats I3, I4, I7, I8, I10): killed, without disk, without
memory, with the clock set, and as it is built."""
import asyncio
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import httpx
import pytest

from harness import Server, is_sanitized
from test_deploy import free_ports

ROOT = pathlib.Path(__file__).resolve().parents[2]


def request(server, **extra):
    return server.post("/v1/completions", {"model": "m", "prompt": "Once", "max_tokens": 4,
                                           "temperature": 0, **extra})


def test_closed_standard_descriptors_are_given_to_nobody(rill, stories, tmp_path):
    """What writes to stderr must not write into a socket."""
    path = tmp_path / "socket"
    with subprocess.Popen(["sh", "-c", 'exec "$0" serve "$1" --unix "$2" --port 0 --context 256 0<&- 1>&- 2>&-',
                           rill, "m=" + stories, path]) as process:
        end = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
        opened = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert opened == ["/dev/null"] * 3


def cpu_seconds(pid):
    """Of all threads, in user space and in the kernel."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_server_uses_no_cpu(rill, stories):
    """With its pool of threads awake a moment ago, and a client that keeps its connection. 3 % of a CPU is
    above the ticks in which the clock counts (10 ms) and far below a thread that spins (100 %)."""
    if is_sanitized(rill):
        pytest.skip("skipped: a sanitizer's own threads work")
    with Server(rill, "m=" + stories, "--context", "256", "--threads", "2") as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            assert client.post("/v1/completions", json={"model": "m", "prompt": "Once", "max_tokens": 16,
                                                        "temperature": 0}).status_code == 200
            time.sleep(0.5)
            before = cpu_seconds(server.process.pid)
            time.sleep(3)
            used = cpu_seconds(server.process.pid) - before
            assert used <= 0.03 * 3, used
            assert client.get("/health").status_code == 200


def test_kill_9_under_load_and_restart(rill, stories, tmp_path):
    """I7: the same port and Unix socket at once, the same answers, nothing stale (campaign:
    RILL_KILLS=100)."""
    kills = int(os.environ.get("RILL_KILLS", "5"))
    port, = free_ports(1)
    words = ["m=" + stories, "--kv-memory", "64M", "--unix", tmp_path / "rill.sock"]
    texts = set()
    for number in range(kills):
        server = Server(rill, *words, port=port)
        texts.add(request(server, max_tokens=50).json()["choices"][0]["text"])
        threads = [threading.Thread(target=lambda: pytest.raises(
            httpx.HTTPError, request, server, max_tokens=450, ignore_eos=True, n=16,
            prompt=["a"] * 100)) for _ in range(4)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 10
        while server.metric("rill_requests_running") == 0 and time.monotonic() < end:
            time.sleep(0.002)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        for thread in threads:
            thread.join()
        server.stop()
        server.folder.cleanup()
    with Server(rill, *words, port=port) as server:
        texts.add(request(server, max_tokens=50).json()["choices"][0]["text"])
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "rill.sock"))
            sock.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
    assert len(texts) == 1
    assert not list(pathlib.Path("/dev/shm").glob("rill*")), "shared memory was left"
    assert list(tmp_path.iterdir()) == [], "files were left"


def test_full_disk_and_closed_pipe_lose_lines_and_no_requests(rill, stories):
    """I4: lost lines are counted."""
    with Server(rill, "m=" + stories, "--log-file", "/dev/full") as server:
        for _ in range(20):
            assert request(server).status_code == 200
        end = time.monotonic() + 5
        while server.metric("rill_log_lines_dropped_total") < 20:
            assert time.monotonic() < end
            time.sleep(0.05)
    read, write = os.pipe()
    port, = free_ports(1)
    process = subprocess.Popen([rill, "serve", "m=" + stories, "--port", str(port), "--log-format",
                                "json", "--threads", "1", "--drain-delay", "0"], stderr=write, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    os.close(write)
    text = b""
    while b"ready on" not in text:
        text += os.read(read, 65536)
    os.close(read)  # who read the log is gone
    url = f"http://127.0.0.1:{port}/v1/completions"
    for _ in range(20):
        assert httpx.post(url, json={"model": "m", "prompt": "a", "max_tokens": 1},
                          timeout=30).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_stderr_that_nobody_reads_holds_up_nothing(rill, stories):
    """I4, I6: a reader that stopped reading costs lines, which are counted, and never the end."""
    read, write = os.pipe()
    try:
        process = subprocess.Popen([rill, "serve", "m=" + stories, "--port", "0", "--unix", "s.sock",
                                    "--threads", "1", "--drain-delay", "0", "--log-prompts",
                                    "--log-format", "json"], stderr=write,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   cwd=(folder := tempfile.mkdtemp(prefix="rill-")))
        os.close(write)
        with httpx.Client(transport=httpx.HTTPTransport(uds=folder + "/s.sock", retries=100),
                          base_url="http://localhost", timeout=30) as client:
            for _ in range(600):
                with contextlib.suppress(httpx.HTTPError):
                    if client.get("/health").status_code == 200:
                        break
                time.sleep(0.05)
            # More than a pipe and the queue before it hold; refused, and logged before that.
            for _ in range(300):
                assert client.post("/tokenize", json={"prompt": "a" * 60_000}).status_code == 400
            for _ in range(200):
                page = client.get("/metrics").text
                dropped = float(re.search(r"^rill_log_lines_dropped_total (\S+)", page, re.M)[1])
                if dropped > 0:
                    break
                time.sleep(0.05)
            assert dropped > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        os.close(read)
        if process.poll() is None:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_lines_that_stderr_refuses_are_counted(rill, stories):
    with open("/dev/full", "w") as full:
        process = subprocess.Popen([rill, "serve", "m=" + stories, "--port", "0", "--unix", "s.sock",
                                    "--threads", "1", "--drain-delay", "0", "-q"], stderr=full,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   cwd=(folder := tempfile.mkdtemp(prefix="rill-")))
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=folder + "/s.sock"),
                          base_url="http://localhost", timeout=30) as client:
            for _ in range(600):
                with contextlib.suppress(httpx.HTTPError):
                    page = client.get("/metrics").text
                    found = re.search(r"^rill_log_lines_dropped_total (\S+)", page, re.M)
                    if found and float(found[1]) > 0:
                        break
                time.sleep(0.05)
            else:
                pytest.fail("no dropped line was counted")
    finally:
        process.terminate()
        assert process.wait(20) == 0
        shutil.rmtree(folder, ignore_errors=True)

def memory_cgroup(limit):
    """A new memory cgroup (v2 or v1) with that limit; (path, procs file). Skips without the right."""
    v2 = pathlib.Path("/sys/fs/cgroup/cgroup.controllers")
    v1 = pathlib.Path("/sys/fs/cgroup/memory")
    base = v1 if v1.is_dir() else v2.parent
    if base is v1:
        own = next((line.split(":", 2)[2].strip() for line in
                    pathlib.Path("/proc/self/cgroup").read_text().splitlines()
                    if ":memory:" in line), "/")
        base = v1 / own.lstrip("/") if (v1 / own.lstrip("/")).is_dir() else v1
    group = base / f"rill-test-{os.getpid()}"
    try:
        group.mkdir()
        name = "memory.max" if v2.exists() and not v1.is_dir() else "memory.limit_in_bytes"
        (group / name).write_text(str(limit))
    except OSError as error:
        pytest.skip(f"skipped: no memory cgroup to be made here ({error})")
    return group


def remove_cgroup(group):
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            group.rmdir()
            break
        except OSError:
            time.sleep(0.1)


def test_memory_limit_just_above_the_plan(rill, smollm2):
    """Memory pressure: a cgroup of 105 % of the plan (and what the program itself takes) and a KV
    pool that holds a sixth of what is asked at once: nothing is killed, every request ends."""
    if is_sanitized(rill):
        pytest.skip("skipped: the sanitizer's own memory is in no plan")
    words = ["m=" + smollm2, "--context", "512", "--kv-memory", "8M", "--memory", "2G",
             "--activations", "q8"]
    with Server(rill, *words) as server:
        plan = server.stderr()
        total = float(re.search(r"memory: ([\d.]+) MB of", plan)[1]) * 1e6 \
            if " MB of a budget" in plan else \
            float(re.search(r"memory: ([\d.]+) GB of", plan)[1]) * 1e9
    program = 64 << 20  # code, stacks, tokenizer
    group = memory_cgroup(int(total * 1.05) + program)
    try:
        enter = f'echo $$ >{group}/cgroup.procs; exec "$@"'
        with Server(rill, *words, prefix=["sh", "-c", enter, "sh"]) as server:
            body = {"model": "m", "max_tokens": 20, "ignore_eos": True}

            async def run():
                async with httpx.AsyncClient(base_url=server.url, timeout=300) as client:
                    return await asyncio.gather(*(client.post("/v1/completions", json={
                        **body, "prompt": [5 + i] * 120}) for i in range(24)))
            answers = asyncio.run(run())
            assert all(a.status_code in (200, 503) for a in answers)
            assert sum(a.status_code == 200 for a in answers) >= 20
            assert server.alive()
            server.wait_idle()
            events = group / "memory.events"
            if events.exists():
                assert "oom_kill 0" in events.read_text()
            peak = group / "memory.max_usage_in_bytes"
            if not peak.exists():
                peak = group / "memory.peak"
            if peak.exists():
                print(f"plan {total / 1e6:.0f} MB, peak {int(peak.read_text()) / 1e6:.0f} MB")
    finally:
        remove_cgroup(group)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_without_address_space_connections_end_and_not_the_server(rill, stories, tmp_path, tls):
    """I1: bodies fill all that RLIMIT_AS leaves, then a crowd comes. Each of it is answered or its
    connection closed; when there is memory again all is as before."""
    if is_sanitized(rill):
        pytest.skip("skipped: a sanitizer reserves all of the address space")
    words = ["m=" + stories, "--kv-memory", "32M"]
    context = ssl.create_default_context()
    if tls:
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=IP:127.0.0.1", "-days", "2", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        # OpenSSL without memory may wait for ever: such a handshake ends by its deadline.
        words += ["--tls-cert", cert, "--tls-key", key, "--limit", "tls_handshake_timeout_ms=500"]
        context = ssl.create_default_context(cafile=cert)

    def connect(address):
        sock = socket.create_connection(address, timeout=20)
        return context.wrap_socket(sock, server_hostname=address[0]) if tls else sock

    def ask(server, path, body=None):
        method = "POST" if body else "GET"
        with httpx.Client(base_url=server.url, verify=context, timeout=60) as client:
            answer = client.request(method, path, json=body)
        assert answer.status_code == 200
        return answer

    def text(server):
        body = {"model": "m", "prompt": "Once", "max_tokens": 4, "temperature": 0}
        return ask(server, "/v1/completions", body).json()["choices"][0]["text"]

    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000\r\n\r\n"
    # One arena: others have address space of their own, which the limit would not bound.
    with Server(rill, *words, env={"MALLOC_ARENA_MAX": "1"}) as server:
        before = text(server)
        pid, address = server.process.pid, ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        size = int(re.search(r"VmSize:\s+(\d+) kB", status)[1]) << 10
        limits = resource.prlimit(pid, resource.RLIMIT_AS)
        ends = {"answered": 0, "closed": 0}
        for room in (4 << 20, 1 << 20, 256 << 10, 64 << 10):
            full = [connect(address) for _ in range(40)]
            resource.prlimit(pid, resource.RLIMIT_AS, (size + room, limits[1]))
            cut = 0
            for i in range(8000):  # in small pieces: the last one that fits leaves little
                try:
                    full[i % 40].sendall((head if i < 40 else b"") + b"x" * 16000)
                except TimeoutError:
                    raise
                except OSError:
                    cut += 1
                    if cut == 20:
                        break
            assert cut == 20, "memory did not run out"
            crowd = []
            for _ in range(200):
                try:
                    crowd.append(connect(address))
                    crowd[-1].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
                                      b"Connection: close\r\n\r\n")
                except TimeoutError:
                    raise
                except OSError:
                    ends["closed"] += 1
            for sock in crowd:
                answer = b""
                try:
                    while part := sock.recv(4096):
                        answer += part
                except TimeoutError:
                    raise
                except OSError:
                    pass
                ends["answered" if answer.startswith(b"HTTP/1.1") else "closed"] += 1
            for sock in full + crowd:
                sock.close()
            resource.prlimit(pid, resource.RLIMIT_AS, limits)
            assert text(server) == before
        print(f"no address space: {ends}")
        end = time.monotonic() + 10
        while not re.search("^rill_http_connections_open 1$", ask(server, "/metrics").text, re.M):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert server.stop() == 0


def test_a_memory_limit_is_the_budget(rill, stories):
    """Without --memory the plan fills what this process may have, not what the machine has."""
    limit = 700 << 20
    group = memory_cgroup(limit)
    try:
        enter = f'echo $$ >{group}/cgroup.procs; exec "$@"'
        with Server(rill, "m=" + stories, prefix=["sh", "-c", enter, "sh"]) as server:
            budget = float(re.search(r"of a budget of ([\d.]+) GB", server.stderr())[1]) * 1e9
            assert 0.7 * limit < budget <= limit
    finally:
        remove_cgroup(group)


@pytest.mark.parametrize("preallocate", [True, False])
def test_kv_memory_is_there_at_the_start_where_asked_for(rill, stories, preallocate):
    flags = ["--preallocate"] if preallocate else []
    with Server(rill, "m=" + stories, "--kv-memory", "192M", *flags) as server:
        with open(f"/proc/{server.process.pid}/smaps_rollup", encoding="ascii") as file:
            resident_mb = next(int(line.split()[1]) for line in file if line.startswith("Anonymous"))
        assert (resident_mb >= 192 << 10) == preallocate


def test_the_wall_clock_decides_nothing():
    """I8: only log lines, answers' `created` and file names know the time of day; every wait and
    timeout is by the monotonic clock."""
    allowed = {"src/server/request_log.cc", "src/server/metrics/page.cc",
               "src/server/http/exchange.cc", "src/server/model_registry.cc",
               "src/server/endpoints/generation_request.cc"}
    found = set()
    for path in [*(ROOT / "src" / "server").rglob("*.cc"), *(ROOT / "src" / "server").rglob("*.h"),
                 *(ROOT / "src" / "engine").rglob("*.cc"), *(ROOT / "src" / "engine").rglob("*.h"),
                 ROOT / "src" / "llm" / "text_service.cc"]:
        text = path.read_text()
        if re.search(r"system_clock|\bgettimeofday\b|CLOCK_REALTIME|(?<!\w)(?:std::)?time\(", text):
            found.add(str(path.relative_to(ROOT)))
    assert found <= allowed, found - allowed


def test_the_binary_is_hardened(rill):
    """I10: PIE, full RELRO, no executable stack, stack protector, fortified libc calls, CET."""
    if not shutil.which("readelf"):
        pytest.skip("skipped: readelf is not installed")

    def readelf(*words):
        return subprocess.run(["readelf", "-W", *words, rill], capture_output=True, text=True,
                              check=True).stdout
    assert "DYN" in readelf("-h")
    segments, dynamic = readelf("-l"), readelf("-d")
    assert "GNU_RELRO" in segments and "BIND_NOW" in dynamic
    stack = next(line for line in segments.splitlines() if "GNU_STACK" in line)
    assert " RW " in stack and "RWE" not in stack
    symbols = readelf("--dyn-syms")
    assert "__stack_chk_fail" in symbols
    assert re.search(r"__(memcpy|memset|snprintf|vsnprintf|fprintf|read|memmove)_chk", symbols)
    if os.uname().machine == "x86_64":
        # The note that says IBT is dropped by the linker when Debian's own start files lack it; that
        # functions begin with endbr64 is what this project can do.
        assert pathlib.Path(rill).read_bytes().count(b"\xf3\x0f\x1e\xfa") > 5000


def test_slow_clients_by_slowhttptest(rill, stories):
    """B2 by a tool of others: slow heads, slow bodies, slow readers; a normal client meanwhile
    (campaign: RILL_SLOW_CONNECTIONS=1000)."""
    tool = shutil.which("slowhttptest")
    if not tool:
        pytest.skip("skipped: slowhttptest is not installed")
    count = int(os.environ.get("RILL_SLOW_CONNECTIONS", "200"))
    seconds = 20 if count >= 1000 else 4

    def latencies(server, until):
        times = []
        with server.client() as client:
            while until():
                start = time.perf_counter()
                assert client.post("/v1/completions", json={
                    "model": "m", "prompt": "Once", "max_tokens": 8}).status_code == 200
                times.append(time.perf_counter() - start)
                time.sleep(0.01)
        times.sort()
        return times[len(times) // 2], times[len(times) * 99 // 100]

    with Server(rill, "m=" + stories, "--kv-memory", "64M", "--no-request-log") as server:
        end = time.monotonic() + seconds
        alone = latencies(server, lambda: time.monotonic() < end)
        for name, words in (("slow heads", ["-H", "-i", "3", "-x", "24"]),
                            ("slow bodies", ["-B", "-i", "3", "-s", "8192", "-x", "10"]),
                            ("slow readers", ["-X", "-n", "3", "-w", "1", "-y", "16", "-z", "1",
                                              "-k", "3"])):
            # An answer that does not fit the buffers of a client whose window is 16 bytes.
            url = server.url + {"slow bodies": "/v1/completions", "slow readers": "/openapi.json"
                                }.get(name, "/health")
            with subprocess.Popen([tool, "-c", str(count), "-r", str(max(50, count // 5)), "-l",
                                   str(seconds), "-p", "3", "-u", url, *words],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as attack:
                median, p99 = latencies(server, lambda: attack.poll() is None)
            print(f"{name}, {count} connections: a request takes {median * 1e3:.1f} ms (99 %: "
                  f"{p99 * 1e3:.1f} ms); alone {alone[0] * 1e3:.1f} ms ({alone[1] * 1e3:.1f} ms)")
            # The tool itself takes a core: the medians are compared loosely, service must go on.
            assert median < 10 * alone[0] + 0.05, (name, median, alone)
            assert server.alive()
        server.wait_idle()
