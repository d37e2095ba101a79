"""A profile as TOML text: every mistake with its line and its key."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from orchestrator.errors import ProfileInvalid
from orchestrator.profile.keys import SIZES, checked, read
from orchestrator.profile.profile import SHOW_HINT, Profile

_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_WITH_UNIT = {short: key for key, short in SIZES.items()}
_KEYS = frozenset(f.name for f in fields(Profile)) - {"name", "origin", *SIZES} | {*_WITH_UNIT}
_FILE_KEYS = _KEYS | {"schema", *SIZES}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """What is wrong with a profile; `line` counts from 1. None: the text as a whole."""

    line: int | None
    key: str | None
    message: str

    def at(self, source: str) -> str:
        """Return it the way compilers do: FILE:LINE: what."""
        place = source if self.line is None else f"{source}:{self.line}"
        return f"{place}: {self.message}"


def parse(text: str, name: str, base: Profile | None = None, *, source: str = "") -> Profile:
    """Read a profile over `base`: what it leaves out stays as there.

    `source` names the text in messages. Raises ProfileInvalid: the first mistake in it.
    """
    table, found = _read(text)
    if found:
        raise ProfileInvalid(
            found[0].at(source or f"profile {name}"),
            hint=SHOW_HINT if len(found) == 1 else f"`deploy profile check` lists all {len(found)}",
        )
    start = replace(base, name=name, summary="") if base else Profile(name=name)
    return start.override(table, f"profile {name}")


def mistakes(text: str) -> tuple[Mistake, ...]:
    """Return everything that is wrong with a profile, in the order of its lines."""
    return _read(text)[1]


def _read(text: str) -> tuple[dict[str, Any], tuple[Mistake, ...]]:
    """Return the values by the names of their fields, and the mistakes."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        return {}, (_unreadable(str(e), text),)
    values: dict[str, Any] = {}
    found: list[Mistake] = []
    for key, value in table.items():
        try:
            values.update(_value(key, value))
        except ValueError as e:
            found.append(Mistake(line=_line_of(key, text), key=key, message=str(e)))
    return values, tuple(found)


def _unreadable(message: str, text: str) -> Mistake:
    """Return the mistake that keeps the text from being TOML."""
    place = _PLACE.search(message)
    line = int(place[1]) if place and place[1] else text.count("\n") + 1
    return Mistake(line=line, key=None, message=_PLACE.sub("", message))


def _value(key: str, value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - TOML
    """Return what a key sets. Raises ValueError: the key or its value is not known."""
    if key not in _FILE_KEYS:
        raise ValueError(f"unknown key {key!r}{_nearest(key)}")
    if key == "schema":
        if value != 1:
            raise ValueError(f"schema = {value!r}; schema must be 1")
        return {}
    if field := _WITH_UNIT.get(key):
        try:
            return {field: read(field, str(value))}
        except ValueError as e:
            raise ValueError(f"{key} = {value!r}; {e}") from e
    return {key: checked(key, value)}


def _nearest(key: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key, sorted(_KEYS), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _line_of(key: str, text: str) -> int | None:
    """Return the line that sets a top-level key: the text before it is TOML of its own.

    tomllib tells no lines of what it has read. A line inside a text or list of several lines may
    look like the key; what stands before it is then cut off and no TOML.
    """
    name = re.escape(key)
    looks = re.compile(rf"\s*\[*\s*(?:{name}|'{name}'|\"{name}\")\s*[=.\]]")
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not looks.match(line):
            continue
        try:
            tomllib.loads("".join(f"{before}\n" for before in lines[:number]))
        except tomllib.TOMLDecodeError:
            continue
        return number + 1
    return None
