"""One Ollama server: short reads over the wire, everything else through the ollama client."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import (
    InvalidInput,
    ServerRefused,
    ServerUnreachable,
    SourceUnreachable,
    one_line,
)
from orchestrator.machine import LoadedModel
from orchestrator.server import failures, wire
from orchestrator.server.connection import Connection, certificates
from orchestrator.server.hangup import Hangup
from orchestrator.server.import_failures import upload_failure
from orchestrator.server.shown import Claim, Installed, Shown
from orchestrator.server.silence import Silence
from orchestrator.server.stream import LoadTiming, Piece, PullStep, seconds

_LONGEST_VERSION = 64
_VERSION_S = 4.0  # answered from memory, even while a model loads
_QUICK_S = 10.0
_VANISHED, _LOOKS, _LOOK_AGAIN_S = "no such file or directory", 5, 0.2
_HASHING_S = 3600.0  # "verifying sha256 digest" sends nothing: 400 GB at 115 MB/s of a slow disk
_WORK_S = 600.0
_CHUNK_S = 60.0  # for the server to take 1 MiB more of an upload
_DOWNLOAD_SILENCE_S = 45.0  # the server reports every 60 ms while it downloads


class Server(Connection):
    """The API of the Ollama server at `host`, a URL. Every method may raise ServerUnreachable."""

    def version(self) -> str:
        """Return the server's version, "0.9.3"."""
        answer = wire.request(self.host, "GET", "/api/version", timeout_s=_VERSION_S)
        if not isinstance(answer, dict) or not isinstance(answer.get("version"), str):
            raise ServerUnreachable(
                f"what answers at {self.host} is no Ollama server",
                hint="set OLLAMA_HOST to the address of an Ollama server",
            )
        return one_line(str(answer["version"])[:_LONGEST_VERSION])

    def loaded(self) -> tuple[LoadedModel, ...]:
        """Return the models in memory; `bytes` is the server's own claim."""
        return tuple(
            LoadedModel(
                name=m["name"],
                digest=m.get("digest", ""),
                bytes=int(m.get("size", 0)),
                context=m.get("context_length"),
            )
            for m in (self._get("/api/ps") or {}).get("models") or []
        )

    def claim(self, name: str) -> Claim | None:
        """Return what the server says that a loaded model takes; None: it is not loaded."""
        for m in (self._get("/api/ps") or {}).get("models") or []:
            if m["name"] == name:
                # size_vram is left out of the JSON when it is 0
                return Claim(
                    size_bytes=int(m.get("size", 0)),
                    vram_bytes=int(m.get("size_vram", 0)),
                    expires_at=str(m.get("expires_at", "")),
                )
        return None

    def installed(self) -> tuple[Installed, ...]:
        """Return the models in the server's store."""
        models = (self._tags() or {}).get("models") or []
        try:
            return tuple(
                Installed(name=m["name"], digest=m["digest"], size_bytes=int(m["size"]))
                for m in models
            )
        except (KeyError, TypeError, ValueError) as e:
            raise ServerUnreachable(
                f"what answers at {self.host} lists models without {e}: it is no Ollama server",
                hint="set OLLAMA_HOST to the address of an Ollama server",
            ) from e

    def _tags(self) -> Any:  # noqa: ANN401 - JSON
        """Return /api/tags, asked again where a model vanished while the server looked at it."""
        for _ in range(_LOOKS - 1):
            try:
                return self._get("/api/tags")
            except ServerRefused as e:
                if _VANISHED not in e.what:
                    raise
            time.sleep(_LOOK_AGAIN_S)
        return self._get("/api/tags")

    def find(self, name: str) -> Installed | None:
        """Return the installed model of that name (matched as the server does: case-blind)."""
        wanted = (name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest").lower()
        return next((m for m in self.installed() if m.name.lower() == wanted), None)

    def show(self, name: str) -> Shown | None:
        """Return the true header of an installed model; None: not there."""
        answer = wire.request(
            self.host, "POST", "/api/show", {"model": name}, timeout_s=_QUICK_S * 3
        )
        return None if answer is None else Shown.from_json(answer)

    def weights(self, name: str) -> str | None:
        """Return the digest of a model's weights ("sha256:…"); None: absent, torn, unreadable."""
        try:
            shown = self.show(name)
        except (ServerRefused, InvalidInput):  # one broken model must not take all others away
            return None
        return shown.blob if shown else None

    def blob_path(self, name: str) -> str | None:
        """Return where the server has a model's weights, a path of its own machine; None: untold.

        It reveals the store of a server whose environment is hidden.
        """
        with contextlib.suppress(ServerRefused, ServerUnreachable, InvalidInput):
            shown = self.show(name)
            return shown.blob_path if shown else None
        return None

    def chat_completion(self, name: str, text: str, *, max_tokens: int, timeout_s: float) -> str:
        """Return the answer of /v1/chat/completions, as a client of the alias would get it."""
        body = {
            "model": name,
            "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": text}],
        }
        with self._loading(name):
            answer = wire.request(
                self.host, "POST", "/v1/chat/completions", body, timeout_s=timeout_s
            )
        if answer is None:
            raise ServerRefused(f"{self.host} has no model {name} at /v1/chat/completions")
        return str(answer["choices"][0]["message"].get("content") or "")

    def pull(
        self, name: str, *, insecure: bool = False, silence_s: float = _DOWNLOAD_SILENCE_S
    ) -> Generator[PullStep, None, None]:
        """Yield the steps of a download; closing the iterator cancels it and keeps the partials.

        Raises PullFailed and its kinds (SourceUnreachable also where the server says nothing for
        `silence_s` seconds while it should download), DiskFull.
        """
        succeeded = False
        try:
            with contextlib.closing(
                self._steps(name, insecure=insecure, silence_s=silence_s)
            ) as steps:
                for step in steps:
                    succeeded = step.status == "success"
                    yield step
        except ServerRefused as e:
            raise failures.pull_failure(name, e.what) from e
        if not succeeded:
            raise failures.pull_failure(name, "the stream ended before 'success'")

    def _steps(
        self, name: str, *, insecure: bool, silence_s: float
    ) -> Generator[PullStep, None, None]:
        silence = Silence()
        self.version()  # a server that hangs is found out here: below it would have an hour
        try:
            with self.mapped(), self.client(_HASHING_S, response=silence.take) as client, silence:
                silence.allow(silence_s)
                for step in client.pull(name, insecure=insecure, stream=True):
                    silence.allow(None)
                    found = PullStep(
                        status=step.status or "",
                        digest=step.digest,
                        total_bytes=step.total,
                        completed_bytes=step.completed,
                    )
                    yield found
                    silence.allow(silence_s if found.downloads else None)
        except ServerUnreachable as e:
            if not silence.broken:
                raise
            self.version()  # raises ServerUnreachable: it is the server that is silent
            raise SourceUnreachable(
                f"pulling {name}: nothing heard from its registry for {silence_s:.0f} s"
            ) from e

    def derive(self, name: str, base: str, parameters: Mapping[str, object]) -> None:
        """Create a model that shares the blob of `base` and fixes `parameters`."""
        if self.find(base) is None:  # create would pull it, or make an empty model (0.9.3)
            raise ServerRefused(f"{base} is not on the server, so {name} cannot be derived from it")
        self._create(name, from_=base, parameters=dict(parameters))

    def create(self, name: str, blob: str, **fields: Any) -> None:
        """Create a model from an uploaded GGUF blob; fields: template, parameters, license."""
        self._create(name, files={"model.gguf": blob}, **fields)

    def _create(self, name: str, **fields: Any) -> None:
        status = None
        with self._writing(name), self.client(_WORK_S) as client:
            # Drained to the end: a dropped create leaks a goroutine and a temporary file.
            for step in client.create(model=name, stream=True, **fields):
                status = step.status
        if status != "success":
            raise ServerRefused(f"creating {name} ended at {status!r}")

    def holds(self, digest: str) -> bool:
        """Return whether the server has the blob "sha256:…"; no byte of it moves."""
        path = f"/api/blobs/{digest}"
        return wire.request(self.host, "HEAD", path, timeout_s=_QUICK_S) is not None

    def upload(self, path: Path, digest: str, progress: Callable[[int], None]) -> int:
        """Give the server the file `path` as the blob `digest` ("sha256:…"); see `give`."""
        return self.give(path.name, digest, path.stat().st_size, _chunks(path, progress))

    def give(self, label: str, digest: str, size_bytes: int, chunks: Iterable[bytes]) -> int:
        """Give the server the blob `digest` ("sha256:…") in chunks unless it has it.

        Returns how many bytes moved; `label` is what messages call it. Of a blob whose chunks end
        early, or fail, the server keeps nothing. Raises DiskFull; SourceCorrupt: they are not what
        the digest says; PullFailed: the server does not take it; what the chunks raise.
        """
        import httpx

        if self.holds(digest):
            return 0
        # Of the last byte's answer: the server hashes as it receives, and then renames.
        limits = httpx.Timeout(_WORK_S, connect=_QUICK_S, write=_CHUNK_S)
        length = {"Content-Length": str(size_bytes)}
        with (
            self.mapped(),
            httpx.Client(trust_env=False, verify=certificates(), timeout=limits) as client,
        ):
            url = f"{self.host}/api/blobs/{digest}"
            answer = client.post(url, content=chunks, headers=length)
        if answer.is_error:
            raise upload_failure(label, answer.status_code, answer.text.strip())
        return size_bytes

    def copy(self, source: str, target: str) -> None:
        """Name the model `source` also `target`, replacing what had that name."""
        with self._writing(target), self.client(_QUICK_S) as client:
            client.copy(source, target)

    def delete(self, name: str) -> None:
        """Take one name away; blobs that other names use stay. Nothing happens if it is absent."""
        if self.find(name) is not None:
            with self.mapped(), self.client(_QUICK_S * 6) as client:
                client.delete(name)

    def load(
        self,
        name: str,
        *,
        options: Mapping[str, object] | None = None,
        keep_alive: float | str | None = None,
        timeout_s: float = 600,
    ) -> LoadTiming:
        """Load a model and return when it can answer. Raises OutOfMemory, ServerRefused."""
        started = time.perf_counter()
        with self._loading(name), self.client(timeout_s) as client:
            answer = client.generate(
                model=name, prompt="", options=options or {}, keep_alive=keep_alive
            )
        wall_s = time.perf_counter() - started
        return LoadTiming(wall_s=wall_s, load_s=seconds(answer.load_duration))

    def unload(self, name: str, *, timeout_s: float = 60) -> None:
        """Take a model out of memory and wait until the server no longer lists it."""
        with self._loading(name), self.client(timeout_s) as client:
            client.generate(model=name, prompt="", keep_alive=0)
        deadline = time.monotonic() + timeout_s
        while self.claim(name) is not None:
            if time.monotonic() > deadline:
                raise ServerRefused(f"{name} is still in memory {timeout_s:.0f} s after unload")
            time.sleep(0.1)

    def stream(
        self,
        model: str,
        prompt: str,
        *,
        options: Mapping[str, object],
        raw: bool = True,
        keep_alive: float | str | None = None,
        timeout_s: float = 600,
        hangup: Hangup | None = None,
    ) -> Iterator[Piece]:
        """Yield the chunks of one generation. Ends without a `done` piece when the server's guard
        against repetition stops it: then there is no result.

        `hangup` can end it from another thread; to the reader that is ServerUnreachable.
        """
        hooks = {} if hangup is None else {"request": hangup.follow}
        with self._loading(model), self.client(timeout_s, **hooks) as client:
            chunks = client.generate(
                model=model,
                prompt=prompt,
                raw=raw,
                stream=True,
                options=options,
                keep_alive=keep_alive,
            )
            for chunk in chunks:
                yield Piece.arrived(chunk, chunk.response, chunk.thinking)

    def chat(
        self,
        model: str,
        text: str,
        *,
        options: Mapping[str, object],
        think: bool | None = None,
        keep_alive: float | str | None = None,
        timeout_s: float = 600,
    ) -> Iterator[Piece]:
        """Yield the chunks of the answer to one message, through the model's own template.

        `think` None leaves the parameter out, which servers before 0.9 do not have; True is refused
        for a model that does not think (ServerRefused).
        """
        with self._loading(model), self.client(timeout_s) as client:
            chunks = client.chat(
                model=model,
                messages=[{"role": "user", "content": text}],
                think=think,
                stream=True,
                options=options,
                keep_alive=keep_alive,
            )
            for chunk in chunks:
                yield Piece.arrived(chunk, chunk.message.content, chunk.message.thinking)

    def _get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        return wire.request(self.host, "GET", path, timeout_s=_QUICK_S)

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Map failures of requests that write a name into the store."""
        try:
            with self.mapped():
                yield
        except ServerRefused as e:
            raise failures.write_failure(name, e.what) from e

    @contextlib.contextmanager
    def _loading(self, name: str) -> Iterator[None]:
        """Map failures of requests that may load a model."""
        try:
            with self.mapped():
                yield
        except ServerRefused as e:
            failure = failures.load_failure(name, e.what)
            failure.details |= e.details
            raise failure from e


def _chunks(path: Path, progress: Callable[[int], None]) -> Iterator[bytes]:
    sent = 0
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            sent += len(chunk)
            yield chunk
            progress(sent)
