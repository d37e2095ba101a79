"""The changes that `--what-if` takes: KEY=VALUE words, and the case they make of another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import isfinite
from typing import Any

from orchestrator.catalog import Catalog
from orchestrator.catalog.requantized import requantized
from orchestrator.era import ServerVersion
from orchestrator.errors import InvalidInput
from orchestrator.explain.case import Case
from orchestrator.memory import KV_BYTES, KvType
from orchestrator.model import BITS_PER_WEIGHT

_MOST_TOKENS, _MOST_SLOTS = 2**31 - 1, 256
_SWITCH = {"on": True, "off": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What is asked to be different; None: as it is."""

    context: int | None = None
    parallel: int | None = None
    kv: KvType | None = None
    flash: bool | None = None
    quantize: str | None = None
    min_tps: float | None = None
    server_version: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the changes that were asked for, by their keys."""
        values = {key: getattr(self, key.replace("-", "_")) for key in KEYS}
        return {key: value for key, value in values.items() if value is not None}


def parse(words: Sequence[str]) -> Changes:
    """Read `context=32768 parallel=4 kv=q8_0`.

    Raises InvalidInput: no word, an unknown key, one given twice, or a value out of range.
    """
    if not words:
        raise InvalidInput("--what-if: no change is named", hint=_HINT)
    values: dict[str, Any] = {}
    for word in words:
        key, _, text = word.partition("=")
        key = key.strip().lower()
        if key not in KEYS:
            near = get_close_matches(key, KEYS, 1)
            also = f"; did you mean {near[0]}?" if near else ""
            raise InvalidInput(f"--what-if {word}: {key!r} cannot be changed{also}", hint=_HINT)
        if key in values:
            raise InvalidInput(f"--what-if: {key} is given twice", hint="give each key once")
        try:
            values[key] = KEYS[key](text.strip())
        except ValueError as e:
            raise InvalidInput(f"--what-if {word}: {e}", hint=_HINT) from e
    found = Changes(**{key.replace("-", "_"): value for key, value in values.items()})
    if found.kv not in (None, "f16") and found.flash is False:
        hint = "flash=on with it, or kv=f16"
        raise InvalidInput(f"a {found.kv} KV cache needs flash attention, which is off", hint=hint)
    return found


def changed(case: Case, changes: Changes, catalog: Catalog) -> Case:
    """Return the case as it would be with the changes, the server restarted for them."""
    if changes.server_version:
        server = replace(case.machine.server, version=changes.server_version)
        case = replace(case, machine=replace(case.machine, server=server))
    if changes.context is not None:
        case = case.at_context(changes.context)
    if changes.parallel is not None:
        case = case.at_slots(changes.parallel)
    if changes.min_tps is not None:
        case = replace(case, profile=replace(case.profile, min_tps=changes.min_tps))
    if changes.quantize is not None:
        case = replace(case, candidate=requantized(catalog, case.candidate, changes.quantize))
    wishes = replace(
        case.wishes,
        kv_cache_type=changes.kv or case.wishes.kv_cache_type,
        flash_attention=case.wishes.flash_attention if changes.flash is None else changes.flash,
    )
    return replace(case, wishes=wishes)


def _whole(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
        if not 1 <= value <= most:
            raise ValueError(f"a whole number from 1 to {most} is wanted")
        return value

    return read


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not isfinite(value) or value < 0:
        raise ValueError("tokens a second are wanted, 0 for no floor")
    return value


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        found = next((n for n in names if n.lower() == text.lower()), None)
        if found is None:
            raise ValueError(f"one of {', '.join(names)} is wanted")
        return found

    return read


def _version(text: str) -> str:
    try:
        return str(ServerVersion.parse(text))
    except InvalidInput as e:
        raise ValueError(e.what) from e


KEYS: dict[str, Callable[[str], Any]] = {
    "context": _whole(_MOST_TOKENS),
    "parallel": _whole(_MOST_SLOTS),
    "kv": _one_of(tuple(KV_BYTES)),
    "flash": lambda text: _SWITCH[_one_of(tuple(_SWITCH))(text)],
    "quantize": _one_of(tuple(BITS_PER_WEIGHT)),
    "min-tps": _rate,
    "server-version": _version,
}
"""What can be changed, and how its value is read."""
_HINT = f"KEY=VALUE with the keys {', '.join(KEYS)}: --what-if context=32768 kv=q8_0"
