"""A hub and a registry on loopback: what the true clients ask, out of folders, with faults."""

import hashlib
import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIGNATURE = "X-Signature=signed-by-the-hub"  # the query of a redirect, as secret as a token
_REVISIONS = ("main", COMMIT)
_PIECE = 64 * 1024
_HASHED_BYTES = 2**31  # sparse files of true size are not read
_BUFFER = 64 * 1024  # small, so that what counts as sent has arrived
_HANG_S = 60
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close() sends RST instead of FIN
_PORTAL = b"<!DOCTYPE html><html><title>Welcome to our network</title>Please sign in.</html>"


@dataclass
class Fault:
    """What happens to requests whose path has `part` in it, for `times` of them.

    Numbers of bytes count from the start of the body of that request, but `corrupt_at`: that is an
    offset in the file. `headers` of an answer without `status` are sent beside those of the file.
    """

    part: str
    status: int = 0  # 0: none
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: bool = False
    cut_after: int | None = None  # bytes, then the connection breaks
    reset: bool = False  # by a TCP RST; else it ends by FIN
    stall_after: int | None = None  # bytes, then nothing more, and the connection stays
    corrupt_at: int | None = None  # the byte of the file with its lowest bit flipped
    html: bool = False  # 200 and the page of a captive portal
    piece_s: float = 0.0  # a pause before each piece of 64 KiB
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

    With `elsewhere` set, files are answered by a redirect to that other address with a signature in
    its query, as a CDN does it; a signature that expires is a fault 403 of that other hub.
    Repositories in `gated` are for who sends `Bearer TOKEN` with the hub's `token` ("": nobody).
    `tags` is what a listing says beside the files, by repository: "license:mit".
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: list[Fault] = []
        self._asked: dict[int, Asked] = {}
        self._came = 0
        self.elsewhere: str | None = None
        self.gated: set[str] = set()
        self.token = ""
        self.tags: dict[str, list[str]] = {}
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
            return sum(each.sent_bytes for each in self._asked.values())

    @property
    def asked(self) -> list[Asked]:
        """Every request that has been answered, in the order in which they came."""
        self.settled()
        with self._lock:
            return [self._asked[number] for number in sorted(self._asked)]

    def forget(self) -> None:
        """Forget what was asked so far."""
        self.settled()
        with self._lock:
            self._asked.clear()

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

    def begin(self) -> int:
        """Return the number of a request that comes now."""
        with self._lock:
            self._busy += 1
            self._came += 1
            return self._came

    def note(self, number: int, asked: Asked) -> None:
        with self._lock:
            self._asked[number] = asked
            self._busy -= 1

    def settled(self) -> None:
        """Wait until no request is being answered."""
        end = time.monotonic() + 5
        while self._busy and time.monotonic() < end:
            time.sleep(0.01)

    def hang(self, connection: socket.socket) -> None:
        """Wait until the other side gives up, or the hub ends."""
        end = time.monotonic() + _HANG_S
        while not self._ended.is_set() and time.monotonic() < end:
            if select.select([connection], [], [], 0.05)[0]:
                return

    def answer(self, path: str, authorization: str | None = None) -> "Answer | Path":
        """Return what a path stands for: an answer, or a file whose bytes are sent by range."""
        if path in self.manifests:
            return Answer(200, self.manifests[path])
        if path.startswith("/api/models/"):
            return self._model(path.removeprefix("/api/models/"), authorization)
        if "/resolve/" in path and (refusal := self._refusal(path, authorization)):
            return refusal
        file = self._file(path)
        if file is None:
            return Answer(404, headers=_code("EntryNotFound"))
        if self.elsewhere:
            return Answer(302, headers={"Location": f"{self.elsewhere}{quote(path)}?{SIGNATURE}"})
        return file

    def _refusal(self, path: str, authorization: str | None) -> "Answer | None":
        """Return what stands before a file of a repository: its revision, or its gate."""
        repo, _, rest = path.strip("/").partition("/resolve/")
        if repo in self.gated:
            return self._gate(authorization)
        known = rest.partition("/")[0] in _REVISIONS or not (self.root / repo).is_dir()
        return None if known else Answer(404, headers=_code("RevisionNotFound"))

    def _gate(self, authorization: str | None) -> "Answer | None":
        if self.token and authorization == f"Bearer {self.token}":
            return None
        return Answer(403 if authorization else 401, headers=_code("GatedRepo"))

    def _model(self, rest: str, authorization: str | None) -> "Answer":
        """Answer ORG/REPO, ORG/REPO/revision/REVISION and ORG/REPO/auth-check of the API."""
        repo, _, revision = rest.partition("/revision/")
        if rest.endswith("/auth-check"):
            refused = self._gate(authorization) if rest.rpartition("/")[0] in self.gated else None
            return refused or Answer(200, b"{}")
        found = self.listing(repo)
        if not found:
            return Answer(401, headers=_code("RepoNotFound"))
        if revision and revision not in _REVISIONS:
            return Answer(404, headers=_code("RevisionNotFound"))
        return Answer(200, found)

    def _file(self, path: str) -> Path | None:
        if "/blobs/" in path:
            return self.blobs.get(path.rpartition("/")[2])
        repo, mark, rest = path.strip("/").partition("/resolve/")
        file = self.root / repo / rest.partition("/")[2]
        return file if mark and file.is_file() and ".." not in rest else None

    def described(self, path: str) -> dict[str, str]:
        """Return the headers by which a HEAD of /resolve/ describes a file; {} for another path."""
        file = self._file(path) if "/resolve/" in path else None
        if file is None:
            return {}
        told = self._sibling(file, file.name)
        if "lfs" not in told:
            return {"X-Repo-Commit": COMMIT, "ETag": f'"{told["blobId"]}"'}
        digest, size = told["lfs"]["sha256"], str(told["size"])
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": size}
        return {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', **linked}

    def listing(self, repo: str) -> bytes:
        """Return what /api/models/ORG/REPO answers, every file with its size; b"" for none."""
        folder = self.root / repo
        if not folder.is_dir():
            return b""
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        siblings = [self._sibling(p, str(p.relative_to(folder))) for p in files]
        told = {"id": repo, "sha": COMMIT, "siblings": siblings, "tags": self.tags.get(repo, [])}
        return json.dumps(told | {"gated": "manual" if repo in self.gated else False}).encode()

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
        number = hub.begin()
        fault = hub.fault(path) or Fault("")
        try:
            if fault.hang:
                hub.hang(self.connection)
                self.close_connection = True
            elif fault.html:
                sent = self._send(Answer(200, _PORTAL, {"Content-Type": "text/html"}))
            elif fault.status:
                sent = self._send(Answer(fault.status, fault.body, fault.headers))
            else:
                found = hub.answer(path, self.headers.get("Authorization"))
                sent = self._answer(found, fault)
        finally:
            told = self.headers.get("Range"), self.headers.get("Authorization")
            host = self.headers.get("Host", "")
            hub.note(number, Asked(self.command, path, *told, sent, host))

    def _answer(self, found: Answer | Path, fault: Fault) -> int:
        if isinstance(found, Path):
            return self._send_file(found, fault)
        if found.status == 302 and self.command == "HEAD":
            path = unquote(urlsplit(self.path).path)
            found.headers |= self.server.hub.described(path)
        return self._send(found)

    def _send(self, answer: Answer) -> int:
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body)
        return len(answer.body) if self.command == "GET" else 0

    def _send_file(self, file: Path, fault: Fault) -> int:
        size, start = file.stat().st_size, 0
        end, told = size - 1, self.headers.get("Range")
        if told and not fault.ignore_range:
            first, _, last = told.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or end), end)
            if start >= size:
                return self._send(Answer(416, headers={"Content-Range": f"bytes */{size}"}))
        partial = told and not fault.ignore_range
        headers = {"Content-Length": str(end - start + 1)}
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        if self.command == "HEAD":
            headers |= self.server.hub.described(unquote(urlsplit(self.path).path))
        self.send_response(206 if partial else 200)
        for name, value in {**headers, **fault.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        return 0 if self.command == "HEAD" else self._body(file, start, end + 1, fault)

    def _body(self, file: Path, start: int, end: int, fault: Fault) -> int:
        """Send these bytes of a file, as far as the fault lets them; return how many went out."""
        stop = min((n for n in (fault.cut_after, fault.stall_after) if n is not None), default=None)
        last = end if stop is None else min(end, start + stop)
        sent = 0
        try:
            for piece in _pieces(file, start, last):
                time.sleep(fault.piece_s)
                self.wfile.write(_flipped(piece, fault.corrupt_at, start + sent))
                sent += len(piece)
        except OSError:  # a client that has enough
            self.close_connection = True
        if last < end:
            self._break(fault)
        return sent

    def _break(self, fault: Fault) -> None:
        """Leave an answer half: hang, or close by FIN or RST."""
        self.close_connection = True
        if fault.stall_after is not None:
            self.server.hub.hang(self.connection)
        elif fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            os.close(self.connection.detach())
        else:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


def _flipped(piece: bytes, at: int | None, offset: int) -> bytes:
    """Return a piece that begins at `offset`, with the lowest bit of the byte `at` flipped."""
    if at is None or not 0 <= at - offset < len(piece):
        return piece
    damaged = bytearray(piece)
    damaged[at - offset] ^= 1
    return bytes(damaged)


def _pieces(file: Path, start: int, end: int) -> Iterator[bytes]:
    with file.open("rb") as stream:
        stream.seek(start)
        while start < end:
            piece = stream.read(min(_PIECE, end - start))
            start += len(piece)
            yield piece
