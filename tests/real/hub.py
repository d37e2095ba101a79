"""A hub and a registry on loopback: what the true clients ask, out of folders, with faults."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_PIECE = 64 * 1024
_HASHED_BYTES = 2**31  # sparse files of true size are not read
_BUFFER = 64 * 1024  # small, so that what counts as sent has arrived


@dataclass
class Fault:
    """What happens to requests whose path has `part` in it, for `times` of them."""

    part: str
    status: int = 0  # 0: none
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: bool = False
    cut_after: int | None = None  # bytes, then the connection breaks
    piece_s: float = 0.0  # a pause before each piece
    ignore_range: bool = False
    times: int = 10**6


@dataclass(frozen=True)
class Asked:
    """One request as it came: `sent_bytes` of the body went out."""

    method: str
    path: str
    range: str | None
    authorization: str | None
    sent_bytes: int
    host: str


class Hub:
    """Serves `root`: ORG/REPO/** as repositories, and registry models added by `model`.

    With `elsewhere` set, files are answered by a redirect to that other address, as a CDN does it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.elsewhere: str | None = None
        self.gated: set[str] = set()
        self.lfs_from_bytes = 10**6
        self._digests: dict[tuple[Path, int, int], str] = {}
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, Path] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._busy = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def sent_bytes(self) -> int:
        self.settled()
        with self._lock:
            return sum(each.sent_bytes for each in self.asked)

    def model(self, name: str, *files: Path, kind: str = "model") -> None:
        """Publish files as the layers of a model NAMESPACE/NAME:TAG of the registry."""
        layers = []
        for path in files:  # by name: nobody hashes 404 GB here, nor on the other side
            own = f"sha256:{hashlib.sha256(str(path).encode()).hexdigest()}"
            self.blobs[own] = path
            media = f"application/vnd.ollama.image.{kind}"
            layers.append({"mediaType": media, "digest": own, "size": path.stat().st_size})
        repo, tag = name.rsplit(":", 1)
        config = {"mediaType": "application/vnd.docker.container.image.v1+json"}
        document = {"schemaVersion": 2, "config": config, "layers": layers}
        self.manifests[f"/v2/{repo}/manifests/{tag}"] = json.dumps(document).encode()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def fault(self, path: str) -> Fault | None:
        with self._lock:
            for each in self.faults:
                if each.part in path and each.times > 0:
                    each.times -= 1
                    return each
        return None

    def begin(self) -> None:
        with self._lock:
            self._busy += 1

    def note(self, asked: Asked) -> None:
        with self._lock:
            self.asked.append(asked)
            self._busy -= 1

    def settled(self) -> None:
        """Wait until no request is being answered."""
        end = time.monotonic() + 5
        while self._busy and time.monotonic() < end:
            time.sleep(0.01)

    def hang(self) -> None:
        self._ended.wait(60)

    def answer(self, path: str) -> "Answer | Path":
        """Return what a path stands for: an answer, or a file whose bytes are sent by range."""
        if path in self.manifests:
            return Answer(200, self.manifests[path])
        if path.startswith("/api/models/"):
            found = self.listing(path.removeprefix("/api/models/"))
            return Answer(200, found) if found else Answer(401, headers=_code("RepoNotFound"))
        file = self._file(path)
        if file is None:
            return Answer(404, headers=_code("EntryNotFound"))
        if any(path.startswith(f"/{repo}/") for repo in self.gated):
            return Answer(403, headers=_code("GatedRepo"))
        if self.elsewhere:
            return Answer(302, headers={"Location": self.elsewhere + path})
        return file

    def _file(self, path: str) -> Path | None:
        if "/blobs/" in path:
            return self.blobs.get(path.rpartition("/")[2])
        repo, mark, rest = path.strip("/").partition("/resolve/")
        file = self.root / repo / rest.partition("/")[2]
        return file if mark and file.is_file() and ".." not in rest else None

    def listing(self, repo: str) -> bytes:
        """Return what /api/models/ORG/REPO answers, every file with its size; b"" for none."""
        folder = self.root / repo
        if not folder.is_dir():
            return b""
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        siblings = [self._sibling(p, str(p.relative_to(folder))) for p in files]
        return json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings, "tags": []}).encode()

    def _sibling(self, path: Path, name: str) -> dict[str, Any]:
        """Return what a listing with ?blobs=true says of a file; large ones are in LFS."""
        size = path.stat().st_size
        told: dict[str, Any] = {"rfilename": name, "size": size, "blobId": "0" * 40}
        if size < self.lfs_from_bytes:
            data = path.read_bytes()
            return told | {"blobId": hashlib.sha1(b"blob %d\0" % size + data).hexdigest()}
        return told | {"lfs": {"sha256": self._sha256(path), "size": size, "pointerSize": 130}}

    def _sha256(self, path: Path) -> str:
        """Return the digest of a file, each read once; of a model of true size, a made-up one."""
        told = path.stat()
        key = (path, told.st_mtime_ns, told.st_size)
        if key not in self._digests:
            made_up = hashlib.sha256(str(path).encode()).hexdigest()
            if told.st_size < _HASHED_BYTES:
                with path.open("rb") as file:
                    made_up = hashlib.file_digest(file, "sha256").hexdigest()
            self._digests[key] = made_up
        return self._digests[key]


@dataclass
class Answer:
    """An answer that is no file."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def _code(name: str) -> dict[str, str]:
    return {"X-Error-Code": name}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that close early are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path, sent = self.server.hub, unquote(urlsplit(self.path).path), 0
        hub.begin()
        fault = hub.fault(path) or Fault("")
        try:
            if fault.hang:
                hub.hang()
            elif fault.status:
                sent = self._send(Answer(fault.status, fault.body, fault.headers))
            else:
                found = hub.answer(path)
                sent = (
                    self._send_file(found, fault) if isinstance(found, Path) else self._send(found)
                )
        finally:
            told = self.headers.get("Range"), self.headers.get("Authorization")
            hub.note(Asked(self.command, path, *told, sent, self.headers.get("Host", "")))

    def _answer(self, found: Answer | Path, fault: Fault) -> int:
        return self._send_file(found, fault) if isinstance(found, Path) else self._send(found)

    def _send(self, answer: Answer) -> int:
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body)
        return len(answer.body)

    def _send_file(self, file: Path, fault: Fault) -> int:
        size, start = file.stat().st_size, 0
        end, told = size - 1, self.headers.get("Range")
        if told and not fault.ignore_range:
            first, _, last = told.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or end), end)
        partial = told and not fault.ignore_range
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(end - start + 1))
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.end_headers()
        sent = 0
        with suppress(OSError):  # a client that has enough
            for piece in _pieces(file, start, end + 1):
                time.sleep(fault.piece_s)
                if fault.cut_after is not None and sent + len(piece) > fault.cut_after:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    break
                self.wfile.write(piece)
                sent += len(piece)
        return sent


def _pieces(file: Path, start: int, end: int) -> Iterator[bytes]:
    with file.open("rb") as stream:
        stream.seek(start)
        while start < end:
            piece = stream.read(min(_PIECE, end - start))
            start += len(piece)
            yield piece
