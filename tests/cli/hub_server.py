"""A local server that behaves like the Hugging Face Hub, and misbehaves on demand.

HubServer listens on two ports of this machine: the hub itself (the API, and redirects for large
files) and the object store that large files are redirected to. Both log every request.

    hub = HubServer()
    hub.add_repo("me/tiny", {"tiny.gguf": data}, large=["tiny.gguf"])
    hub.faults["tiny.gguf"] = [Fault(truncate_after=1000)]   # one entry per transfer, then well
"""
import dataclasses
import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclasses.dataclass
class Fault:
    """What goes wrong with one request of a file."""

    status: int = 0  # answer this status instead of the file
    headers: dict = dataclasses.field(default_factory=dict)
    truncate_after: int = -1  # close the connection after so many bytes of the body
    wrong_bytes: bool = False  # right length, other contents
    extra_bytes: int = 0  # announce and send more than the file has
    ignore_range: bool = False  # answer 200 with everything
    wrong_range: bool = False  # answer 206 from another offset
    delay_s: float = 0.0  # before each piece
    piece_bytes: int = 1 << 16
    redirect_to: str = ""  # instead of the file


@dataclasses.dataclass
class Repo:
    files: dict
    large: list
    gated: bool = False
    private_token: str = ""
    commit: str = COMMIT
    hashes: dict = dataclasses.field(default_factory=dict)  # name -> sha256 to announce
    sizes: dict = dataclasses.field(default_factory=dict)  # name -> size to announce


@dataclasses.dataclass
class Seen:
    port: str  # "hub" or "store"
    path: str
    headers: dict


