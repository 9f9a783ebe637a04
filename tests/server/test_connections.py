"""What clients do to connections: pipelining, leaving, being slow, coming in crowds."""
import contextlib
import json
import os
import pathlib
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from harness import is_sanitized
from http_client import HOST, Server, exchange, read_chunks, read_response, statuses


def get(path, more=b""):
    return f"GET {path} HTTP/1.1\r\n".encode() + HOST + more + b"\r\n"


@pytest.fixture(scope="module")
def server(build_dir):
    with Server(build_dir, linger=300) as running:
        yield running


def test_pipelined_requests_are_answered_in_order(server):
    """B5: the second and third wait while the first streams."""
    many = b"".join(get(f"/v1/echo?i={i}") for i in range(50))
    with server.connect() as sock:
        sock.sendall(get("/v1/stream?n=5&ms=20") + many + get("/v1/echo?last=1", b"Connection: close\r\n"))
        file = sock.makefile("rb")
        status, headers, body = read_response(file)
        assert status == 200 and body.endswith(b"data: [DONE]\n\n")
        for i in range(50):
            assert json.loads(read_response(file)[2])["query"] == {"i": str(i)}
        status, headers, body = read_response(file)
        assert headers["connection"] == "close" and json.loads(body)["query"] == {"last": "1"}
        assert file.read() == b""


def test_pipelining_beyond_the_limit_waits_and_loses_nothing(server):
    body = b"b" * 200_000
    with server.connect(timeout=10) as sock:
        big = b"POST /v1/echo HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body
        sender = threading.Thread(target=sock.sendall, args=(get("/v1/slow?ms=300") + big + big,))
        sender.start()
        file = sock.makefile("rb")
        assert read_response(file)[2] == b"slow\n"
        for _ in range(2):
            assert json.loads(read_response(file)[2])["body_bytes"] == len(body)
        sender.join()


def test_one_event_is_one_chunk(server):
    with server.connect() as sock:
        sock.sendall(get("/v1/stream?n=20"))
        file = sock.makefile("rb")
        while file.readline() != b"\r\n":
            pass
        chunks = read_chunks(file)
    assert len(chunks) == 21 and all(c.startswith(b"data: ") and c.endswith(b"\n\n") for c in chunks)


def test_http_1_0_client_gets_an_unchunked_stream_that_ends_with_the_connection(server):
    answer = server.raw(b"GET /v1/stream?n=2 HTTP/1.0\r\n\r\n")
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"transfer-encoding" not in head.lower() and b"connection: close" in head.lower()
    assert body.startswith(b"data: 0") and body.endswith(b"data: [DONE]\n\n")


