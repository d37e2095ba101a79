"""A model of a registry: its manifest, and the first megabytes of its blob."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import BinaryIO

from orchestrator.errors import InvalidInput
from orchestrator.model import ModelRef
from orchestrator.source.described import Described, Part, whole
from orchestrator.source.manifest import Blob, Files, blob_path, connect, read_manifest
from orchestrator.source.remote import PATIENT, Patience
from orchestrator.units import gb


def in_registry(name: ModelRef, *, insecure: bool, patience: Patience = PATIENT) -> Described:
    """Return a model as its registry has it. At most 16 MiB are fetched.

    Raises PullFailed and its kinds; InvalidInput: it is no GGUF model, or a broken one.
    """
    with connect(name.host, insecure=insecure, patience=patience) as registry:
        files = read_manifest(registry, name)
        blob = _only(name, files)

        def opened(first_bytes: int) -> AbstractContextManager[BinaryIO]:
            where = blob_path(name, blob)
            return registry.file(where, str(name), blob.size_bytes, first_bytes=first_bytes)

        part = Part(name=str(name), size_bytes=blob.size_bytes, opened=opened)
        candidate, notes = whole(str(name), [part])
        return Described(
            candidate=replace(candidate, digest=blob.digest),
            kind="registry",
            where=f"{registry.base}{blob_path(name, blob)}",
            transferred_bytes=registry.transferred_bytes,
            notes=(*notes, *_projector(files)),
        )


def _only(name: ModelRef, files: Files) -> Blob:
    if len(files.model) == 1:
        return files.model[0]
    what = f"{len(files.model)} GGUF files, which no server loads" if files.model else "no GGUF"
    if files.tensors:
        what = f"{len(files.tensors)} tensor files (MLX) and no GGUF"
    raise InvalidInput(f"{name} has {what}: its memory is not known", hint="name another tag")


def _projector(files: Files) -> tuple[str, ...]:
    size = sum(each.size_bytes for each in files.projectors)
    return (f"the projector for pictures, {gb(size)}, is not counted",) if size else ()
