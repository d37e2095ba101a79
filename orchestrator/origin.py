"""What a MODEL argument means, and where its facts come from: catalogue, disk, registry or hub."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from orchestrator.catalog import Catalog
from orchestrator.catalog.requantized import requantized
from orchestrator.errors import DeployError, InvalidInput, UnknownModel
from orchestrator.model import ModelRef, registry_address
from orchestrator.progress import Progress
from orchestrator.source.described import Described
from orchestrator.source.gguf_file import in_file
from orchestrator.source.hub import PREFIX
from orchestrator.source.hub_model import in_hub
from orchestrator.source.registry_model import in_registry
from orchestrator.store import Store
from orchestrator.survey import look

_HUB_PAGE = re.compile(
    r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<repo>[^/?#]+/[^/?#]+)"
    r"(?:/(?:blob|resolve|tree)/[^/?#]+(?:/(?P<file>[^?#]+))?)?"
)
_ELSEWHERE = "or name a .gguf file, hf:ORG/REPO, or HOST/NAMESPACE/NAME:TAG of a registry"


def described(
    text: str, quantization: str | None, environ: Mapping[str, str], progress: Progress
) -> Described:
    """Return the model that a person named, at a quantization (None: that of its file).

    A tag of the catalogue needs no look at anything else; a model of the server's store is read
    there, before its registry is asked. Raises InvalidInput, UnknownModel, PullFailed and its
    kinds.
    """
    found = _found(text, quantization, environ, progress)
    if quantization is None or found.imported is not None:  # safetensors are laid out at it
        return found
    return replace(found, candidate=requantized(Catalog.bundled(), found.candidate, quantization))


def _found(
    text: str, quantization: str | None, environ: Mapping[str, str], progress: Progress
) -> Described:
    if text.startswith(PREFIX):
        with progress.waiting(f"reading the header of {text}"):
            return in_hub(text, quantization)
    if page := _HUB_PAGE.match(text):
        raise InvalidInput(
            f"{text} is a page of the hub", hint=f"deploy estimate {PREFIX}{_on_hub(page)}"
        )
    if text.endswith(".gguf") and (Path(text).exists() or not _elsewhere(text)):
        return in_file(Path(text))
    try:
        return Described(candidate=Catalog.bundled().find(text), kind="catalog", where=text)
    except UnknownModel as e:
        unknown = e
    if os.path.isfile(text):  # noqa: PTH113 - Path's raises for a name that is too long
        return in_file(Path(text))
    if installed := _installed(text, environ):
        return installed
    if _elsewhere(text):
        with progress.waiting(f"reading the header of {text}"):
            return _registered(text)
    raise UnknownModel(unknown.what, hint=f"{unknown.hint}; {_ELSEWHERE}", **unknown.details)


def _on_hub(page: re.Match[str]) -> str:
    """Return what `hf:` takes of a page's address: the repository, and its file where one is."""
    file = page["file"]
    return page["repo"] + (f"/{file}" if file and file.endswith(".gguf") else "")


def _elsewhere(text: str) -> bool:
    """Say whether a name carries the host of a registry."""
    _, _, name = text.rpartition("://")
    return name.count("/") == 2 and not name.startswith((".", "/"))


def _registered(text: str) -> Described:
    scheme, mark, name = text.rpartition("://")
    try:
        ref = ModelRef.parse(name)
        _, insecure = registry_address(f"{scheme or 'https'}://{ref.host}")
    except ValueError as e:
        raise InvalidInput(str(e), hint="write HOST[:PORT]/NAMESPACE/NAME:TAG") from e
    return in_registry(ref, insecure=bool(mark) and insecure)


def _installed(text: str, environ: Mapping[str, str]) -> Described | None:
    """Return a model of the server's store by the header of its blob; None: not there to read."""
    with suppress(DeployError):  # an unusable OLLAMA_HOST says nothing about the name
        seen = look(environ)
        store = Store.at(seen.machine.disk.model_store)
        manifest = store.manifest(text) if store else None
        blobs = [layer for layer in manifest.layers if layer.kind == "model"] if manifest else []
        if store and len(blobs) == 1 and os.access(store.blob(blobs[0].digest), os.R_OK):
            found = in_file(store.blob(blobs[0].digest), text, "store")
            return replace(found, candidate=replace(found.candidate, digest=blobs[0].digest))
    return None
