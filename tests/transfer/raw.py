"""A server that says exactly the bytes it is given, over TLS if asked, and keeps what it heard."""

import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Self

_END = b"\r\n\r\n"


class Raw:
    """Gives one of `answers` to each connection, in their order, the last of them for ever."""

    def __init__(self, *answers: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.heard: list[str] = []
        self._answers = list(answers)
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))

    @property
    def host(self) -> str:
        return f"localhost:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            try:
                with self._tls.wrap_socket(connection, True) if self._tls else connection as link:
                    self._answer(link)
            except OSError:  # a client that trusts nobody
                connection.close()

    def _answer(self, link: socket.socket) -> None:
        text = b""
        while not text.endswith(_END):
            text += link.recv(65536)
        self.heard.append(text.decode())
        link.sendall(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """An answer with its length, unless the headers say how long it is."""
    told = {"Content_Length": str(len(body)), "Connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in told.items() if value]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make an authority that nobody knows, and a server's side that it signed for localhost."""
    ca, key, own, request, signed = (
        folder / name for name in ("ca.pem", "ca.key", "own.key", "own.csr", "own.pem")
    )
    new = ["-newkey", "rsa:2048", "-nodes", "-subj"]
    of = ["-addext", "keyUsage=critical,keyCertSign"]
    _openssl("req", "-x509", *new, "/CN=An authority", *of, "-keyout", key, "-out", ca)
    _openssl("req", *new, "/CN=localhost", "-keyout", own, "-out", request)
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    by: list[str | Path] = [
        "-CA",
        ca,
        "-CAkey",
        key,
        "-CAcreateserial",
        "-extfile",
        folder / "names",
    ]
    _openssl("x509", "-req", "-in", request, *by, "-out", signed)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(signed, own)
    return ca, tls


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)
