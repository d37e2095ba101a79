"""`deploy bundle create`: models out of a store into one file, every byte checked on the way.

The archive is not compressed, for weights do not compress: the index, the manifests, the licence
texts, the checksums, the blobs, each once, and the runtime. A manifest goes in as it lies in the
store, byte for byte, because its sha256 is the digest of the model. So the "from" of a layer, a
local path that some servers write into it, goes along: without it the model would get another
digest, and nobody could tell that it is the same.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator import __version__
from orchestrator.bundle import header, program, room
from orchestrator.bundle.archive import CHUNK_BYTES, digest_of, sums
from orchestrator.bundle.index import (
    NAME,
    SUMS,
    BundledModel,
    Index,
    Member,
    blob_path,
    manifest_path,
)
from orchestrator.bundle.place import Place
from orchestrator.catalog import Catalog
from orchestrator.errors import (
    Busy,
    DeployError,
    InvalidInput,
    ModelUnavailable,
    SourceCorrupt,
    UnknownModel,
)
from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.store import Layer, Manifest, Store
from orchestrator.store.name import Name

_ELSEWHERE = "free space there, or name a file on another disk with -o"
_LONGEST_LICENCE = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Created:
    """A bundle that was written; `size_bytes` is the whole file."""

    file: Path
    size_bytes: int
    index: Index

    def to_json(self) -> dict[str, Any]:
        """Return the document (schema `bundle`)."""
        return {"schema": 1, "file": str(self.file), "size_bytes": self.size_bytes,
                "index": self.index.to_json()}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One member: its content in memory, or its file; `model` is whose it is, for messages."""

    member: Member
    raw: bytes | None = None
    path: Path | None = None
    model: str = ""


def create(
    names: Sequence[str],
    file: Path,
    home: Home,
    environ: Mapping[str, str],
    progress: Progress,
    *,
    with_runtime: bool = False,
    force: bool = False,
    catalog: Catalog | None = None,
) -> Created:
    """Write a bundle of those models; the file has its name only when it is whole.

    Raises InvalidInput: the file exists (unless `force`), or the store cannot be read;
    ModelUnavailable; SourceCorrupt: a blob is not what its digest says; DiskFull; Busy: another
    create writes the same file.
    """
    _refuse_existing(file, force=force)
    store = Place.at(home, environ).to_read()
    models, parts = _contents(store, names, catalog or Catalog.bundled())
    told = program.taken(home, environ, progress) if with_runtime else None
    if told:
        parts += [_Part(member=m, path=path) for path, m in told.files.items()]
    index = Index(
        created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        deploy_version=__version__,
        models=tuple(models),
        runtime=told.runtime if told else None,
        members=tuple(part.member for part in parts),
    )
    # What `load` would refuse is not written: a name of no member's form, a model without weights.
    Index.from_json(index.to_json(), f"the bundle {file}")
    size_bytes = _written(file, index, parts, progress)
    return Created(file=file, size_bytes=size_bytes, index=index)


def _refuse_existing(file: Path, *, force: bool) -> None:
    folder = file.absolute().parent
    if file.is_dir() or not folder.is_dir():
        why = f"{file} is a folder" if file.is_dir() else f"there is no folder {folder}"
        raise InvalidInput(f"{why}, so no file can be written there", hint="name one with -o FILE")
    if file.exists() and not force:
        raise InvalidInput(f"{file} exists", hint="name another file, or add --force")


def _contents(
    store: Store, names: Sequence[str], catalog: Catalog
) -> tuple[list[BundledModel], list[_Part]]:
    """Return the models, and all their members in the order of the archive, each once."""
    models: list[BundledModel] = []
    parts: dict[str, _Part] = {}
    blobs: dict[str, _Part] = {}
    texts: dict[str, _Part] = {}
    for name, manifest in _named(store, names):
        told = _whole(store, name, manifest)
        parts[manifest_path(name)] = _text(manifest_path(name), manifest.raw)
        for layer in manifest.layers:
            blobs[layer.digest] = _blob(store, layer, name.short)
        licences = _licences(store, manifest)
        for layer, raw in licences:
            path = f"licences/{blob_path(layer.digest).partition('/')[2]}.txt"
            texts[path] = _text(path, raw)
        models.append(_model(name, told, licences, catalog))
    return models, [*parts.values(), *texts.values(), *blobs.values()]


