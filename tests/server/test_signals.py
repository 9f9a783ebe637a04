"""SIGTERM ends the server whatever it does, and a second one at once (threats I4 to I6, I9): a long
step, readers that stopped reading, files that would be waited for."""
import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import threading
import time

import httpx
import pytest

from harness import Server


@contextlib.contextmanager
def ended(process):
    """Killed at the end, if need be."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def serve(rill, *words, **more):
    return subprocess.Popen([rill, "serve", *map(str, words), "--port", "0", "--threads", "1",
                             "--drain-delay", "0"],
                            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL,
                               "stderr": subprocess.DEVNULL, **more})


def unix_client(path):
    client = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost",
                          timeout=30)
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if client.get("/ready").status_code == 200:
                return client
        assert time.monotonic() < end
        time.sleep(0.05)


def certificate(folder, *, passphrase=""):
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    *(["-passout", "pass:" + passphrase] if passphrase else ["-nodes"]), "-subj",
                    "/CN=localhost", "-days", "2", "-keyout", key, "-out", cert], check=True,
                   capture_output=True)
    return cert, key


@pytest.mark.parametrize("second", [True, False], ids=["second-signal", "drain-timeout"])
def test_a_step_that_does_not_end_is_not_waited_for(rill, smollm2, second):
    """I5, I6, I9: a step of half a minute and more."""
    timeout = "45" if second else "1"
    with Server(rill, "m=" + smollm2, "--backend", "reference", "--chunk", "2048", "--context",
                "2048", "--kv-memory", "128M", "--itl-target-ms", "0", "--drain-timeout",
                timeout) as server:
        thread = threading.Thread(target=lambda: pytest.raises(
            httpx.HTTPError, server.post, "/v1/completions",
            {"model": "m", "prompt": [5] * 1900, "max_tokens": 2}))
        thread.start()
        time.sleep(1.5)  # it is computed; the page of metrics counts it after its first step only
        server.terminate()
        start = time.monotonic()
        if second:
            time.sleep(0.3)
            assert server.process.poll() is None
            start = time.monotonic()
            server.process.send_signal(signal.SIGINT)
        assert server.process.wait(25) == 0
        assert time.monotonic() - start < 15, "the step takes twice that"
        thread.join()
        said = "1 requests dropped" if second else "the time was up for 1 requests"
        assert "draining: 1 requests under way" in server.stderr()
        assert said in server.stderr()


@pytest.mark.parametrize("signals", [1, 2])
def test_a_terminal_that_nobody_reads(rill, stories, tmp_path, signals):
    """I4, I6: it has room for some bytes, and not for a line."""
    master, slave = pty.openpty()
    log = tmp_path / "log"
    with ended(serve(rill, "m=" + stories, "--unix", tmp_path / "s", "--log-file", log,
                     "--no-request-log", stderr=slave)) as process:
        os.close(slave)
        client = unix_client(tmp_path / "s")
        end = time.monotonic() + 60
        # 50 bytes each on a terminal that holds some KiB.
        while (reloads := log.read_text().count(" reload ")) < 600:
            assert time.monotonic() < end, f"stuck after {reloads}"
            process.send_signal(signal.SIGHUP)
            time.sleep(0.002)
        assert client.get("/ready").status_code == 200
        for _ in range(signals):
            process.terminate()
            time.sleep(0.05)
        assert process.wait(8) == 0
    os.close(master)


@pytest.mark.parametrize("where", ["stdout", "fifo"])
def test_a_log_that_nobody_reads(rill, stories, tmp_path, where):
    """I4, I6: costs lines, and never the end; what is read is whole lines."""
    path = "/dev/stdout"
    if where == "fifo":
        path = tmp_path / "fifo"
        os.mkfifo(path)
        read = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        write = os.open("/dev/null", os.O_WRONLY)
    else:
        read, write = os.pipe()
    with ended(serve(rill, "m=" + stories, "--unix", tmp_path / "s", "--log-file", path,
                     "--log-format", "json", stdout=write)) as process:
        os.close(write)
        client = unix_client(tmp_path / "s")
        for _ in range(700):  # more than a pipe holds
            assert client.get("/v1/models").status_code == 200
        os.set_blocking(read, False)
        text = os.read(read, 1 << 20)
        for _ in range(700):
            assert client.get("/v1/models").status_code == 200
        process.terminate()
        assert process.wait(8) == 0
    with contextlib.suppress(BlockingIOError):
        while part := os.read(read, 1 << 20):
            text += part
    os.close(read)
    lines = text.splitlines()
    assert len(lines) > 300
    assert all(json.loads(line)["event"] for line in lines[:-1])


def arguments(kind, folder):
    """Words of a command line with a file that would be waited for, and the error."""
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    if kind == "log":
        return ["--log-file", fifo], f"log: {fifo}: cannot be opened: a FIFO that nobody reads"
    if kind == "keys":
        return ["--key-file", fifo], f"{fifo}: expected a regular file, this is a FIFO"
    if kind == "certificate":
        return ["--tls-cert", fifo, "--tls-key", fifo], f"{fifo}: expected a regular file"
    cert, key = certificate(folder, passphrase="secret")
    return ["--tls-cert", cert, "--tls-key", key], f"{key}: encrypted keys are not supported"


@pytest.mark.parametrize("kind", ["log", "keys", "certificate", "encrypted"])
def test_files_that_would_be_waited_for_are_errors(rill, stories, tmp_path, kind):
    """On a terminal, where OpenSSL would ask for a passphrase."""
    words, error = arguments(kind, tmp_path)
    pid, master = pty.fork()
    if pid == 0:
        os.execv(rill, [rill, "serve", "m=" + stories, "--port", "0", "--threads", "1",
                        *map(str, words)])
    text, killer = b"", threading.Timer(20, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with contextlib.suppress(OSError):
        while part := os.read(master, 4096):
            text += part
    _, status = os.waitpid(pid, 0)
    killer.cancel()
    os.close(master)
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) in (1, 2), text
    assert error in text.decode()


@pytest.mark.parametrize("kind", ["keys", "encrypted"])
def test_files_that_become_such_are_left_and_the_server_goes_on(rill, stories, tmp_path, kind):
    keys = tmp_path / "keys"
    keys.write_text("alice key-of-alice-0123456789\n")
    cert, key = certificate(tmp_path)
    pid, master = pty.fork()
    if pid == 0:
        os.execv(rill, [rill, "serve", "m=" + stories, "--port", "0", "--threads", "1", "--key-file",
                        str(keys), "--tls-cert", str(cert), "--tls-key", str(key), "--unix",
                        str(tmp_path / "s"), "--drain-delay", "0"])
    killer = threading.Timer(60, os.kill, (pid, signal.SIGKILL))
    killer.start()
    text = b""

    def read_to(what):
        nonlocal text
        with contextlib.suppress(OSError):
            while what not in text and (part := os.read(master, 4096)):
                text += part
        assert what in text, text

    try:
        read_to(b"ready on")
        if kind == "keys":
            keys.unlink()
            os.mkfifo(keys)
            error = b"expected a regular file, this is a FIFO"
        else:
            certificate(tmp_path, passphrase="secret")
            error = b"encrypted keys are not supported"
        os.kill(pid, signal.SIGHUP)
        read_to(b"reload failed, all stays as it was")
        read_to(error)
        assert unix_client(tmp_path / "s").get("/v1/models", headers={
            "authorization": "Bearer key-of-alice-0123456789"}).status_code == 200
        os.kill(pid, signal.SIGTERM)
        start = time.monotonic()
        with contextlib.suppress(OSError):
            while part := os.read(master, 4096):
                text += part
        _, status = os.waitpid(pid, 0)
        pid = 0
        assert time.monotonic() - start < 30
        assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        assert not re.search(rb"pass ?phrase:", text)
    finally:
        killer.cancel()
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(master)