class HubServer:
    """Both servers, on free ports of 127.0.0.1."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.plain: dict[str, bytes] = {}  # path on the hub port -> bytes, for URL pulls
        self.faults: dict[str, list[Fault]] = {}
        self.api_faults: list[Fault] = []
        self.api_text: bytes | None = None
        self.seen: list[Seen] = []
        self.etag_salt = ""
        self._hub = self._serve("hub")
        self._store = self._serve("store")
        self.endpoint = f"http://127.0.0.1:{self._hub.server_port}"
        self.store = f"http://127.0.0.1:{self._store.server_port}"

    def close(self) -> None:
        for server in (self._hub, self._store):
            server.shutdown()
            server.server_close()

    def add_repo(self, name: str, files: dict, large=(), **kwargs) -> Repo:
        repo = Repo(files=dict(files), large=list(large), **kwargs)
        self.repos[name] = repo
        return repo

    def transfers(self, name: str) -> list[Seen]:
        """Requests that reached the bytes of a file."""
        return [seen for seen in self.seen if urllib.parse.unquote(seen.path).endswith("/" + name)
                and (seen.port == "store" or "/resolve/" not in seen.path
                     or not self._is_large(seen.path))]

    def _is_large(self, path: str) -> bool:
        match = re.match(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)$", path)
        repo = self.repos.get(match.group(1)) if match else None
        return bool(repo and urllib.parse.unquote(match.group(2)) in repo.large)

    def next_fault(self, name: str) -> Fault:
        faults = self.faults.get(name, [])
        return faults.pop(0) if faults else Fault()

    def _serve(self, port: str) -> http.server.ThreadingHTTPServer:
        hub = self

        class Handler(_Handler):
            server_kind = port
            owner = hub

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_kind = ""
    owner: HubServer

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:  # noqa: N802 (http.server's name)
        path = self.path.split("?")[0]
        self.owner.seen.append(Seen(self.server_kind, path, dict(self.headers)))
        try:
            if self.server_kind == "store":
                self._store(path)
            elif path in self.owner.plain:
                self._send_file(path.rsplit("/", 1)[1], self.owner.plain[path])
            elif path.startswith("/api/models/"):
                self._api(path)
            else:
                self._resolve(path)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self.close_connection = True

    def _answer(self, status: int, body: bytes = b"", headers: dict | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _may_read(self, repo: Repo) -> bool:
        token = self.headers.get("Authorization", "")
        if repo.gated and not token:
            self._answer(401, b"", {"X-Error-Code": "GatedRepo",
                                    "X-Error-Message": "Access to this model is restricted."})
            return False
        if repo.private_token and token != f"Bearer {repo.private_token}":
            self._answer(401, b"Repository not found", {"X-Error-Code": "RepoNotFound"})
            return False
        return True

    def _api(self, path: str) -> None:
        if self.owner.api_faults:
            fault = self.owner.api_faults.pop(0)
            return self._answer(fault.status, b"", fault.headers)
        if self.owner.api_text is not None:
            return self._answer(200, self.owner.api_text)
        match = re.match(r"/api/models/([^/]+/[^/]+)/revision/main$", path)
        repo = self.owner.repos.get(match.group(1)) if match else None
        if repo is None:
            return self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if not self._may_read(repo):
            return None
        siblings = []
        for name, data in repo.files.items():
            entry = {"rfilename": name, "size": repo.sizes.get(name, len(data)),
                     "blobId": git_blob_id(data)}
            if name in repo.large:
                entry["lfs"] = {"sha256": repo.hashes.get(name, hashlib.sha256(data).hexdigest()),
                                "size": repo.sizes.get(name, len(data)), "pointerSize": 134}
            siblings.append(entry)
        body = json.dumps({"id": match.group(1), "sha": repo.commit, "siblings": siblings})
        return self._answer(200, body.encode(), {"Content-Type": "application/json"})

    def _resolve(self, path: str) -> None:
        match = re.match(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$", path)
        repo = self.owner.repos.get(match.group(1)) if match else None
        if repo is None:
            return self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if not self._may_read(repo):
            return None
        name = urllib.parse.unquote(match.group(3))
        if match.group(2) != repo.commit or name not in repo.files:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        if name in repo.large:
            return self._answer(302, b"Found. Redirecting", {
                "Location": f"{self.owner.store}/blobs/{match.group(1)}/{match.group(3)}?sig=x",
                "X-Linked-Etag": '"' + hashlib.sha256(repo.files[name]).hexdigest() + '"'})
        return self._send_file(name, repo.files[name])

    def _store(self, path: str) -> None:
        match = re.match(r"/blobs/([^/]+/[^/]+)/(.+)$", path)
        repo = self.owner.repos.get(match.group(1)) if match else None
        name = urllib.parse.unquote(match.group(2)) if match else ""
        if repo is None or name not in repo.files:
            return self._answer(404)
        return self._send_file(name, repo.files[name])

    def _send_file(self, name: str, data: bytes) -> None:
        fault = self.owner.next_fault(name)
        if fault.redirect_to:
            return self._answer(302, b"", {"Location": fault.redirect_to})
        if fault.status:
            return self._answer(fault.status, b"no", fault.headers)
        etag = '"' + hashlib.md5(data + self.owner.etag_salt.encode()).hexdigest() + '"'
        if fault.wrong_bytes:
            data = bytes(255 - byte for byte in data)
        data += b"x" * fault.extra_bytes
        begin = 0
        wanted = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range", etag) == etag and not fault.ignore_range:
            begin = int(wanted.group(1))
            if begin >= len(data):
                return self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        if fault.wrong_range:
            begin = max(begin - 7, 0)
        self.send_response(206 if wanted and (begin or fault.wrong_range) else 200)
        if wanted and (begin or fault.wrong_range):
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - begin))
        self.send_header("ETag", etag)
        self.send_header("Connection", "close")
        self.end_headers()
        body = data[begin:]
        if fault.truncate_after >= 0:
            body = body[:fault.truncate_after]
        for at in range(0, len(body), fault.piece_bytes):
            if fault.delay_s:
                time.sleep(fault.delay_s)
            self.wfile.write(body[at:at + fault.piece_bytes])
            self.wfile.flush()
        return None


def git_blob_id(data: bytes) -> str:
    """The id that git gives to these contents."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
