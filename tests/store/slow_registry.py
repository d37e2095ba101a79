"""A registry that stops in the middle of a blob until it is told to go on."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTENT = b"not really weights" * 10_000
CONFIG = b'{"model_format":"gguf"}'


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


BLOBS = {_digest(content): content for content in (CONTENT, CONFIG)}
MANIFEST = {
    "schemaVersion": 2,
    "config": {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": _digest(CONFIG),
        "size": len(CONFIG),
    },
    "layers": [
        {
            "mediaType": "application/vnd.ollama.image.model",
            "digest": _digest(CONTENT),
            "size": len(CONTENT),
        }
    ],
}


class SlowRegistry:
    """Serves one model. `halfway` is set in the middle of its blob, which waits for `go_on`."""

    def __init__(self) -> None:
        self.halfway, self.go_on = threading.Event(), threading.Event()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if "/manifests/" in self.path:
                    self._answer(json.dumps(MANIFEST).encode())
                    return
                content = BLOBS[self.path.rpartition("/")[2]]
                self._headers(len(content))
                half = len(content) // 2
                self.wfile.write(content[:half])
                self.wfile.flush()
                if self.headers.get("Range") and content is CONTENT:
                    registry.halfway.set()
                    registry.go_on.wait(60)
                self.wfile.write(content[half:])

            def do_HEAD(self) -> None:
                self._headers(len(BLOBS[self.path.rpartition("/")[2]]))

            def _answer(self, content: bytes) -> None:
                self._headers(len(content))
                self.wfile.write(content)

            def _headers(self, size_bytes: int) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(size_bytes))
                self.send_header("Location", "#")  # the server takes a blob only with one
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def model(self) -> str:
        """The name that pulls its model."""
        return f"127.0.0.1:{self._http.server_port}/library/slow:1"

    @contextmanager
    def running(self) -> Iterator["SlowRegistry"]:
        """Serve during the block."""
        thread = threading.Thread(target=self._http.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self.go_on.set()
            self._http.shutdown()
            thread.join()
            self._http.server_close()