def _named(store: Store, names: Sequence[str]) -> Iterator[tuple[Name, Manifest]]:
    """Yield each model once, spelt as the store spells it."""
    present = {name.lower(): name for name in store.names()}
    seen: set[str] = set()
    for text in names:
        try:
            short = Name.parse(text).short
        except LookupError as e:
            raise InvalidInput(str(e), hint="list the models with `ollama list`") from e
        spelt = present.get(short.lower(), short)
        manifest = store.manifest(spelt)
        if manifest is None:
            torn = "is torn" if spelt in store.torn() else "is absent"
            raise ModelUnavailable(
                f"the store {store.path} has no whole {short}: its manifest {torn}",
                hint=f"fetch it with `deploy pull {short}`",
            )
        if spelt not in seen:
            seen.add(spelt)
            yield Name.parse(spelt), manifest


def _whole(store: Store, name: Name, manifest: Manifest) -> Manifest:
    """Return the manifest if each blob is there with its size; contents are checked later."""
    for layer in manifest.layers:
        path = store.blob(layer.digest)
        if not layer.digest.startswith("sha256:"):  # of servers before 0.1.30
            raise _broken(name.short, path, "is named in a form that is no longer written")
        try:
            found = path.stat().st_size
        except OSError as e:
            raise _broken(name.short, path, f"cannot be read: {e.strerror}") from e
        if found != layer.size_bytes:
            raise _broken(name.short, path, f"has {found} bytes instead of {layer.size_bytes}")
    return manifest


def _broken(model: str, path: Path, what: str) -> SourceCorrupt:
    return SourceCorrupt(
        f"{model}: the blob {path} {what}",
        hint=f"`deploy verify {model}` looks at all of them; `deploy pull {model}` mends it",
    )


def _licences(store: Store, manifest: Manifest) -> list[tuple[Layer, bytes]]:
    kept = [layer for layer in manifest.layers if layer.kind == "license"]
    found = []
    for layer in kept:
        raw = store.blob(layer.digest).read_bytes()
        if f"sha256:{digest_of(raw)}" == layer.digest:
            found.append((layer, raw))  # a damaged one is found when the blobs are read
    return found


def _model(
    name: Name, manifest: Manifest, licences: list[tuple[Layer, bytes]], catalog: Catalog
) -> BundledModel:
    return BundledModel(
        name=name.short,
        manifest=manifest_path(name),
        digest=manifest.digest,
        layers=manifest.layers,
        licences=tuple(_title(raw) for _, raw in licences),
        catalogue=_listed(name.short, catalog),
    )


def _title(raw: bytes) -> str:
    """Return how a licence calls itself: its first line with a letter."""
    lines = (line.strip() for line in raw.decode("utf-8", "replace").splitlines())
    return next((line[:_LONGEST_LICENCE] for line in lines if any(map(str.isalpha, line))), "")


def _listed(name: str, catalog: Catalog) -> dict[str, Any] | None:
    try:
        found = catalog.find(name)
    except (UnknownModel, ValueError):
        return None
    wanted = ("model", "family", "quantization", "format", "parameters_total", "file_bytes",
              "digest", "license", "commercial_use", "released")  # fmt: skip
    told = asdict(found)
    return {"tags": list(found.tags), **{key: told[key] for key in wanted}}


def _text(path: str, raw: bytes) -> _Part:
    return _Part(member=Member(path=path, size_bytes=len(raw), sha256=digest_of(raw)), raw=raw)


def _blob(store: Store, layer: Layer, model: str) -> _Part:
    sha256 = layer.digest[len("sha256:") :]
    member = Member(path=blob_path(layer.digest), size_bytes=layer.size_bytes, sha256=sha256)
    return _Part(member=member, path=store.blob(layer.digest), model=model)


