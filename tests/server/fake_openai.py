"""A server with OpenAI's streaming API whose delays are known: the truth that the load generator's
times are compared with."""
import json
import socketserver
import threading
import time


class FakeServer:
    """first_s: before the first token; gap_s: before each further one; slots: requests at once
    (others wait). Counts what it sees."""

    def __init__(self, first_s=0.05, gap_s=0.01, slots=None, fail_every=0, merge=1, drop_every=0,
                 raw=None, surplus=b"", lose_every=0):
        """raw: (status line's number, bytes) that every request is answered with; a list of bytes: gap_s
        apart. (None, bytes): no HTTP at all. surplus: bytes right
        behind it that nobody asked for. lose_every: so many requests, one ends its connection
        instead of being answered."""
        self.lose_every = lose_every
        self.raw, self.surplus = raw, surplus
        self.first_s, self.gap_s, self.fail_every, self.merge, self.drop_every = first_s, gap_s, fail_every, merge, drop_every
        self.slots = threading.Semaphore(slots) if slots else None
        self.lock = threading.Lock()
        self.bodies, self.arrivals, self.now, self.most, self.connections = [], [], 0, 0, 0
        self.token_times = []
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self):
                with fake.lock:
                    fake.connections += 1
                while fake.serve(self.rfile, self.wfile):
                    pass

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True
            request_queue_size = 256

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def serve(self, rfile, wfile):
        line = rfile.readline()
        if not line:
            return False
        length = 0
        while (field := rfile.readline()) != b"\r\n":
            if field.lower().startswith(b"content-length:"):
                length = int(field.split(b":")[1])
        arrived = time.monotonic()
        body = rfile.read(length)
        if line.startswith(b"GET /v1/models "):
            answer = b'{"object":"list","data":[{"id":"fake-model"}]}'
            wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
            return True
        with self.lock:
            self.bodies.append((line.split()[1].decode(), json.loads(body)))
            self.arrivals.append(arrived)
            number = len(self.bodies)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            if self.lose_every and number % self.lose_every == 0:
                return False
            return self.answer(number, json.loads(body), line, wfile)
        finally:
            with self.lock:
                self.now -= 1

    def answer(self, number, body, line, wfile):
        if self.fail_every and number % self.fail_every == 0:
            answer = b'{"error":{"message":"planted","type":"server_error","param":null,"code":null}}'
            wfile.write(b"HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
            return True
        if self.raw:
            status, pieces = self.raw
            if status is None:
                wfile.write(pieces)
                return False
            pieces = pieces if isinstance(pieces, list) else [pieces]
            size = sum(map(len, pieces))
            pieces = [*pieces[:-1], pieces[-1] + self.surplus]
            wfile.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, size) + pieces[0])
            for piece in pieces[1:]:
                time.sleep(self.gap_s)
                wfile.write(piece)
            return True
        chat = b"/chat/" in line
        if self.slots:
            self.slots.acquire()
        try:
            wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

            def event(data):
                data = b"data: " + data + b"\n\n"
                wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")

            if chat:
                event(json.dumps({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}).encode())
            due = time.monotonic()
            times = []
            for i in range(0, body["max_tokens"], self.merge):
                due += self.first_s if i == 0 else self.gap_s
                time.sleep(max(0, due - time.monotonic()))
                times.append(time.monotonic())
                text = {"delta": {"content": "x"}} if chat else {"text": "x"}
                event(json.dumps({"choices": [{"index": 0, "finish_reason": None, **text}], "usage": None}).encode())
                if self.drop_every and number % self.drop_every == 0 and i > 2:
                    return False
            event(json.dumps({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": body["max_tokens"]}}).encode())
            event(b"[DONE]")
            wfile.write(b"0\r\n\r\n")
            with self.lock:
                self.token_times.append(times)
        finally:
            if self.slots:
                self.slots.release()
        return True
