"""A `rill serve` process for tests: started on any free port, watched, stopped."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import httpx

# Roles as plain words: the model has no control tokens but BOS and EOS.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    "{% if enable_thinking is defined and enable_thinking %}{{ 'think: ' }}{% endif %}")


def copy_with_chat_template(source: str, target: pathlib.Path, template: str) -> None:
    """A GGUF file with the same tensors and metadata, and a chat template."""
    import gguf
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(str(target), "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture",
                                                            "tokenizer.chat_template"):
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub_type)
    writer.add_chat_template(template)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Server:
    """`rill serve` with JSON logs in a file. Use as a context manager. port 0: any free one.
    listen_fd: a listening TCP socket that it gets by socket activation. prefix: words of a command
    that runs it, by exec."""

    def __init__(self, rill: str, *words, env=None, wait=True, port=0, listen_fd=None,
                 prefix=()):
        self.folder = tempfile.TemporaryDirectory(prefix="rill-server-")
        self.log_path = pathlib.Path(self.folder.name) / "log.jsonl"
        self.stderr_path = pathlib.Path(self.folder.name) / "stderr.txt"
        command = [*prefix, rill, "serve", *map(str, words), "--log-format", "json"]
        if listen_fd is None:
            command += ["--port", str(port)]
        if "--threads" not in words:
            command += ["--threads", "1"]  # a step of a tiny model is over before two threads meet
        if "--drain-delay" not in words:
            command += ["--drain-delay", "0"]  # nothing in front has to notice
        if "--log-file" not in words:
            command += ["--log-file", str(self.log_path)]
        self.stderr_file = open(self.stderr_path, "wb")
        more = {}
        if listen_fd is not None:
            # LISTEN_PID has to be the server's own process id; exec keeps it. (Not with sh: Debian's
            # knows descriptors of one digit only.)
            become = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update("
                      "LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
                      "os.execvp(sys.argv[2], sys.argv[2:])")
            command = [sys.executable, "-c", become, str(listen_fd), *command]
            more["pass_fds"] = (listen_fd,)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                        stderr=self.stderr_file, stdin=subprocess.DEVNULL,
                                        env={**os.environ, **(env or {})}, **more)
        self.url = ""
        if wait:
            self.wait_ready()

    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")

    def wait_ready(self, seconds=180):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            text = self.stderr()
            match = re.search(r"ready on (https?://\S+)/v1", text)
            if match:
                self.url = match[1]
                return
            if self.process.poll() is not None:
                raise AssertionError(f"serve ended with {self.process.returncode}:\n{text}")
            time.sleep(0.02)
        self.process.kill()  # __exit__ is not called for what did not enter
        self.process.wait()
        raise AssertionError("serve was not ready in time:\n" + self.stderr())

    @property
    def admin_url(self) -> str:
        return re.search(r"admin: (\S+)", self.stderr())[1]

    def client(self, **kwargs) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **kwargs)

    def post(self, path: str, body, **kwargs) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=60, **kwargs)

    def get(self, path: str, **kwargs) -> httpx.Response:
        return httpx.get(self.url + path, timeout=60, **kwargs)

    def log(self) -> list[dict]:
        """The lines written so far. The log has a thread of its own: an answer may be here before
        its lines are (see `logged`), and the last line may be half written."""
        return [json.loads(line) for line in self.log_path.read_bytes().split(b"\n")[:-1]]

    def logged(self, seconds=20, **fields) -> dict:
        """The first line with those fields, once it is there."""
        end = time.monotonic() + seconds
        while True:
            lines = self.log()
            for line in lines:
                if fields.items() <= line.items():
                    return line
            assert time.monotonic() < end, (fields, lines)
            time.sleep(0.02)

    def metric(self, name: str, **labels) -> float:
        """Sum of the samples of that name whose labels match."""
        from prometheus_client.parser import text_string_to_metric_families
        total = 0.0
        for family in text_string_to_metric_families(self.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name and all(sample.labels.get(k) == v
                                               for k, v in labels.items()):
                    total += sample.value
        return total

    def wait_idle(self, seconds=20):
        """Until no request runs and every page is free."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (self.metric("rill_requests_running") == 0
                    and self.metric("rill_requests_waiting") == 0
                    and self.metric("rill_kv_usage_ratio") == 0):
                return
            time.sleep(0.05)
        raise AssertionError("requests or pages were left:\n" + self.get("/metrics").text)

    def alive(self) -> bool:
        return self.process.poll() is None and self.get("/health").status_code == 200

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.stderr_file.close()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.folder.cleanup()


def is_sanitized(rill) -> bool:
    """Whether the binary's memory is not its own: shadow, quarantine, a reserved address space."""
    return pathlib.Path(rill).parents[2].name in ("asan", "tsan")


def sse(response: httpx.Response):
    """The events of a stream: JSON objects, or the string "[DONE]"."""
    for line in response.iter_lines():
        if not line.startswith("data: "):
            assert line == "" or line.startswith(":"), line
            continue
        text = line[6:]
        yield text if text == "[DONE]" else json.loads(text)


def stream(server: Server, path: str, body: dict, **kwargs) -> list:
    """All events of a streamed request."""
    with httpx.stream("POST", server.url + path, json={**body, "stream": True}, timeout=60,
                      **kwargs) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        return list(sse(response))
