"""What each key of a profile may hold, in a file and as an environment variable."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from orchestrator.model import BITS_PER_WEIGHT, Kind, registry_address
from orchestrator.units import parse_memory

PlacementWish = Literal["auto", "gpu", "split", "cpu", "any"]
SourceName = Literal["ollama", "mirror", "modelscope", "hf-gguf", "hub", "bundle", "starter"]
_PASSWORD = re.compile(r"//[^/@\s]*@")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_REAL = (int, float)
_SPELT = {True: "true", False: "false"}
_SWITCH = {"1": True, "true": True, "yes": True, "on": True} | dict.fromkeys(
    ("0", "false", "no", "off"), False
)


def _plain_name(value: str) -> None:
    if not value or "/" in value or ":" in value:
        raise ValueError("a plain name, or /v1/models/NAME cannot find it")


def _registry(value: str) -> None:
    registry_address(value)


def _host(value: str) -> None:
    if "://" in value:
        raise ValueError("a host without http://, or host:port")
    registry_address(value)


def _url(value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError("a URL: https://HOST[:PORT][/PATH], without a password")


@dataclass(frozen=True, slots=True)
class Key:
    """The type of a value, its bounds, what it is one of, and a check that raises ValueError."""

    kind: type | tuple[type, ...]
    least: float = 0
    most: float | None = None
    among: tuple[str, ...] = ()
    check: Callable[[Any], None] | None = None


SCALARS: Mapping[str, Key] = {
    "summary": Key(str),
    "context": Key(int, least=1),
    "context_gpu": Key(int, least=1),
    "context_cpu": Key(int, least=1),
    "min_context": Key(int),
    "parallel": Key(int, least=1, most=256),  # llama.cpp's LLAMA_MAX_SEQ
    "placement": Key(str, among=get_args(PlacementWish)),
    "min_tps": Key(_REAL),
    "max_memory_bytes": Key(int, least=1),
    "alias": Key(str, check=_plain_name),
    "keep_alive": Key((*_REAL, str), least=-1),
    "memory_pass": Key(_REAL),
    "memory_warn": Key(_REAL),
    "validation_s": Key(_REAL),
    "allow_licence": Key(bool),
    "registry": Key(str, check=_registry),
    "gguf_host": Key(str, check=_host),
    "hub_endpoint": Key(str, check=_url),
    "bundles": Key(str),
    "runtime_url": Key(str, check=_url),
    "connections": Key(int, least=1, most=64),
    "limit_rate_bytes": Key(int, least=1),
    "catalog": Key(str),
    "fallback": Key(str, among=("starter",)),
}
"""Keys with one value; the environment can set them."""
SIZES = {"max_memory_bytes": "max_memory", "limit_rate_bytes": "limit_rate"}
"""Keys that a file may also write as text with a unit, and how they are called then."""


def checked(key: str, value: Any) -> Any:  # noqa: ANN401 - TOML
    """Return the value of a key in the type of its field. Raises ValueError: what is allowed."""
    if key in _LISTS:
        return _LISTS[key](value)
    rule = SCALARS[key]
    shown = f"{key} = {_SPELT.get(value, repr(value)) if isinstance(value, bool) else repr(value)}"
    shown = _PASSWORD.sub("//***@", shown)
    if not isinstance(value, rule.kind) or (isinstance(value, bool) and rule.kind is not bool):
        raise ValueError(f"{shown} has the wrong type; {_expected(rule)}")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{shown} is no number")
    if isinstance(value, int | float) and value < rule.least:
        raise ValueError(f"{shown}; at least {rule.least}")
    if isinstance(value, int | float) and rule.most is not None and value > rule.most:
        raise ValueError(f"{shown}; at most {rule.most}")
    if rule.among and value not in rule.among:
        raise ValueError(f"{shown}; one of {', '.join(rule.among)}")
    if rule.check:
        try:
            rule.check(value)
        except ValueError as e:
            raise ValueError(f"{shown}; {e}") from e
    return value


def read(key: str, text: str) -> Any:  # noqa: ANN401 - the type of the key
    """Read the text of an environment variable, or of a size in a file. Raises ValueError."""
    rule = SCALARS[key]
    if key in SIZES:
        return parse_memory(text)
    number: type[int | float] | None = int if rule.kind is int else None
    if rule.kind == _REAL or (key == "keep_alive" and _NUMBER.fullmatch(text)):
        number = float
    try:
        if rule.kind is bool:
            return _SWITCH[text.lower()]
        return number(text) if number else text
    except (ValueError, KeyError):
        raise ValueError(f"{_expected(rule)} is wanted") from None


def _expected(rule: Key) -> str:
    if rule.kind is bool:
        return "true or false"
    if rule.kind is int:
        return "a whole number"
    return "a number" if rule.kind == _REAL else "text in quotes"


def _families(value: Any) -> tuple[tuple[str, ...], ...]:  # noqa: ANN401 - TOML
    groups = value if isinstance(value, list | tuple) else None
    if not groups or not all(
        isinstance(g, list | tuple) and g and all(isinstance(f, str) for f in g) for g in groups
    ):
        raise ValueError(f"families = {value!r}; a list of lists of names")
    return tuple(tuple(g) for g in groups)


def _quantizations(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - TOML
    return _names("quantizations", value, BITS_PER_WEIGHT, str.upper)


def _sources(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - TOML
    names = _names("sources", value, get_args(SourceName), str.lower)
    if len(set(names)) < len(names):
        raise ValueError(f"sources = {value!r} names one twice")
    return names


def _kinds(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - TOML
    return _names("kinds", value, get_args(Kind), str.lower)


def _names(
    key: str,
    value: Any,  # noqa: ANN401 - TOML
    known: Mapping[str, object] | tuple[str, ...],
    spelt: Callable[[str], str],
) -> tuple[str, ...]:
    names = [spelt(str(v)) for v in value] if isinstance(value, list | tuple) else []
    if not names or any(n not in known for n in names):
        raise ValueError(f"{key} = {value!r}; a list of names out of {', '.join(known)}")
    return tuple(names)


_LISTS: Mapping[str, Callable[[Any], tuple[Any, ...]]] = {
    "families": _families,
    "quantizations": _quantizations,
    "kinds": _kinds,
    "sources": _sources,
}