def test_head_has_the_headers_of_get_and_no_body(server):
    assert server.request("HEAD", "/v1/echo")[0] == 200
    answer = server.raw(b"HEAD /v1/big?bytes=5000 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert b"content-length: 5000\r\n" in answer and answer.endswith(b"\r\n\r\n")


def leave(sock, how):
    if how == "rst":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half":
        sock.shutdown(socket.SHUT_WR)
    else:
        sock.close()


@pytest.mark.parametrize("how", ["fin", "rst", "half"])
@pytest.mark.parametrize("path", ["/v1/slow?ms=10000", "/v1/stream?first_ms=10000", "/v1/stream?n=1000&ms=10"])
def test_a_client_that_leaves_is_noticed_at_once(server, how, path):
    """B6: before the answer, between events, streaming or not."""
    before = server.counters()
    sock = server.connect()
    sock.sendall(get(path))
    server.wait_for(lambda c: c["requests_now"] == 2)
    start = time.monotonic()
    leave(sock, how)
    after = server.wait_for(lambda c: c["gone_callbacks"] == before["gone_callbacks"] + 1, 2)
    assert time.monotonic() - start < 0.5
    assert after["clients_gone"] == before["clients_gone"] + 1 and after["requests_now"] == 1
    sock.close()


def test_half_open_clients_are_given_up(build_dir, tmp_path):
    """B6: their packets stop arriving and nothing says so. In a network namespace whose loopback is
    taken down; 2 s here, 30 s by default (RILL_HALF_OPEN_MS=30000: within 45 s)."""
    milliseconds = int(os.environ.get("RILL_HALF_OPEN_MS", "2000"))
    if subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True,
                      check=False).returncode != 0:
        pytest.skip("skipped: no right to make a network namespace, or no iproute2")
    done = subprocess.run(["unshare", "--net", sys.executable,
                           str(pathlib.Path(__file__).parent / "half_open.py"), str(build_dir),
                           str(tmp_path / "socket"), str(milliseconds)], capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    print(report)
    assert len(report["seconds"]) == 2, report
    assert report["requests_now"] == 1 and report["connections_now"] == 1  # the probe's own
    # A probe's turn more, and what a busy machine adds.
    assert max(report["seconds"]) < 1.5 * milliseconds / 1000 + 10, report


def test_leaving_in_head_and_body_costs_nothing(server):
    for data in (b"GE", b"GET /v1/echo HTTP/1.1\r\nHo", b"POST /v1/echo HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\nabc"):
        with server.connect() as sock:
            sock.sendall(data)
    server.wait_for(lambda c: c["connections_now"] == 1 and c["requests_now"] == 1)


def test_disconnect_storm(server):
    """500 clients leave at once; nothing stays behind."""
    socks = [server.connect() for _ in range(500)]
    for sock in socks:
        sock.sendall(get("/v1/stream?n=1000&ms=50"))
    server.wait_for(lambda c: c["requests_now"] >= 400)
    for i, sock in enumerate(socks):
        leave(sock, "rst" if i % 2 else "fin")
    server.wait_for(lambda c: c["requests_now"] == 1 and c["connections_now"] == 1, 10)


def test_an_answer_that_never_comes_is_500_and_a_throwing_handler_is_survived(server):
    assert server.get("/v1/silent")[0] == 500
    status, _, body = server.get("/v1/throws")
    assert status == 500 and json.loads(body)["error"]["type"] == "server_error" and b"planted" not in body


def test_slow_head_slow_body_and_idle_connections_are_timed_out(build_dir):
    """B2: slowloris and slow POST; others are served meanwhile."""
    with Server(build_dir, head_timeout=1500, body_window=1500, body_min_bytes_per_window=1000,
                keep_alive_timeout=2000, linger=100) as server:
        results = {}

        def drip(name, start, more):
            with server.connect(timeout=15) as sock:
                sock.sendall(start)
                begin = time.monotonic()
                sock.settimeout(0.05)
                answer = b""
                while time.monotonic() - begin < 12:
                    try:
                        sock.sendall(more)
                        part = sock.recv(4096)
                        if not part:
                            break
                        answer += part
                    except TimeoutError:
                        continue
                    except OSError:
                        break
                results[name] = (time.monotonic() - begin, statuses(answer))

        clients = [threading.Thread(target=drip, args=args) for args in (
            ("head", b"GET / HTTP/1.1\r\nX: ", b"a"),
            ("body", b"POST /v1/echo HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n", b"a"),
            ("chunks", b"POST /v1/echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
            ("idle", b"", b""))]
        for client in clients:
            client.start()
        slowest = 0
        for _ in range(20):
            start = time.monotonic()
            assert server.get("/health")[0] == 200
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(0.02)
        for client in clients:
            client.join()
        assert slowest < 0.3
        for name, status in (("head", [408]), ("body", [408]), ("chunks", [408]), ("idle", [])):
            seconds, got = results[name]
            assert got == status and 1.2 < seconds < 8, (name, seconds, got)
        counters = server.counters()
        assert counters["head_timeouts"] == 1 and counters["body_timeouts"] == 2


def test_a_slow_but_steady_body_is_read(build_dir):
    with Server(build_dir, body_window=3000, body_min_bytes_per_window=100) as server:
        with server.connect() as sock:
            sock.sendall(b"POST /v1/echo HTTP/1.1\r\n" + HOST + b"Content-Length: 10000\r\n\r\n")
            for _ in range(10):  # more than two windows
                sock.sendall(b"a" * 1000)
                time.sleep(0.7)
            assert read_response(sock.makefile("rb"))[0] == 200


def test_never_reading_client_is_cut_and_others_go_on(build_dir):
    """B7, by size (256 KiB unsent) and by time (no progress)."""
    with Server(build_dir, write_stall=500, linger=100) as server:
        with server.connect(rcvbuf=4096) as sock:
            sock.sendall(get("/v1/stream?n=100000&bytes=1000"))
            server.wait_for(lambda c: c["cut_writes"] == c["slow_readers_cut"] == c["gone_callbacks"] == 1)
        with server.connect(rcvbuf=4096) as sock:
            start = time.monotonic()
            sock.sendall(get("/v1/big?bytes=20000000"))
            server.wait_for(lambda c: c["slow_readers_cut"] == 2)
            assert time.monotonic() - start > 0.3
        status, _, body = server.get("/v1/big?bytes=20000000")
        assert status == 200 and len(body) == 20_000_000, "a client that reads gets any size"


def test_pings_fill_the_silence_of_event_streams(build_dir):
    with Server(build_dir, ping_interval=200) as server:
        _, _, body = server.get("/v1/stream?n=2&ms=2000")
        assert 7 <= body.count(b": ping\n\n") <= 10 and body.index(b"data: 0") < body.index(b": ping")
        assert server.get("/v1/slow?ms=300")[2] == b"slow\n"


def test_expect_100_continue(build_dir):
    """B4: the body is asked for only when it will be read."""
    with Server(build_dir, linger=200) as server:
        expect = b"POST /v1/small HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nConnection: close\r\n"
        with server.connect() as sock:
            sock.sendall(expect + b"Content-Length: 5\r\n\r\n")
            assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert statuses(exchange(sock, b"hello")) == [200]
        assert statuses(server.raw(expect + b"Content-Length: 1001\r\n\r\n")) == [413]
        answer = server.raw(expect.replace(b"small", b"nowhere") + b"Content-Length: 5\r\n\r\n")
        assert statuses(answer) == [404]
        answer = server.raw(expect + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"a" * 1001 + b"\r\n0\r\n\r\n")
        assert statuses(answer)[-1] == 413


def test_answer_to_a_body_that_is_not_read_arrives(server):
    """413 while megabytes are still coming: no reset may overtake the answer."""
    status, headers, _ = server.request("POST", "/v1/small", body=b"a" * 900_000)
    assert status == 413 and headers["connection"] == "close"


def test_100_000_one_byte_chunks(server):
    """B3: linear time, whole body."""
    body = b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n"
    start = time.monotonic()
    with server.connect(timeout=20) as sock:
        sock.sendall(b"POST /v1/echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        assert json.loads(read_response(sock.makefile("rb"))[2])["body_bytes"] == 100_000
    assert time.monotonic() - start < 5


def test_a_body_of_one_byte_chunks_takes_no_more_memory_than_twice_itself(build_dir):
    """B3: 4 MiB of body are 24 MiB on the wire."""
    count = 4 << 20
    with Server(build_dir) as server:
        proc = pathlib.Path(f"/proc/{server.process.pid}")

        def kb(field):
            return int((proc / "status").read_text().split(field + ":")[1].split()[0])

        head = b"POST /v1/echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        small = server.raw(head + b"1\r\na\r\n0\r\n\r\n")
        assert json.loads(small.split(b"\r\n\r\n", 1)[1])["body_bytes"] == 1
        before = kb("VmRSS")
        (proc / "clear_refs").write_text("5")  # the peak begins anew
        answer = server.raw(head + b"1\r\na\r\n" * count + b"0\r\n\r\n", timeout=60)
        assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["body_bytes"] == count
        peak = kb("VmHWM") - before
    print(f"{count >> 10} KiB of body: {peak} KiB more at the peak")
    # A sanitizer's allocator keeps what was freed.
    assert peak <= 2 * (count >> 10) + 512 or is_sanitized(
        pathlib.Path(build_dir) / "apps" / "rill" / "rill"), peak


def test_keep_alive_ends_after_so_many_requests(build_dir):
    with Server(build_dir, max_requests_per_connection=3) as server:
        answer = server.raw(get("/v1/echo") * 5)
        assert statuses(answer) == [200] * 3 and answer.count(b"connection: close") == 1


def test_idle_connections_make_room_busy_ones_do_not(build_dir):
    """Limits on connections: the oldest idle one goes; without one, 503."""
    with Server(build_dir, max_connections=20, linger=100) as server:
        idle = [server.connect() for _ in range(20)]
        time.sleep(1)  # who has just come is not idle yet
        assert server.get("/health")[0] == 200
        counters = server.counters()
        assert counters["connections_evicted"] >= 1 and counters["connections_refused"] == 0
        for sock in idle:
            sock.close()
        server.wait_for(lambda c: c["connections_now"] == 1)
        busy = [server.connect() for _ in range(19)]
        for sock in busy:
            sock.sendall(get("/v1/slow?ms=4000"))
        server.wait_for(lambda c: c["requests_now"] == 20)  # its own, too
        busy.append(server.connect())
        busy[-1].sendall(get("/v1/slow?ms=4000"))
        time.sleep(0.5)
        refused = server.raw(b"")
        assert statuses(refused) == [503] and b"\r\nx-request-id: req_" in refused
        for sock in busy:
            assert read_response(sock.makefile("rb"))[0] == 200
            sock.close()
        assert server.get("/health")[0] == 200


def admin_counters(server):
    """By the admin port, which has places of its own."""
    with server.connect(server.admin_port) as sock:
        answer = exchange(sock, get("/counters", b"Connection: close\r\n"))
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


# Connections that are told by another I/O thread to go and have not yet: ConnectionPlaces.
CONDEMNED = 24


@pytest.mark.parametrize("io_threads", [1, 3])
def test_slow_heads_make_room_and_never_exceed_the_limit(build_dir, io_threads):
    """B2: more half-sent heads than places. The limit holds; a second later newcomers are served."""
    most = 21 + (CONDEMNED if io_threads > 1 else 0)  # and the one that asks
    with Server(build_dir, max_connections=20, admin_port=0, linger=100,
                io_threads=io_threads) as server:
        slow = []
        for _ in range(3):
            for _ in range(60):
                slow.append(sock := server.connect())
                with contextlib.suppress(OSError):  # refused or evicted
                    sock.sendall(b"GET / HTTP/1.1\r\nX: ")
            end = time.monotonic() + 10
            while (now := admin_counters(server))["connections_accepted"] <= len(slow):
                assert time.monotonic() < end
            assert now["connections_now"] <= most, now
            assert now["connections_evicted"] + now["connections_refused"] >= len(slow) + 1 - most
            time.sleep(1.1)
        for _ in range(5):
            assert statuses(server.raw(get("/health", b"Connection: close\r\n"))) == [200]
        assert admin_counters(server)["connections_now"] <= most
        for sock in slow:
            sock.close()


@pytest.mark.parametrize("io_threads", [1, 3])
def test_bursts_over_idle_clients_never_exceed_the_limit(build_dir, io_threads):
    """Bursts of connections beside clients that ask all the time: no ratchet, and afterwards nothing
    is left."""
    most = 51 + (CONDEMNED if io_threads > 1 else 0)
    with Server(build_dir, max_connections=50, admin_port=0, linger=100,
                io_threads=io_threads) as server:
        stop, served = threading.Event(), [0]

        def client():
            sock = None
            while not stop.is_set():
                try:
                    sock = sock or server.connect()
                    sock.sendall(get("/v1/echo"))
                    status = read_response(sock.makefile("rb"))[0]
                    assert status in (200, 503)
                    served[0] += status == 200
                    sock = sock if status == 200 else None
                except (OSError, AssertionError):
                    sock = None  # closed before an answer began
                time.sleep(0.05)  # the tool's line for each has to fit its pipe
        threads = [threading.Thread(target=client) for _ in range(30)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                burst = [server.connect() for _ in range(200)]
                assert admin_counters(server)["connections_now"] <= most
                time.sleep(0.2)
                for sock in burst:
                    sock.close()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert served[0] > 0
        server.wait_for(lambda c: c["connections_now"] == 1)


def test_condemned_connections_are_few_and_what_they_ask_is_answered(build_dir):
    """Two I/O threads, one of them held up: newcomers take the places of its idle connections, which
    cannot be closed yet. A request that had been sent on one of those is answered with 503."""
    limit = 80
    with Server(build_dir, max_connections=limit, admin_port=0, io_threads=2) as server:
        clients = []
        for _ in range(limit):
            clients.append(sock := server.connect(timeout=20))
            sock.sendall(get("/v1/echo"))
            assert read_response(sock.makefile("rb"))[0] == 200
        # Connections go to the threads in turn; the first of them is the one that accepts.
        clients[1].sendall(get("/v1/block?ms=4000"))
        time.sleep(0.3)
        held = clients[3::2]
        for sock in held:
            sock.sendall(get("/v1/echo"))
        newcomers = [server.connect(timeout=20) for _ in range(limit)]
        for sock in newcomers:
            with contextlib.suppress(OSError):
                sock.sendall(get("/v1/echo", b"Connection: close\r\n"))
        # Asked on the thread that is not held up; with none of the two, one of the held ones counts.
        counters = {}
        for _ in range(2):
            with server.connect(server.admin_port, timeout=0.5) as sock:
                answer = exchange(sock, get("/counters", b"Connection: close\r\n"))
                if b"\r\n\r\n" in answer:
                    counters = json.loads(answer.split(b"\r\n\r\n", 1)[1])
        assert 0 < counters["connections_now"] <= limit + CONDEMNED + 2, counters
        assert read_response(clients[1].makefile("rb"))[0] == 200  # not idle, so not condemned
        answers = [read_response(sock.makefile("rb"))[0] for sock in held]
        assert set(answers) == {200, 503} and answers.count(503) == CONDEMNED, answers
        refused = [statuses(exchange(sock, b"")) for sock in newcomers]
        assert all(r in ([200], [503]) for r in refused), refused
        for sock in clients:
            sock.close()
        server.wait_for(lambda c: c["connections_now"] == 1, 20)


def test_a_head_whose_rest_has_come_is_not_closed_over(build_dir):
    """Slow heads make room, but not one whose last bytes wait to be read."""
    with Server(build_dir, max_connections=8, admin_port=0) as server:
        slow = [server.connect(timeout=20) for _ in range(7)]
        for sock in slow:
            sock.sendall(b"GET /v1/echo HTTP/1.1\r\nHost: loc")
        blocks = server.connect(timeout=20)
        blocks.sendall(get("/v1/echo"))
        assert read_response(blocks.makefile("rb"))[0] == 200
        time.sleep(1.2)
        blocks.sendall(get("/v1/block?ms=600"))  # everything below comes at once
        time.sleep(0.2)
        newcomer = server.connect(timeout=20)
        newcomer.sendall(get("/v1/echo", b"Connection: close\r\n"))
        for sock in slow:
            sock.sendall(b"alhost\r\nConnection: close\r\n\r\n")
        assert read_response(blocks.makefile("rb"))[0] == 200
        assert [read_response(sock.makefile("rb"))[0] for sock in slow] == [200] * 7
        assert statuses(exchange(newcomer, b"")) in ([200], [503])


def test_one_client_with_a_request_on_its_way_does_not_hide_the_idle_ones(build_dir):
    """The first that may go has just sent its next request: another one goes, for every newcomer."""
    with Server(build_dir, max_connections=8, admin_port=0) as server:
        asks, blocks = server.connect(timeout=20), server.connect(timeout=20)
        for sock in (asks, blocks):
            sock.sendall(get("/v1/echo"))
            assert read_response(sock.makefile("rb"))[0] == 200
        silent = [server.connect(timeout=20) for _ in range(6)]
        time.sleep(1)
        blocks.sendall(get("/v1/block?ms=600"))  # everything below comes at once
        time.sleep(0.2)
        newcomers = [server.connect(timeout=20) for _ in range(5)]
        for sock in newcomers:
            sock.sendall(get("/v1/echo", b"Connection: close\r\n"))
        asks.sendall(get("/v1/echo"))
        assert read_response(asks.makefile("rb"))[0] == 200
        assert [statuses(exchange(sock, b"")) for sock in newcomers] == [[200]] * 5
        for sock in silent:
            sock.close()


def test_paths_for_everybody_take_no_body(build_dir, tmp_path):
    """Nobody without a key holds memory, or a stranger's place, by a body."""
    keys = tmp_path / "keys"
    keys.write_text("alice key-of-alice\n")
    with Server(build_dir, keys=keys) as server:
        for body in (b"Content-Length: 1\r\n", b"Content-Length: 31457280\r\n",
                     b"Transfer-Encoding: chunked\r\n"):
            answer = server.raw(get("/health", body))
            assert statuses(answer) == [413] and b"takes no body" in answer
        assert statuses(server.raw(get("/health", b"Content-Length: 0\r\nConnection: close\r\n"))) == [200]


def test_admin_listeners_have_places_of_their_own(build_dir):
    """B8: every connection of the main address is in the middle of a request; probes of the admin
    port are answered. These have a limit too."""
    begun = b"POST /v1/echo HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\n"
    probe = get("/health", b"Connection: close\r\n")
    with Server(build_dir, max_connections=10, max_admin_connections=4, admin_port=0,
                linger=100) as server:
        def ask(port):
            with server.connect(port) as sock:
                return statuses(exchange(sock, probe))

        def requests_now():
            return admin_counters(server)["requests_now"]

        def occupy(port, count):
            before, socks = requests_now(), [server.connect(port) for _ in range(count)]
            for sock in socks:
                sock.sendall(begun)
            end = time.monotonic() + 10
            while requests_now() < before + count:
                assert time.monotonic() < end
            return socks

        busy = occupy(server.port, 10)
        assert ask(server.port) == [503]
        for _ in range(6):
            assert ask(server.admin_port) == [200]
        idle = [server.connect(server.admin_port) for _ in range(4)]
        time.sleep(1)  # the oldest makes room
        assert ask(server.admin_port) == [200]
        for sock in idle:
            sock.close()
        busy += occupy(server.admin_port, 3)
        last = server.connect(server.admin_port)
        last.sendall(begun)
        end = time.monotonic() + 10
        while ask(server.admin_port) != [503]:
            assert time.monotonic() < end
        for sock in busy + [last]:
            sock.sendall(b"0123456789")
            assert read_response(sock.makefile("rb"))[0] == 200
            sock.close()


def test_connections_per_address_and_without_key(build_dir, tmp_path):
    with Server(build_dir, max_connections_per_ip=5, loopback_has_ip_limit=1) as server:
        socks = [server.connect() for _ in range(5)]
        assert statuses(server.raw(b"")) == [503]
        socks[0].close()
        end = time.monotonic() + 5
        while server.get("/health")[0] != 200:
            assert time.monotonic() < end
            time.sleep(0.02)
        for sock in socks:
            sock.close()
    keys = tmp_path / "keys"
    keys.write_text("alice key-of-alice\n")
    with Server(build_dir, keys=keys, max_unauthenticated_connections=5) as server:
        key = b"Authorization: Bearer key-of-alice\r\n"
        members = []
        for _ in range(8):
            members.append(sock := server.connect())
            sock.sendall(get("/v1/echo", key))
            assert read_response(sock.makefile("rb"))[0] == 200
        strangers = [server.connect() for _ in range(5)]
        time.sleep(1)  # who has just come is not idle yet
        strangers += [server.connect() for _ in range(4)]
        time.sleep(1)
        server.wait_for(lambda c: c["connections_evicted"] >= 3)
        for sock in members:
            sock.sendall(get("/v1/echo", key))
            assert read_response(sock.makefile("rb"))[0] == 200, "members are not pushed out"
        for sock in strangers:
            sock.close()


@pytest.mark.parametrize("io_threads", [1, 3])
def test_strangers_that_do_not_take_their_answers_make_room(build_dir, tmp_path, io_threads):
    """Each of their pipelined requests is answered (401, later 429), until nothing more fits into their
    sockets: inside a request, and yet not there for as long as it may take to read an answer."""
    keys = tmp_path / "keys"
    keys.write_text("alice key-of-alice\n")
    key = b"Authorization: Bearer key-of-alice\r\n"
    with Server(build_dir, keys=keys, max_unauthenticated_connections=4, admin_port=0,
                io_threads=io_threads) as server:
        stuck = []
        for _ in range(4):
            stuck.append(sock := server.connect(rcvbuf=2048))
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(40):
                    sock.send(get("/v1/echo") * 100)
        time.sleep(0.5)
        assert statuses(server.raw(get("/v1/echo", b"Connection: close\r\n"))) == [503]
        time.sleep(2.5)
        kept = [server.connect() for _ in range(3)]  # none of them makes room for the next yet
        for sock in kept:
            sock.sendall(get("/v1/echo"))
            assert read_response(sock.makefile("rb"))[0] in (401, 429)
        with server.connect() as sock:
            sock.sendall(get("/counters", key + b"Connection: close\r\n"))
            assert json.loads(read_response(sock.makefile("rb"))[2])["connections_evicted"] >= 3
        for sock in stuck + kept:
            sock.close()


def test_members_may_take_their_time_to_read(build_dir, tmp_path):
    """As the strangers above, with a key: nobody gets their places."""
    keys = tmp_path / "keys"
    keys.write_text("alice key-of-alice\n")
    key = b"Authorization: Bearer key-of-alice\r\n"
    with Server(build_dir, keys=keys, max_connections=3, admin_port=0) as server:
        members = []
        for _ in range(3):
            members.append(sock := server.connect(rcvbuf=2048))
            sock.sendall(get("/v1/big?bytes=4000000", key))
        time.sleep(3)
        assert statuses(server.raw(get("/v1/echo", b"Connection: close\r\n"))) == [503]
        for sock in members:
            assert len(read_response(sock.makefile("rb"))[2]) == 4_000_000


def test_few_descriptors_do_not_raise_the_limit(build_dir):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

    with Server(build_dir, max_connections=8, admin_port=0, popen={"preexec_fn": few}) as server:
        busy = [server.connect() for _ in range(8)]
        for sock in busy:
            sock.sendall(get("/v1/slow?ms=1500"))
        time.sleep(0.3)
        assert statuses(server.raw(b"")) == [503]
        for sock in busy:
            assert read_response(sock.makefile("rb"))[0] == 200
    assert "instead of" not in server.errors and "wanted for 8 connections" in server.errors


def test_out_of_descriptors_the_server_still_answers(build_dir):
    """B8: more idle connections than descriptors; accept backs off, health answers."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

    with Server(build_dir, max_connections=10_000, popen={"preexec_fn": few}) as server:
        # The server fits its own limit to its descriptors; these do not count against it.
        socks = [server.connect() for _ in range(300)]
        time.sleep(1)  # who has just come is not idle yet
        for _ in range(5):
            assert server.get("/health")[0] == 200
        for sock in socks:
            sock.close()
    assert "open files are limited to 200" in server.errors


def test_2000_idle_connections_cost_little(server):
    """Of 10,000 in the campaign: memory per connection and the time of a normal request."""
    count = int(os.environ.get("RILL_IDLE_CONNECTIONS", "2000"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 500), hard))

    def rss_kb():
        status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    before = rss_kb()
    socks = [server.connect() for _ in range(count)]
    server.wait_for(lambda c: c["connections_now"] >= count)
    per_connection = (rss_kb() - before) / count
    times = []
    for _ in range(50):
        start = time.monotonic()
        assert server.get("/health")[0] == 200
        times.append(time.monotonic() - start)
    print(f"{count} idle: {per_connection:.1f} KiB each, health median {sorted(times)[25] * 1e3:.2f} ms")
    assert per_connection < 24
    for sock in socks:
        sock.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    server.wait_for(lambda c: c["connections_now"] == 1, 20)


def test_drain_then_stop(build_dir):
    with Server(build_dir, linger=100) as server:
        with server.connect() as busy, server.connect() as idle:
            busy.sendall(get("/v1/stream?n=10&ms=300"))
            server.wait_for(lambda c: c["requests_now"] == 2)
            assert server.command("drain") == "ok"
            status, headers, body = server.get("/v1/echo")
            assert status == 503 and headers["retry-after"] == "7" and headers["connection"] == "close"
            assert json.loads(body)["error"]["code"] == "draining"
            assert server.get("/health")[0] == 200
            assert server.command("wait_idle 1") == "busy"
            assert server.command("stop_accepting") == "ok"
            assert idle.recv(10) == b"", "idle connections end"
            with pytest.raises(OSError):
                for _ in range(20):
                    server.connect().close()
                    time.sleep(0.02)
            assert read_response(busy.makefile("rb"))[2].endswith(b"[DONE]\n\n")
            assert server.command("wait_idle 5000") == "idle"


def test_a_refused_connection_is_answered_and_not_reset(build_dir):
    """Over a limit, and the client has not even begun to send: it can send all and read its 503."""
    with Server(build_dir, max_connections_per_ip=2, loopback_has_ip_limit=1, linger=5000) as server:
        with server.connect(), server.connect():
            for _ in range(5):
                with server.connect() as sock:
                    time.sleep(0.1)  # refused by now
                    for _ in range(20):  # the second would meet the reset that the first one caused
                        sock.sendall(b"POST /v1/echo HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 2000 + b"\r\n")
                        time.sleep(0.005)
                    assert statuses(exchange(sock, b"\r\n")) == [503]
            # A crowd of them holds few descriptors, each for a moment.
            crowd = [server.connect() for _ in range(200)]
            time.sleep(0.2)
            held = len(os.listdir(f"/proc/{server.process.pid}/fd"))
            assert held < 64 + 40, held
            for sock in crowd:
                sock.close()
        server.wait_for(lambda c: c["connections_refused"] == 205)
        end = time.monotonic() + 15
        while len(os.listdir(f"/proc/{server.process.pid}/fd")) > 40:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_who_comes_as_the_listeners_close_is_answered_and_not_reset(build_dir):
    """Requests that are in the kernel, on kept connections and in the backlog, when the server decides to
    close: it is stopped for that moment, so that all of it comes at once."""
    lost = []
    for _ in range(8):
        with Server(build_dir) as server:
            kept = [server.connect() for _ in range(10)]
            for sock in kept:
                sock.sendall(get("/v1/echo"))
                assert read_response(sock.makefile("rb"))[0] == 200
            assert server.command("drain") == "ok"
            server.process.send_signal(signal.SIGSTOP)
            fresh = [server.connect() for _ in range(10)]
            for sock in kept + fresh:
                sock.sendall(get("/v1/echo"))
            server.process.stdin.write("stop_accepting\n")
            server.process.stdin.flush()
            time.sleep(0.3)  # a tick is due
            server.process.send_signal(signal.SIGCONT)
            for sock in kept + fresh:
                answer = exchange(sock, b"")
                if statuses(answer) != [503]:
                    lost.append((sock in fresh, answer))
                sock.close()
    assert lost == []


def test_stop_during_streams_is_quick(build_dir):
    server = Server(build_dir)
    socks = [server.connect() for _ in range(50)]
    for sock in socks:
        sock.sendall(get("/v1/stream?n=100000&ms=1"))
    time.sleep(0.3)
    start = time.monotonic()
    server.stop()
    assert time.monotonic() - start < 20, "the streams take 100 s"


def test_killed_server_leaves_a_unix_socket_that_the_next_one_takes(build_dir, tmp_path):
    path = tmp_path / "rill.sock"
    first = Server(build_dir, addresses="", unix_path=path)
    assert path.stat().st_mode & 0o777 == 0o600
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert path.exists()
    with Server(build_dir, addresses="", unix_path=path):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(str(path))
            sock.sendall(b"GET /v1/echo HTTP/1.1\r\nHost: anything\r\n\r\n")
            assert json.loads(read_response(sock.makefile("rb"))[2])["peer"] == "unix"
        with pytest.raises(RuntimeError, match="another server"):
            Server(build_dir, addresses="", unix_path=path)
    assert not path.exists()
    path.write_text("not a socket")
    with pytest.raises(RuntimeError, match="not a socket"):
        Server(build_dir, addresses="", unix_path=path)


def test_service_manager_passes_the_socket_and_is_told_when_ready(build_dir, tmp_path):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.settimeout(5)
    notify.bind(str(tmp_path / "notify"))

    def activate():
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.environ["LISTEN_FDS"] = "1"
        os.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        os.dup2(listener.fileno(), 3, inheritable=True)

    # Through env(1): Python's child must set the variables after the fork, when its PID is known.
    with Server(build_dir, popen={"preexec_fn": activate, "pass_fds": (3,)} if listener.fileno() == 3
                else {"preexec_fn": activate, "close_fds": False}) as server:
        assert notify.recv(100) == b"READY=1"
        assert server.port == listener.getsockname()[1]
        assert server.get("/health")[0] == 200
    assert notify.recv(100) == b"STOPPING=1"


def test_two_io_threads_serve_the_same(build_dir):
    with Server(build_dir, io_threads=2) as server:
        def client(results):
            for i in range(20):
                results.append(server.get(f"/v1/stream?n=3&i={i}")[2].count(b"data: "))
        results = []
        threads = [threading.Thread(target=client, args=(results,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [4] * 160
