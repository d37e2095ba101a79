"""GGUF files to a model of an Ollama server."""

import json
from collections.abc import Sequence
from pathlib import PurePosixPath

from orchestrator.families import Family
from orchestrator.importing import Destination, Imported, LocalFile, residue, room
from orchestrator.importing.check_gguf import check
from orchestrator.importing.dress import dress, note
from orchestrator.importing.needs import import_peak_bytes
from orchestrator.importing.place import put
from orchestrator.importing.smoke import prove
from orchestrator.importing.upload import missing, upload
from orchestrator.progress import Progress
from orchestrator.server import imports


def import_gguf(
    to: Destination,
    name: str,
    parts: Sequence[LocalFile],
    *,
    family: Family | None,
    licence: str | None,
    progress: Progress,
) -> Imported:
    """Make `name` of one GGUF, or of all parts of one; checked first, proved by an answer.

    Parts keep their names, by which a server that merges them knows their order.
    Raises InvalidInput, SourceCorrupt, DiskFull, ServerRefused, ServerUnreachable.
    """
    check(parts, to.version)
    clothes = dress(family, licence)
    sources = {PurePosixPath(part.name).name: part.digest for part in parts}
    content = [f"{file} {digest}" for file, digest in sorted(sources.items())]
    made = residue.name_of(*content, json.dumps(clothes, sort_keys=True))
    moved_bytes, guessed = 0, None
    with residue.taken_away(to, (made,), parts, progress):
        if to.server.find(made) is None:
            absent = missing(to, parts)
            with room.needed(to, name, _needed_bytes(parts, absent)):
                moved_bytes = upload(to, absent, f"upload {name}", progress)
                fields = {"files": sources, **clothes}
                guessed = imports.create(to.server, made, progress, label=name, **fields)
        notes = prove(to, made, name, progress)
        put(to, made, name)
    return Imported(name=name, uploaded_bytes=moved_bytes, notes=(*note(family, guessed), *notes))


def _needed_bytes(parts: Sequence[LocalFile], absent: Sequence[LocalFile]) -> int:
    """Return what is to be written: the one file as it is, several once more as one, and copied."""
    absent_bytes = sum(part.size_bytes for part in absent)
    if len(parts) == 1:
        return absent_bytes
    whole_bytes = sum(part.size_bytes for part in parts)
    return import_peak_bytes(whole_bytes, whole_bytes, None) - (whole_bytes - absent_bytes)
