"""What a pull from the hub takes and makes: decided from the metadata, before any weight moves."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from orchestrator.catalog import Catalog
from orchestrator.era import Era, ServerVersion
from orchestrator.errors import InvalidInput, SourceCorrupt
from orchestrator.gguf.hub_config import IMPORTED_QUANTIZATIONS, imported_by, imports
from orchestrator.gguf.layout import laid_out
from orchestrator.gguf.split import parts_of, stem_of
from orchestrator.importing.needs import import_peak_bytes
from orchestrator.model import BITS_PER_WEIGHT
from orchestrator.pull.hub_name import plain_name
from orchestrator.source.hub import PREFIX, Repository, Wish
from orchestrator.source.hub_model import chosen, ggufs, is_gguf, label
from orchestrator.source.safetensors import Importable, importable

_LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md")
_LONGEST_LICENCE_BYTES = 1024**2
_SHOWN = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """One file to fetch: `digest` is "sha256:…" or "git:…", None where the hub says none."""

    name: str
    url: str
    size_bytes: int
    digest: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HubPlan:
    """A repository at one commit as a model of the server.

    `files` are what the import is given; `parts` says that they are those of one GGUF. `licence`
    is fetched beside them. `store_bytes` is what the server's store must have free for the import.
    `headers` go to the hub's own host alone.
    """

    repo: str
    commit: str
    host: str
    name: str
    files: tuple[HubFile, ...]
    parts: bool
    licence: HubFile | None
    quantization: str
    architecture: str
    store_bytes: int
    headers: Mapping[str, str] = field(repr=False)
    login: str
    notes: tuple[str, ...] = ()

    @property
    def wanted(self) -> tuple[HubFile, ...]:
        """Everything that is fetched, the smallest first: what is wrong shows early."""
        every = (*self.files, *((self.licence,) if self.licence else ()))
        return tuple(sorted(every, key=lambda file: file.size_bytes))

    @property
    def total_bytes(self) -> int:
        """What all of that has."""
        return sum(file.size_bytes for file in self.wanted)


def planned(
    found: Repository,
    wish: Wish,
    quantization: str | None,
    version: ServerVersion,
    catalog: Catalog,
    *,
    name: str | None = None,
) -> HubPlan:
    """Return what a pull would do; `name` None: after the repository.

    `quantization` is for safetensors whose name has none. Raises InvalidInput: this server cannot
    import it. ModelUnavailable, SourceCorrupt, SourceUnreachable, SourceBusy.
    """
    if is_gguf(found, wish):
        if wish.file is None:
            wish = replace(wish, quantization=wish.quantization or quantization)
        return _of_gguf(found, wish, version, catalog, name)
    made = importable(found, wish.quantization or quantization)
    _check_import(found, made, version, catalog)
    by, kind = imported_by(made.class_name), made.candidate.quantization
    unsure = imports(made.class_name, version) is None
    notes = (f"whether Ollama {version} imports {made.class_name} is not known: {by} does",)
    return _plan(
        found,
        made.files,
        name=name or plain_name(wish.repo.rpartition("/")[2], kind, catalog),
        parts=False,
        quantization=kind,
        architecture=made.candidate.architecture.name,
        store_bytes=_import_bytes(found, made),
        notes=(made.notes[0], *(notes if unsure else ())),
    )


def _import_bytes(found: Repository, made: Importable) -> int:
    """Return what the server's store must take; no header is longer than the tokenizer's files."""
    shape, kind = made.candidate.architecture, made.candidate.quantization
    beside = sum(found.sizes[file] for file in made.files if not file.endswith(".safetensors"))
    f16, wished = (laid_out(shape, each).total_bytes + beside for each in ("F16", kind))
    return import_peak_bytes(made.candidate.file_bytes, f16, None if kind == "F16" else wished)


def _check_import(
    found: Repository, made: Importable, version: ServerVersion, catalog: Catalog
) -> None:
    """Raise InvalidInput with the way out where this server's import would fail."""
    if made.candidate.quantization not in IMPORTED_QUANTIZATIONS and made.obstacle:
        raise InvalidInput(
            f"{found.name}: {made.obstacle}",
            hint=f"name one of them: {PREFIX}{found.name}:{IMPORTED_QUANTIZATIONS[0]}",
        )
    if made.obstacle:
        raise InvalidInput(f"{found.name}: {made.obstacle}", hint=other_way(found.name, catalog))
    if imports(made.class_name, version) is False:
        raise InvalidInput(
            f"Ollama {version} does not import {made.class_name}, which {found.name} is",
            hint=other_way(found.name, catalog),
        )


