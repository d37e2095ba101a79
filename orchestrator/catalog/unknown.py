"""The answer to a name that does not exist: the fact, and the nearest names that do."""

import math
import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches

from orchestrator.errors import UnknownModel
from orchestrator.model import Candidate

_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s?([bm])(?![a-z0-9])")
# How people write families that the library spells otherwise.
_SPELLINGS = {
    "r1": "deepseek-r1", "deepseek": "deepseek-r1", "deepseekr1": "deepseek-r1",
    "deepseek-r1-distill-qwen": "deepseek-r1", "deepseek-r1-distill-llama": "deepseek-r1",
    "v3": "deepseek-v3", "deepseek-v2-lite": "deepseek-v2",
    "deepseek-coder-v2-lite": "deepseek-coder-v2", "qwen1.5": "qwen", "codeqwen1.5": "codeqwen",
    "qwen2.5-vl": "qwen2.5vl", "qwen-vl": "qwen2.5vl", "qwen2-vl": "qwen2.5vl",
    "qwen3vl": "qwen3-vl",
}  # fmt: skip
# What a family consists of, where a bare list of sizes would not set the record straight.
_FAMILIES = {
    "deepseek-r1": "R1 is 671B plus six distills (1.5b, 7b, 8b, 14b, 32b, 70b)",
    "deepseek-v3": "V3 comes in one size, 671B (37B active)",
    "qwen2.5": "Qwen2.5 comes in 0.5b, 1.5b, 3b, 7b, 14b, 32b and 72b",
}
# Who really has a size that people ascribe to another family: (brand, size in B).
_OWNERS = {
    ("deepseek", 6.7): ("DeepSeek-Coder", ("deepseek-coder:6.7b",)),
    ("deepseek", 16.0): (
        "DeepSeek-V2-Lite / Coder-V2-Lite",
        ("deepseek-v2:16b", "deepseek-coder-v2:16b"),
    ),
    ("deepseek", 33.0): ("DeepSeek-Coder", ("deepseek-coder:33b",)),
    ("deepseek", 67.0): ("DeepSeek-LLM (2023)", ("deepseek-llm:67b",)),
    ("deepseek", 236.0): ("DeepSeek-V2 and V2.5", ("deepseek-v2:236b", "deepseek-v2.5:236b")),
    ("qwen", 1.8): ("Qwen1.5", ("qwen:1.8b",)),
    ("qwen", 4.0): ("Qwen1.5 and Qwen3", ("qwen:4b", "qwen3:4b")),
    ("qwen", 110.0): ("Qwen1.5", ("qwen:110b",)),
}
_USUAL = ("deepseek-r1", "qwen3")  # where to look when nothing of that family is near in size
_SIMILAR = math.log(2)
_LONGEST = 100  # characters of a wrong name worth comparing or repeating


def unknown_model(name: str, candidates: Sequence[Candidate]) -> UnknownModel:
    """Return the error for a name that no candidate has: what is true, and what is near."""
    wanted = name.strip().lower()[:_LONGEST]
    family, size = _family(wanted, candidates), nominal_size(wanted)
    known = [c for c in candidates if c.family == family]
    fact, owners = _fact(family, size, known)
    nearest = _suggestions(wanted, size, known, owners, candidates)
    plain = name.isprintable() and name == name.strip() and len(name) <= _LONGEST
    shown = name if plain else repr(name[:_LONGEST])
    if not wanted:
        return UnknownModel(f"no model is named: {name!r} is empty", nearest=[])
    what = f"{shown} does not exist: {fact}" if fact else f"the catalogue has no {shown}"
    if not nearest:
        return UnknownModel(what, nearest=nearest)
    also = f" (also near: {', '.join(nearest[1:])})" if nearest[1:] else ""
    return UnknownModel(what, hint=f"try `deploy estimate {nearest[0]}`{also}", nearest=nearest)


def _suggestions(
    wanted: str,
    size: float | None,
    known: Sequence[Candidate],
    owners: tuple[str, ...],
    candidates: Sequence[Candidate],
) -> list[str]:
    """Return real tags, best first: of the family, of who has that size, of the usual families."""
    real = {tag for c in candidates for tag in c.tags}
    near = _nearest(wanted, size, known, max(3 - len(owners), 1)) if known else []
    near += [tag for tag in owners if tag in real]
    if size is not None and not any(_apart(nominal_size(tag), size) < _SIMILAR for tag in near):
        for usual in _USUAL:
            near += _nearest(wanted, size, [c for c in candidates if c.family == usual], 1)
    return list(dict.fromkeys(near))


def _apart(have: float | None, size: float) -> float:
    return abs(math.log((have or 1e-3) / max(size, 1e-3)))


def nominal_size(text: str) -> float | None:
    """Return the parameters, in billions, that a tag names: 14.0 for "deepseek-r1:14b-q8_0"."""
    found = _SIZE.search(text)
    return float(found[1]) / (1 if found[2] == "b" else 1000) if found else None


def _family(wanted: str, candidates: Iterable[Candidate]) -> str | None:
    families = sorted({c.family for c in candidates})
    name = _SIZE.sub("", wanted.rpartition("/")[2].partition(":")[0]).strip(" -_:")
    name = _SPELLINGS.get(name, name)
    if name in families:
        return name
    return next(iter(get_close_matches(name, families, 1, 0.6)), None)


def _fact(
    family: str | None, size: float | None, known: Sequence[Candidate]
) -> tuple[str, tuple[str, ...]]:
    """Return the sentence that corrects a wrong size, and the tags that have it; "" for none."""
    sizes = sorted({s for c in known if (s := nominal_size(c.model)) is not None})
    if family is None or size is None or not sizes or size in sizes:
        return "", ()
    listed = ", ".join(f"{s:g}b" for s in sizes)
    sentence = _FAMILIES.get(family, f"{family} comes in {listed}")
    brand = "qwen" if "qw" in family else "deepseek"
    product, tags = _OWNERS.get((brand, size), ("", ()))
    return (f"{sentence}; {size:g}B is {product} ({', '.join(tags)})" if tags else sentence), tags


def _nearest(
    wanted: str, size: float | None, candidates: Iterable[Candidate], most: int
) -> list[str]:
    """Return up to `most` tags: nearest size first, then the most alike, one a model.

    Where the size is right and the rest is not, files of the same model are what is wanted.
    """
    matcher = SequenceMatcher(b=wanted, autojunk=False)

    def order(c: Candidate) -> tuple[float, bool, bool, float, str]:
        apart = 0.0 if size is None else _apart(_size_of(c), size)
        matcher.set_seq1(c.tag)
        default = c.model in c.tags  # the file that people get who name the size alone
        return apart, c.format != "gguf", not default, -matcher.ratio(), c.tag

    found: dict[str, str] = {}
    for c in sorted(candidates, key=order):
        found.setdefault(c.tag if size == _size_of(c) else c.model, c.tag)
        if len(found) >= most:
            break
    return list(found.values())


def _size_of(c: Candidate) -> float:
    return nominal_size(c.model) or c.parameters_total / 1e9
