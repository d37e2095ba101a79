"""A model of the hub by its headers: GGUF as it is, safetensors as Ollama's import makes it."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO

from orchestrator.errors import InvalidInput, ModelUnavailable, SourceCorrupt
from orchestrator.gguf.split import parts_of, stem_of
from orchestrator.source.described import Described, Part, whole
from orchestrator.source.hub import PREFIX, Repository, Wish, repository
from orchestrator.source.remote import PATIENT, Patience
from orchestrator.source.safetensors import imported

_USUAL = "Q4_K_M"
_NO_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)
_LABEL = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d\w*|TQ\d_\d|MXFP4\w*|BF16|FP?16|FP?32))\.gguf", re.IGNORECASE
)
_SHOWN = 12


def in_hub(text: str, quantization: str | None, *, patience: Patience = PATIENT) -> Described:
    """Return the model that a name with `hf:` means; `quantization` is for safetensors alone.

    At most 16 MiB of its files are fetched. Raises PullFailed and its kinds; InvalidInput: the
    name, or what the files say, makes no sense.
    """
    wish = Wish.parse(text)
    with repository(wish.repo, patience, revision=wish.revision) as found:
        if is_gguf(found, wish):
            return _gguf(found, wish)
        return imported(found, wish.quantization or quantization)


def is_gguf(found: Repository, wish: Wish) -> bool:
    """Say whether a GGUF is meant: of a repository that has some, safetensors are not looked at."""
    return wish.file is not None or bool(ggufs(found.sizes))


def ggufs(sizes: Mapping[str, int]) -> dict[str, str]:
    """Return the models of a repository, by the name without a number: their first files."""
    names = (n for n in sizes if n.lower().endswith(".gguf") and not _NO_MODEL.search(n))
    found: dict[str, str] = {}
    for name in sorted(names):
        found.setdefault(stem_of(name), name)
    return found


def label(stem: str) -> str:
    """Return the quantization that a file's name ends in, "" for none."""
    found = _LABEL.search(stem)
    return found[1].upper() if found else ""


def chosen(found: Repository, wish: Wish) -> tuple[str, ...]:
    """Return the files of the GGUF model that is meant, its parts in their order.

    Raises ModelUnavailable, InvalidInput: none or several are meant. SourceCorrupt: one is missing.
    """
    first = _chosen(found, wish, ggufs(found.sizes))
    names = parts_of(first)
    if missing := [name for name in names if name not in found.sizes]:
        raise SourceCorrupt(
            f"{found.name} lists {len(names) - len(missing)} of the {len(names)} parts of "
            f"{stem_of(first)}; {missing[0]} is missing",
            hint="name another file of it, or another repository",
        )
    return names


def _gguf(found: Repository, wish: Wish) -> Described:
    names = chosen(found, wish)
    first = names[0]
    parts = [_part(found, name) for name in names]
    candidate, notes = whole(f"{PREFIX}{found.name}/{stem_of(first)}", parts)
    return Described(
        candidate=candidate,
        kind="hub",
        where=found.where,
        transferred_bytes=found.remote.transferred_bytes,
        notes=notes,
    )


def _part(found: Repository, name: str) -> Part:
    def opened(first_bytes: int) -> AbstractContextManager[BinaryIO]:
        return found.remote.file(
            found.path(name), f"{found.name}/{name}", found.sizes[name], first_bytes=first_bytes
        )

    return Part(name=name, size_bytes=found.sizes[name], opened=opened)


def _chosen(found: Repository, wish: Wish, files: Mapping[str, str]) -> str:
    """Return the first file of the model that is meant."""
    if wish.file is not None:
        if wish.file in found.sizes and wish.file.lower().endswith(".gguf"):
            return wish.file
        raise ModelUnavailable(
            f"{found.name} has no {wish.file[:200]!r} that is GGUF", hint=_choice(files)
        )
    wanted = (wish.quantization or _USUAL).upper()
    exact = [stem for stem in files if label(stem) == wanted]
    if len(exact) == 1 or (len(files) == 1 and wish.quantization is None):
        return files[exact[0]] if exact else next(iter(files.values()))
    if exact:
        raise InvalidInput(
            f"{found.name} has {len(exact)} models at {wanted}",
            hint=f"name one of the files: {', '.join(f'hf:{found.name}/{s}' for s in exact[:4])}",
        )
    if wish.quantization is None:
        raise InvalidInput(
            f"{found.name} has {len(files)} models and none at {wanted}", hint=_choice(files)
        )
    raise ModelUnavailable(f"{found.name} has nothing at {wanted}", hint=_choice(files))


def _choice(files: Mapping[str, str]) -> str:
    names = sorted({label(stem) or stem for stem in files})
    if not names:
        return "it has no GGUF at all: name the repository alone"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it has {', '.join(names[:_SHOWN])}{more}"