def other_way(repo: str, catalog: Catalog) -> str:
    """Return the hint that names a GGUF of the same model, if the catalogue knows one."""
    for candidate in catalog.candidates:
        facts = catalog.facts(candidate)
        if repo.lower() in (each.lower() for each in facts.hf_repos) and facts.gguf_repos:
            return f"take its GGUF: deploy pull {PREFIX}{facts.gguf_repos[0]}:Q4_K_M"
    return (
        "name a GGUF repository of it, or make a GGUF with llama.cpp's convert_hf_to_gguf.py and"
        " pull that file"
    )


def _of_gguf(
    found: Repository, wish: Wish, version: ServerVersion, catalog: Catalog, name: str | None
) -> HubPlan:
    names = chosen(found, wish)
    if len(names) > 1 and version.era is not Era.LLAMA_SERVER:
        raise InvalidInput(
            f"{stem_of(names[0])} of {found.name} lies in {len(names)} files, which Ollama "
            f"{version} cannot merge: 0.30 and later can",
            hint=_unsplit(found),
        )
    size = sum(found.sizes[each] for each in names)
    kind = label(stem_of(names[0]))
    return _plan(
        found,
        names,
        name=name or plain_name(_title(wish, names[0]), kind, catalog),
        parts=True,
        quantization=kind,
        architecture="",
        store_bytes=size if len(names) == 1 else 2 * size,  # the parts, and what they are merged to
    )


def _title(wish: Wish, first: str) -> str:
    """Return what the model is named after: a file that was named, else the repository."""
    if wish.file is None:
        return wish.repo.rpartition("/")[2]
    stem = stem_of(first).rpartition("/")[2][: -len(".gguf")]
    kind = label(stem_of(first))
    return stem[: -len(kind)].rstrip("-._") or stem if kind else stem


def _unsplit(found: Repository) -> str:
    """Return the hint for parts that the server cannot merge: the best model in one file."""
    whole = [stem for stem, first in ggufs(found.sizes).items() if len(parts_of(first)) == 1]
    ranked = list(BITS_PER_WEIGHT)
    known = sorted(
        (stem for stem in whole if label(stem) in ranked), key=lambda s: ranked.index(label(s))
    )
    if known:
        names = ", ".join(f"{PREFIX}{found.name}:{label(stem)}" for stem in known[:_SHOWN])
        return f"of the same repository in one file each: {names}"
    return (
        "download the parts, merge them with `llama-gguf-split --merge FIRST-PART WHOLE.gguf`, then"
        " deploy pull WHOLE.gguf"
    )


def _plan(
    found: Repository,
    names: tuple[str, ...],
    *,
    name: str,
    parts: bool,
    quantization: str,
    architecture: str,
    store_bytes: int,
    notes: tuple[str, ...] = (),
) -> HubPlan:
    licence = next((each for each in _LICENCES if each in found.sizes), None)
    if licence and found.sizes[licence] > _LONGEST_LICENCE_BYTES:
        licence = None
    return HubPlan(
        repo=found.name,
        commit=found.commit,
        host=found.remote.name,
        name=name,
        files=tuple(_files(found, names)),
        parts=parts,
        licence=next(_files(found, (licence,)), None) if licence else None,
        quantization=quantization,
        architecture=architecture,
        store_bytes=store_bytes,
        headers=found.headers,
        login=found.login,
        notes=notes,
    )


def _files(found: Repository, names: tuple[str, ...]) -> Iterator[HubFile]:
    for name in names:
        place = PurePosixPath(name)
        # A listing is only a claim of whoever answers: none of it may lead out of our folder.
        if place.is_absolute() or ".." in place.parts or "\\" in name or not name.isprintable():
            raise SourceCorrupt(f"{found.name} lists a file {name[:80]!r}, which is no place here")
        yield HubFile(
            name=name,
            url=found.url(name),
            size_bytes=found.sizes[name],
            digest=found.digests.get(name),
        )