def _written(file: Path, index: Index, parts: Sequence[_Part], progress: Progress) -> int:
    raw = (json.dumps(index.to_json(), indent=1) + "\n").encode()
    first = [part for part in parts if part.raw is not None]
    checksums = _text(SUMS, sums(raw, index.members))
    ordered = [_text(NAME, raw), *first, checksums, *(p for p in parts if p.raw is None)]
    size_bytes = sum(header.room_of(p.member.size_bytes) for p in ordered) + len(header.END)
    room.check(file.absolute().parent, size_bytes, _ELSEWHERE)
    mtime_s = int(datetime.fromisoformat(index.created_at).timestamp())
    with room.mapped(file.absolute().parent, size_bytes, InvalidInput), _part_of(file) as out:
        done = 0
        for part in ordered:
            done = _put(out, part, mtime_s, (done, size_bytes), progress)
        _all(out, header.END)
        with progress.waiting(f"waiting until {file.name} is on the disk"):
            os.fsync(out.fileno())
    progress.advance(f"bundle {file.name}", size_bytes, size_bytes)
    return size_bytes


@contextmanager
def _part_of(file: Path) -> Iterator[BinaryIO]:
    """Yield FILE.part, empty and ours alone; it gets its name when the block ends well.

    One that a killed create left is written anew.
    """
    path = file.with_name(f"{file.name}.part")
    with path.open("ab", buffering=0) as out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = path.exists() and os.path.samestat(path.stat(), os.fstat(out.fileno()))
        except BlockingIOError:
            ours = False
        if not ours:
            raise Busy(f"another `deploy bundle create` writes {file}")
        try:
            out.truncate(0)
            yield out
            path.replace(file)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _put(out: BinaryIO, part: _Part, mtime_s: int, at: tuple[int, int], progress: Progress) -> int:
    """Write one member, and return how many bytes of the archive are written."""
    member, (done, total) = part.member, at
    mode = 0o755 if member.executable else 0o644
    try:
        block = header.header(member.path, member.size_bytes, mode=mode, mtime_s=mtime_s)
    except ValueError as e:
        raise InvalidInput(
            f"{part.model or member.path}: {e}", hint="give it a shorter name"
        ) from e
    _all(out, block)
    left = member.size_bytes
    digest = hashlib.sha256()
    for chunk in _read(part):
        digest.update(chunk)
        _all(out, chunk)
        left -= len(chunk)
        if part.raw is None:
            progress.advance("bundle", done + member.size_bytes - left, total)
    if left or digest.hexdigest() != member.sha256:
        raise _changed(part)
    _all(out, bytes(header.padding(member.size_bytes)))
    return done + header.room_of(member.size_bytes)


def _all(out: BinaryIO, chunk: bytes | memoryview) -> None:
    """Write a chunk to its end: a disk that is nearly full takes a part of it first."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[out.write(rest) :]


def _read(part: _Part) -> Iterator[bytes | memoryview]:
    """Yield a member's content, never more than its size: the header stands already."""
    if part.path is None:
        yield part.raw or b""
        return
    buffer, left = memoryview(bytearray(CHUNK_BYTES)), part.member.size_bytes
    try:
        with part.path.open("rb", buffering=0) as file:
            while left and (count := file.readinto(buffer[: min(CHUNK_BYTES, left)])):
                yield buffer[:count]
                left -= count
    except OSError as e:
        if part.model:
            raise _broken(part.model, part.path, f"cannot be read: {e.strerror or e}") from e
        raise InvalidInput(f"cannot read {part.path}: {e.strerror or e}") from e


def _changed(part: _Part) -> DeployError:
    path = part.path or Path(part.member.path)
    if part.model:
        return _broken(part.model, path, "is damaged: its content has another sha256 than its name")
    return SourceCorrupt(f"{path} changed while it was bundled", hint="repeat the same command")
