"""A server that needs no model (tests/tools/http_tool.cc), and a client that writes what it likes."""
import contextlib
import json
import pathlib
import re
import socket
import ssl
import subprocess
import time

HOST = b"Host: localhost\r\n"


class Server:
    """http_tool with options; `with Server(build_dir, head_timeout=200) as server`."""

    def __init__(self, build_dir, *, env=None, popen=None, **options):
        self.stderr_lines = []
        words = [str(pathlib.Path(build_dir) / "tests" / "http_tool")]
        words += [f"{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=env, **(popen or {}))
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.stderr.read())
        self.info = json.loads(line)
        self.port, self.admin_port = self.info["port"], self.info["admin_port"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends it in order; it must not have crashed."""
        if self.process.poll() is None:
            self.process.stdin.close()
        code = self.process.wait(timeout=20)
        self.errors = self.process.stderr.read()
        assert code == 0, (code, self.errors[-3000:])
        assert "Sanitizer" not in self.errors, self.errors[-3000:]

    def command(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def connect(self, port=None, timeout=5, rcvbuf=None):
        sock = socket.socket()
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.settimeout(timeout)
        sock.connect(("127.0.0.1", port or self.port))
        return sock

    def raw(self, data, timeout=5):
        """Sends bytes; all that comes back until the server closes or `timeout` passes."""
        with self.connect(timeout=timeout) as sock:
            return exchange(sock, data)

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def request(self, method, path, headers=(), body=b"", port=None, timeout=5):
        """One request on a fresh connection: (status, headers, body)."""
        with self.connect(port, timeout) as sock:
            head = f"{method} {path} HTTP/1.1\r\n".encode() + HOST + b"Connection: close\r\n"
            for name, value in headers:
                head += f"{name}: {value}\r\n".encode()
            if body:
                head += b"Content-Length: %d\r\n" % len(body)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(head + b"\r\n" + body)
            return read_response(sock.makefile("rb"), head=method == "HEAD")

    def counters(self):
        return json.loads(self.get("/counters")[2])

    def wait_for(self, condition, seconds=5):
        """Waits until condition(counters) holds; the counters."""
        end = time.monotonic() + seconds
        while True:
            counters = self.counters()
            if condition(counters):
                return counters
            assert time.monotonic() < end, counters
            time.sleep(0.02)


def exchange(sock, data):
    out = b""
    try:
        sock.sendall(data)
        while part := sock.recv(65536):
            out += part
    except TimeoutError:
        out += b"<timeout>"
    except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
        out += b"<reset>"
    return out


def read_response(file, head=False):
    """Reads one response strictly: (status, {header: value}, body)."""
    line = file.readline()
    assert line.startswith(b"HTTP/1.1 ") and line.endswith(b"\r\n"), line
    status = int(line.split()[1])
    headers = {}
    while (line := file.readline()) != b"\r\n":
        name, value = line.rstrip(b"\r\n").split(b": ", 1)
        assert name.lower() not in headers, name
        headers[name.lower().decode()] = value.decode()
    if head or status in (204, 304) or status < 200:
        return status, headers, b""
    if headers.get("transfer-encoding") == "chunked":
        assert "content-length" not in headers
        chunks = read_chunks(file)
        return status, headers, b"".join(chunks)
    if "content-length" in headers:
        body = file.read(int(headers["content-length"]))
        assert len(body) == int(headers["content-length"])
        return status, headers, body
    return status, headers, file.read()


def read_chunks(file):
    """The chunks of a body, one by one; fails when its end is missing."""
    chunks = []
    while True:
        size = int(file.readline(), 16)
        data = file.read(size)
        assert file.readline() == b"\r\n"
        if size == 0:
            return chunks
        chunks.append(data)


def statuses(raw):
    """Status codes of the responses in raw bytes."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", raw)]
