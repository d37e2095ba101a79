"""Stores made by hand: enough for all that reads and writes files, and no server need run."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.home import Home
from orchestrator.store import Store
from orchestrator.store.name import Name
from tests.real.server import bare_environment, free_port

UID = 4711
NAME, OTHER = "qwen2.5:0.5b", "team/second:v1"
_MEDIA = "application/vnd.ollama.image."
_CONFIG = "application/vnd.docker.container.image.v1+json"
LICENCE = b"\n  Apache License\n  Version 2.0\n"


@dataclass(frozen=True, slots=True)
class Box:
    """One machine as far as bundles know it: a home, a store, and no server unless told."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        return Home.of(self.environ)

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def environ(self) -> Mapping[str, str]:
        return self.env

    @property
    def store(self) -> Store:
        found = Store.at(str(self.models))
        assert found is not None
        return found

    @property
    def files(self) -> list[str]:
        """Every file below the store, and nothing else."""
        return sorted(
            str(p.relative_to(self.models)) for p in self.models.rglob("*") if p.is_file()
        )


def box(folder: Path) -> Box:
    """Return a box without a store; its OLLAMA_HOST is a port where nobody listens."""
    (folder / "person").mkdir(parents=True)
    env = bare_environment(folder / "person") | {
        "DEPLOY_HOME": str(folder / "deploy"),
        "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
        "PATH": str(folder / "no-programs"),
    }
    return Box(folder, env)


def put(models: Path, name: str, weights: bytes, *, shared: bytes = LICENCE) -> str:
    """Put a model into a store, and return its digest."""
    layers = [
        _blob(models, "model", weights) | {"from": "/home/someone/blobs/sha256-1"},
        _blob(models, "template", b"{{ .Prompt }}"),
        _blob(models, "params", b'{"stop":["<|im_end|>"],"temperature":0.6}'),
        _blob(models, "license", shared),
    ]
    config = _blob(models, "", b'{"model_format":"gguf"}') | {"mediaType": _CONFIG}
    manifest: dict[str, Any] = {"schemaVersion": 2, "config": config, "layers": layers}
    path = models.joinpath("manifests", *Name.parse(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest))
    store = Store.at(str(models))
    assert store is not None
    found = store.manifest(name)
    assert found is not None
    return found.digest


def _blob(models: Path, kind: str, raw: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(raw).hexdigest()
    path = models / "blobs" / f"sha256-{digest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return {"mediaType": f"{_MEDIA}{kind}", "digest": f"sha256:{digest}", "size": len(raw)}


Members = list[tuple[tarfile.TarInfo, bytes]]


def members(file: Path) -> Members:
    """Return the members of a bundle, as Python's own tarfile reads them."""
    with tarfile.open(file) as archive:
        found = [(each, archive.extractfile(each)) for each in archive]
        return [(each, content.read() if content else b"") for each, content in found]


def write(file: Path, entries: Members, kind: int = tarfile.USTAR_FORMAT) -> Path:
    """Write members into an archive, whatever they are."""
    with tarfile.open(file, "w", format=kind) as archive:
        for each, raw in entries:
            archive.addfile(each, io.BytesIO(raw))
    return file


def rewritten(file: Path, to: Path, **changes: object) -> Path:
    """Write a bundle anew, its index changed, its checksums fitting to that."""
    entries = members(file)
    index = json.loads(entries[0][1]) | changes
    raw = json.dumps(index).encode()
    sums = f"{hashlib.sha256(raw).hexdigest()}  deploy-bundle.json\n".encode()
    for place, (each, content) in enumerate(entries):
        new = {"deploy-bundle.json": raw, "SHA256SUMS": sums + content.partition(b"\n")[2]}
        entries[place] = (each, new.get(each.name, content))
        each.size = len(entries[place][1])
    return write(to, entries)


@pytest.fixture
def source(tmp_path: Path) -> Box:
    """A box with two models that share a licence."""
    made = box(tmp_path / "source")
    put(made.models, NAME, b"w" * 3_000_000)
    put(made.models, OTHER, bytes(range(256)) * 400)
    return made


@pytest.fixture
def target(tmp_path: Path) -> Box:
    """A box with nothing."""
    return box(tmp_path / "target")
