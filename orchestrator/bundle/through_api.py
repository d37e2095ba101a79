"""Import by the server's API, for a store that is not ours to write: blobs, then a create.

The layers are the same to the byte as far as the server keeps what it is given: weights, template,
system, licences. It writes the parameters and the config anew, so the manifest, and with it the
digest that the server lists, is another than in the bundle.
"""

import json
from collections.abc import Iterator
from typing import Any

from orchestrator.bundle import room
from orchestrator.bundle.archive import Archive
from orchestrator.bundle.index import BundledModel
from orchestrator.bundle.into_store import other
from orchestrator.bundle.outcome import Loaded
from orchestrator.bundle.place import Place
from orchestrator.errors import InvalidInput, PullFailed, ServerRefused
from orchestrator.progress import Progress
from orchestrator.server import Server, wire
from orchestrator.server.imports import create
from orchestrator.store import Layer

_FILES = {"model": "model", "projector": "projector", "adapter": "adapter"}
_TEXTS = {"template": "template", "system": "system", "prompt": "template"}
_SHOW_S = 30.0


def load(
    archive: Archive,
    models: tuple[BundledModel, ...],
    place: Place,
    progress: Progress,
    *,
    force: bool,
) -> list[Loaded]:
    """Give the models to the server.

    A name that has these weights, template and system already is left as it is. Raises
    InvalidInput: a name stands for another model and not `force`, or a model has a layer that the
    API does not take; SourceCorrupt, DiskFull, PullFailed, ServerRefused, ServerUnreachable.
    """
    server = place.server
    wanted = [(model, _fields(archive, model)) for model in models]
    present = {model.name: _present(server, model, fields) for model, fields in wanted}
    for model in models:
        if present[model.name] is False and not force:
            found = server.find(model.name)
            raise other(model, found.digest if found else "unknown")
    if place.folder:
        room.check(place.folder, _missing_bytes(server, models))
    return [
        _one(archive, model, fields, server, progress, present=present[model.name] is True)
        for model, fields in wanted
    ]


def _one(
    archive: Archive,
    model: BundledModel,
    fields: dict[str, Any],
    server: Server,
    progress: Progress,
    *,
    present: bool,
) -> Loaded:
    moved, notes = 0, list[str]()
    if not present:
        for layer in _weights(model):
            # A damaged one is not sent to its end, so the server keeps nothing of it.
            sent = _sent(archive, layer, progress)
            moved += server.give(layer.digest, layer.digest, layer.size_bytes, sent)
        if guessed := create(server, model.name, progress, label=model.name, **fields):
            notes.append(f"it has no template of its own, and the server took {guessed}")
    found = server.find(model.name)
    if found is None or _present(server, model, fields) is not True:
        raise PullFailed(
            f"{model.name} was given to the server, which does not have it so",
            hint=ServerRefused.remedy,
        )
    if found.digest != model.digest:
        notes.append(f"the server wrote its manifest; in the bundle it is {model.digest[:12]}")
    return Loaded(
        name=model.name,
        digest=found.digest,
        written_bytes=moved,
        checked_bytes=0,
        notes=tuple(notes),
    )


def _fields(archive: Archive, model: BundledModel) -> dict[str, Any]:
    """Return what a create is told of a model, from its layers. Raises InvalidInput."""
    _ = archive.manifest(model)
    fields: dict[str, Any] = {"files": {}, "license": []}
    for layer in model.layers:
        if layer.kind in _FILES:
            files = fields.setdefault("adapters" if layer.kind == "adapter" else "files", {})
            files[f"{layer.kind}{len(files) or ''}.gguf"] = layer.digest
        elif layer.kind != "config":
            _add(fields, layer, archive.text(archive.blob(layer)), model)
    return {key: value for key, value in fields.items() if value}


def _add(fields: dict[str, Any], layer: Layer, raw: bytes, model: BundledModel) -> None:
    try:
        text = raw.decode()
        match layer.kind:
            case "license":
                fields["license"].append(text)
            case "params":
                fields["parameters"] = dict(json.loads(text))
            case "messages":
                fields["messages"] = list(json.loads(text))
            case kind if kind in _TEXTS:
                fields[_TEXTS[kind]] = text
            case kind:
                raise InvalidInput(
                    f"{model.name} has a layer {kind!r}, which the server's API does not take",
                    hint="load it as root or as the server's user: then its files are written",
                )
    except (ValueError, TypeError) as e:
        raise InvalidInput(f"{model.name}: its layer {layer.kind} is damaged ({e})") from e


def _present(server: Server, model: BundledModel, fields: dict[str, Any]) -> bool | None:
    """Say whether the name stands for this model; None: it is absent, or cannot be shown."""
    if server.find(model.name) is None:
        return None
    try:
        shown: Any = wire.request(
            server.host, "POST", "/api/show", {"model": model.name}, timeout_s=_SHOW_S
        )
    except ServerRefused:  # a blob of it is missing, or not the server's to read
        return None
    if not shown:
        return None
    made_of = shown.get("modelfile") or ""
    weights = all(layer.digest.replace(":", "-") in made_of for layer in _weights(model))
    texts = [key for key in ("template", "system") if key in fields]
    return weights and all((shown.get(key) or "") == fields[key] for key in texts)


def _missing_bytes(server: Server, models: tuple[BundledModel, ...]) -> int:
    once = {layer.digest: layer for model in models for layer in _weights(model)}
    return sum(layer.size_bytes for layer in once.values() if not server.holds(layer.digest))


def _weights(model: BundledModel) -> tuple[Layer, ...]:
    once = {layer.digest: layer for layer in model.layers if layer.kind in _FILES}
    return tuple(once.values())


def _sent(archive: Archive, layer: Layer, progress: Progress) -> Iterator[bytes]:
    done = 0
    for chunk in archive.chunks(archive.blob(layer)):
        done += len(chunk)
        yield chunk
        progress.advance(f"upload {layer.digest[7:19]}", done, layer.size_bytes)
