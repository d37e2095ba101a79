"""Releases as Ollama publishes them: archives with their list of checksums, served on loopback."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import zstandard

from orchestrator.progress import Progress
from orchestrator.release import Box, Release
from orchestrator.runtime.binary import Binary
from tests.real.hub import Hub

AMD64 = Box(arch="x86_64")
REPOSITORY = "ollama/ollama"
# Ollama finds its libraries by itself; the one of the tests is told, and told to leave GPUs alone.
LAUNCHER = b"""#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="$here/../lib/ollama" OLLAMA_NUM_GPU=0
exec "$here/../lib/ollama/ollama-lib" "$@"
"""


class Quiet(Progress):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def tick(self, text: str) -> None:
        self.said.append(text)

    def advance(self, label: str, done: int, total: int | None) -> None:
        self.said.append(f"{label}: {done} of {total}")

    def waiting(self, text: str) -> AbstractContextManager[None]:
        self.said.append(text)
        return nullcontext()

    @property
    def text(self) -> str:
        return "\n".join(self.said)


def program(version: str) -> bytes:
    """A program that says its version and can do nothing else."""
    return f"#!/bin/sh\necho 'ollama version is {version}'\n".encode()


def file(name: str, data: bytes, mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    return member, data


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member, b""


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    return member, b""


def special(name: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type = kind
    return member, b""


Members = Iterable[tuple[tarfile.TarInfo, bytes]]


def archive(path: Path, members: Members) -> Path:
    """Write an archive in the format that its name tells."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".zst"):
        path.write_bytes(zstandard.ZstdCompressor(level=1).compress(plain.getvalue()))
    else:
        path.write_bytes(gzip.compress(plain.getvalue(), 1))
    return path


def small(version: str, data: bytes = b"kernels") -> Members:
    """A release in small: the layout of Ollama's, with a program that only says its version."""
    return (
        folder("./"),
        folder("./bin/"),
        file("./bin/ollama", program(version), 0o755),
        file("./lib/ollama/libggml-base.so", data),
        file("./lib/ollama/cuda_v12/libcublas.so.12.8", b"cublas"),
        link("./lib/ollama/cuda_v12/libcublas.so.12", "libcublas.so.12.8"),
        link("./lib/ollama/cuda_v12/libggml-base.so", "../libggml-base.so"),
    )


def real(binary: Binary) -> Members:
    """A release whose program is a real Ollama 0.9.3 for the CPU."""
    at = binary.path.parent
    yield file("bin/ollama", LAUNCHER, 0o755)
    for path in sorted(p for p in at.iterdir() if p.name != "runtime.json"):
        yield file(f"lib/ollama/{path.name}", path.read_bytes(), 0o755)


class Publisher:
    """Releases in a folder that a hub serves; `hub` counts what it sends, and does faults."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    @property
    def base_url(self) -> str:
        return f"{self.hub.url}/{REPOSITORY}/resolve/main"

    def folder(self, version: str) -> Path:
        return self.hub.root / REPOSITORY / f"v{version}"

    def publish(self, version: str, archives: Mapping[str, Members]) -> Release:
        """Publish archives by their file names, and the list of their checksums."""
        for name, members in archives.items():
            archive(self.folder(version) / name, members)
        self.list(version)
        return self.release(version)

    def list(self, version: str) -> None:
        paths = sorted(self.folder(version).glob("*ollama*"))
        lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  ./{p.name}\n" for p in paths]
        (self.folder(version) / "sha256sum.txt").write_text("".join(lines))

    def release(self, version: str) -> Release:
        return Release.of({}, version=version, base_url=self.base_url)

    def sent_bytes(self, name: str) -> int:
        """What went out of the files with that name."""
        self.hub.settled()
        return sum(each.sent_bytes for each in self.hub.asked if each.path.endswith(name))
