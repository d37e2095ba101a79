"""A GGUF on this disk, whole or in parts side by side, becomes a model of the server."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator import log
from orchestrator.catalog import Catalog
from orchestrator.era import ServerVersion
from orchestrator.errors import InvalidInput
from orchestrator.families.known import family_of
from orchestrator.gguf import header
from orchestrator.gguf.header import Header
from orchestrator.gguf.split import stem_of
from orchestrator.importing import Destination, Imported, LocalFile, check_gguf
from orchestrator.importing.gguf import import_gguf
from orchestrator.model import Origin
from orchestrator.progress import Progress
from orchestrator.pull.hub_name import plain_name
from orchestrator.server import Server
from orchestrator.source import Pulled
from orchestrator.source.gguf_file import beside, in_file
from orchestrator.source.hub_model import label
from orchestrator.source.intent import Intent
from orchestrator.store import Store

_PIECE_BYTES = 1024**2


class GgufFile:
    """Gives the server files of this disk; a tag is the path of one, of any part."""

    name = "file"
    address = "this disk"

    def __init__(
        self,
        server: Server,
        store_path: str | None,
        *,
        catalog: Catalog | None = None,
        called: str | None = None,
    ) -> None:
        self.server = server
        self.store = Store.at(store_path)
        self.store_path = store_path
        self._catalog = catalog
        self._called = called
        self._read: dict[str, list[LocalFile]] = {}

    def name_of(self, tag: str) -> str:
        """See Source.name_of: the server gets it under its final name at once."""
        return self.final(tag)

    def final(self, tag: str) -> str:
        """Return the name after what the file calls itself, else after the file.

        Raises InvalidInput: no GGUF that can be read.
        """
        path = Path(tag)
        found = in_file(path).candidate
        if self._called:
            return self._called
        stem = stem_of(path.name)
        with _read(tag):
            title = _text(_header(beside(path)[0]), "general.name") or stem.removesuffix(".gguf")
        kind = label(stem) or ("" if found.quantization == "unknown" else found.quantization)
        return plain_name(_without(title, kind), kind, self._catalog or Catalog.bundled())

    def origin(self, tag: str, progress: Progress) -> Origin:
        """See Deriving.origin: the files' bytes are read and hashed."""
        digests = "\n".join(sorted(part.digest for part in self._parts(tag, progress)))
        content = hashlib.sha256(digests.encode()).hexdigest()
        return Origin(f"file:{Path(tag).resolve()}", content)

    def intent(self, tag: str) -> Intent:
        """Return what a pull would do. Raises InvalidInput."""
        parts = beside(Path(tag))
        total = sum(path.stat().st_size for path in parts)
        needed = total if len(parts) == 1 else 2 * total
        return Intent(
            source=self.name,
            name=self.name_of(tag),
            host="this disk",
            files=len(parts),
            total_bytes=total,
            present_bytes=total,
            download_bytes=0,
            needed_bytes={self.store_path: needed} if self.store_path else {},
            notes=in_file(Path(tag)).notes,
        )

    def pull(self, tag: str, progress: Progress) -> Pulled:
        """Make the model exist on the server; see Source.pull. A file that it has is not sent."""
        with log.stage("pull", tag=tag, source=self.name), _read(tag):
            name = self.name_of(tag)
            version = ServerVersion.parse(self.server.version())
            parts = self._parts(tag, progress)
            to = Destination(server=self.server, store=self.store, version=version)
            made = given(to, name, parts, title=Path(tag).name, licence=None, progress=progress)
        return Pulled(cached=unseen(parts, made), fetched_bytes=made.uploaded_bytes)

    def _parts(self, tag: str, progress: Progress) -> list[LocalFile]:
        if tag not in self._read:
            with _read(tag):
                self._read[tag] = [_local(path, progress) for path in beside(Path(tag))]
        return self._read[tag]


def given(
    to: Destination,
    name: str,
    parts: Sequence[LocalFile],
    *,
    title: str,
    licence: str | None,
    progress: Progress,
) -> Imported:
    """Check the files of a GGUF, and make them a model with what its family needs in a chat.

    Raises InvalidInput: this server cannot load it; SourceCorrupt: damaged; what the import does.
    """
    check_gguf.check(parts, to.version)
    found = _header(parts[0].path)
    family = family_of(
        architecture=_text(found, "general.architecture"),
        chat_template=_text(found, "tokenizer.chat_template"),
        name=title,
    )
    made = import_gguf(to, name, parts, family=family, licence=licence, progress=progress)
    for note in made.notes:
        progress.say(note)
    return made


def unseen(parts: Sequence[LocalFile], made: Imported) -> tuple[str, ...]:
    """Return the digests of files that the server had before, so that nobody looked into them."""
    whole = made.uploaded_bytes >= sum(file.size_bytes for file in parts)
    return () if whole else tuple(file.digest for file in parts)


def _header(path: Path) -> Header:
    with path.open("rb") as stream:
        return header.read(stream)


def _text(found: Header, key: str) -> str:
    value = found.metadata.get(key)
    return value if isinstance(value, str) else ""


def _without(title: str, kind: str) -> str:
    """Return a title that does not end in the quantization: the tag says it."""
    ends = bool(kind) and title.lower().endswith(kind.lower())
    return title[: -len(kind)].rstrip("-._ ") or title if ends else title


def _local(path: Path, progress: Progress) -> LocalFile:
    """Return a file with the digest of its bytes, by which the server knows what it has."""
    size, done, whole = path.stat().st_size, 0, hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            whole.update(piece)
            done += len(piece)
            progress.advance(f"read {path.name}", done, size)
    digest = f"sha256:{whole.hexdigest()}"
    return LocalFile(name=path.name, path=path, size_bytes=done, digest=digest)


@contextmanager
def _read(tag: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise InvalidInput(
            f"{e.filename or tag}: {e.strerror or e}", hint="name a .gguf file that can be read"
        ) from e
