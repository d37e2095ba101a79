"""The first member of a bundle, deploy-bundle.json: all that is in the file, in its order.

`members` lists what follows, each with size and sha256, so every header of the archive is known
before it is read, and one that says something else is refused.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Self

from orchestrator.bundle.fields import Field
from orchestrator.errors import InvalidInput
from orchestrator.store import Layer
from orchestrator.store.name import Name

NAME, SUMS = "deploy-bundle.json", "SHA256SUMS"
SCHEMA = 1
LARGEST_TEXT_BYTES = 16 * 2**20
"""A manifest, a licence text, the checksums, the index itself: all are read into memory."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,63}")
# No part may begin with a dot: neither "..", nor a name that hides.
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.:+-]*)*")
_FOLDERS = frozenset({"manifests", "licences", "blobs", "runtime"})
_LONGEST_PATH = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file of the archive; `executable` only of a runtime."""

    path: str
    size_bytes: int
    sha256: str
    executable: bool = False

    @property
    def folder(self) -> str:
        """The first part of its path: manifests, licences, blobs, runtime."""
        return self.path.partition("/")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledModel:
    """One model: its name as /api/tags shows it, its manifest's member, its layers.

    `catalogue` is what the catalogue of the box that wrote it says of the tag; None: nothing.
    """

    name: str
    manifest: str
    digest: str
    layers: tuple[Layer, ...]
    licences: tuple[str, ...]
    catalogue: dict[str, Any] | None

    @property
    def size_bytes(self) -> int:
        """The bytes of its layers."""
        return sum({layer.digest: layer.size_bytes for layer in self.layers}.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledRuntime:
    """The Ollama program; `links` are names beside a library that mean it, by their paths."""

    kind: str
    version: str
    platform: str
    links: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """What a bundle holds."""

    created_at: str
    deploy_version: str
    models: tuple[BundledModel, ...]
    runtime: BundledRuntime | None
    members: tuple[Member, ...]

    @property
    def total_bytes(self) -> int:
        """The bytes of all members but the index and the checksums."""
        return sum(member.size_bytes for member in self.members)

    def of(self, folder: str) -> tuple[Member, ...]:
        """Return the members below one of the folders."""
        return tuple(member for member in self.members if member.folder == folder)

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "schema": SCHEMA,
            "created_at": self.created_at,
            "deploy_version": self.deploy_version,
            "models": [
                {**asdict(model), "layers": [layer.to_json() for layer in model.layers],
                 "licences": list(model.licences)}
                for model in self.models
            ],
            "runtime": None if self.runtime is None else asdict(self.runtime),
            "total_bytes": self.total_bytes,
            "members": [asdict(member) for member in self.members],
        }  # fmt: skip

    @classmethod
    def from_json(cls, document: object, source: str) -> Self:
        """Read the document of the bundle `source`.

        Raises InvalidInput with the JSON path: of a newer deploy, not in the form of one, a path
        that leads elsewhere or is there twice, a model without one of its files.
        """
        top = Field(source, "$", document)
        _check_schema(top["schema"])
        runtime = top["runtime"]
        index = cls(
            created_at=top["created_at"].text(),
            deploy_version=top["deploy_version"].text(),
            models=tuple(map(_model, top["models"])),
            runtime=_runtime(runtime) if runtime.present else None,
            members=tuple(map(_member, top["members"])),
        )
        _consistent(index, top)
        return index


def _check_schema(schema: Field) -> None:
    if schema.whole() > SCHEMA:
        raise InvalidInput(
            f"{schema.source}: made by a newer deploy: its schema is {schema.value}, and this one "
            f"reads up to {SCHEMA}",
            hint="update deploy here, or make the bundle with this version",
            path=schema.path,
        )
    if schema.value != SCHEMA:
        raise schema.wrong(f"is {schema.value} instead of {SCHEMA}")


def _member(field: Field) -> Member:
    path = field["path"].text(_PATH)
    if len(path) > _LONGEST_PATH or path.partition("/")[0] not in _FOLDERS or "/" not in path:
        raise field["path"].wrong(f"is {path[:200]!r}, which no bundle has")
    return Member(
        path=path,
        size_bytes=field["size_bytes"].whole(),
        sha256=field["sha256"].text(_HEX),
        executable=field["executable"].flag(),
    )


def _model(field: Field) -> BundledModel:
    name = field["name"].text()
    try:
        meant = Name.parse(name)
    except LookupError as e:
        raise field["name"].wrong(f"is {name[:200]!r}, which is no name of a model") from e
    if field["manifest"].text() != manifest_path(meant):
        raise field["manifest"].wrong(f"is not where the manifest of {name} belongs")
    catalogue = field["catalogue"]
    if catalogue.present and not isinstance(catalogue.value, dict):
        raise catalogue.wrong("is no object")
    return BundledModel(
        name=meant.short,
        manifest=manifest_path(meant),
        digest=field["digest"].text(_HEX),
        layers=tuple(map(_layer, field["layers"])),
        licences=tuple(each.text() for each in field["licences"]),
        catalogue=catalogue.value,
    )


def _layer(field: Field) -> Layer:
    return Layer(
        digest=field["digest"].text(_DIGEST),
        media_type=field["media_type"].text(),
        size_bytes=field["size_bytes"].whole(),
    )


def _runtime(field: Field) -> BundledRuntime:
    kind = field["kind"].text(re.compile("embedded|release"))
    links = field["links"]
    if not isinstance(links.value, dict):
        raise links.wrong("is no object")
    return BundledRuntime(
        kind=kind,
        version=field["version"].text(_VERSION),
        platform=field["platform"].text(),
        links={path: links[path].text(_PATH) for path in links.value},
    )


def manifest_path(name: Name) -> str:
    """Return where the manifest of that name lies in a bundle, as in a store."""
    return f"manifests/{name.host}/{name.namespace}/{name.model}/{name.tag}"


def blob_path(digest: str) -> str:
    """Return where the blob "sha256:…" lies in a bundle."""
    return f"blobs/{digest.replace(':', '-')}"


def _consistent(index: Index, top: Field) -> None:
    """Refuse an index that contradicts itself."""
    members = _by_path(index, top["members"])
    _check_total(index, top["total_bytes"])
    wanted: set[str] = set()
    for place, model in enumerate(top["models"]):
        wanted |= _check_model(index.models[place], model, members)
    if not index.models or len({m.manifest.lower() for m in index.models}) < len(index.models):
        raise top["models"].wrong("is empty, or has a name twice")
    for place, member in enumerate(top["members"]):
        _check_member(index.members[place], member["path"], wanted, index)
    if index.runtime:
        _check_links(index.runtime, top["runtime"]["links"], members)


def _by_path(index: Index, field: Field) -> dict[str, Member]:
    found = {member.path: member for member in index.members}
    if len({path.lower() for path in found}) < len(index.members):
        # Where case does not count, the second would replace the first.
        raise field.wrong("has a path twice, or two that differ only in case")
    return found


def _check_total(index: Index, field: Field) -> None:
    if field.whole() != index.total_bytes:
        raise field.wrong(f"is {field.value}, but its members have {index.total_bytes} bytes")


def _check_model(model: BundledModel, field: Field, members: dict[str, Member]) -> set[str]:
    """Return the members that a model needs, each there with the size and the digest it states."""
    manifest = members.get(model.manifest)
    if manifest is None or manifest.size_bytes > LARGEST_TEXT_BYTES:
        raise field["manifest"].wrong("is no member, or larger than any manifest")
    for place, layer in enumerate(field["layers"]):
        stated = model.layers[place]
        blob = members.get(blob_path(stated.digest))
        if blob is None or blob.size_bytes != stated.size_bytes:
            raise layer.wrong("is no member of that size")
        if blob.sha256 != stated.digest.partition(":")[2]:
            raise layer["digest"].wrong("is not the sha256 of its member")
    if not any(layer.kind == "model" for layer in model.layers):
        raise field["layers"].wrong("names no weights")
    return {model.manifest, *(blob_path(layer.digest) for layer in model.layers)}


def _check_member(member: Member, path: Field, wanted: set[str], index: Index) -> None:
    if member.folder in {"manifests", "blobs"} and member.path not in wanted:
        raise path.wrong(f"is {member.path!r}, which no model of the bundle needs")
    if member.folder == "licences" and member.size_bytes > LARGEST_TEXT_BYTES:
        raise path.wrong("is larger than any licence text")
    if member.folder == "runtime" and index.runtime is None:
        raise path.wrong("is of a runtime, and the bundle states none")


def _check_links(runtime: BundledRuntime, field: Field, members: dict[str, Member]) -> None:
    taken = {path.lower() for path in members}
    for path, target in runtime.links.items():
        # Folders in its way would be those of a file, which the installation makes.
        beside = str(PurePosixPath("runtime", path).parent / target)
        free = _PATH.fullmatch(path) and f"runtime/{path}".lower() not in taken
        if not free or "/" in target or beside not in members:
            raise field[path].wrong("is no link to a file beside it")
