"""The small files beside the weights: read whole, within bounds, as the JSON that they claim."""

import json
from typing import Any

from orchestrator.errors import SourceCorrupt
from orchestrator.importing import LocalFile

_LONGEST_BYTES = 256 * 1024**2  # the largest tokenizer.json of today has 35 MB
AGAIN = "fetch the file again, or name another repository"


def size_of(file: LocalFile) -> int:
    """Return the bytes on disk, which are those that the file was announced with.

    Raises SourceCorrupt: they are not, or there is no such file.
    """
    try:
        size = file.path.stat().st_size
    except OSError as e:
        raise SourceCorrupt(f"cannot read {file.path}: {e.strerror or e}", hint=AGAIN) from e
    if size != file.size_bytes:
        raise SourceCorrupt(f"{file.name} has {size} of {file.size_bytes} bytes", hint=AGAIN)
    return size


def content(file: LocalFile) -> bytes:
    """Return the bytes of a small file. Raises SourceCorrupt: it is not small, or not there."""
    if size_of(file) > _LONGEST_BYTES:
        raise SourceCorrupt(f"{file.name} has {file.size_bytes} bytes: no such file", hint=AGAIN)
    try:
        return file.path.read_bytes()
    except OSError as e:
        raise SourceCorrupt(f"cannot read {file.path}: {e.strerror or e}", hint=AGAIN) from e


def document(file: LocalFile) -> dict[str, Any]:
    """Return the object in a JSON file. Raises SourceCorrupt: it is none."""
    try:
        found = json.loads(content(file))
    except (ValueError, RecursionError) as e:
        raise SourceCorrupt(f"{file.name} is no JSON: {e}", hint=AGAIN) from e
    if not isinstance(found, dict):
        raise SourceCorrupt(f"{file.name} is JSON and no object", hint=AGAIN)
    return found
