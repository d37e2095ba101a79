"""Profiles: what a person wants, from a TOML file < environment < flags; who set what is kept."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import isfinite
from typing import Any, Literal

from orchestrator.errors import ProfileInvalid
from orchestrator.model import BITS_PER_WEIGHT, registry_address
from orchestrator.units import parse_size

PlacementWish = Literal["auto", "gpu", "split", "cpu", "any"]
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_PLACEMENTS = ("auto", "gpu", "split", "cpu", "any")
_ENVIRONMENT = "DEPLOY_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Every preference; sizes in bytes, contexts in tokens a slot, speeds in tokens/s.

    `origin` says who set a key: the profile, an environment variable or a flag.
    """

    name: str
    summary: str = ""
    families: tuple[tuple[str, ...], ...] = ()
    quantizations: tuple[str, ...] = ()
    context_gpu: int = 8192
    context_cpu: int = 4096
    min_context: int = 0
    context: int | None = None
    parallel: int = 1
    placement: PlacementWish = "auto"
    min_tps: float = 4.0
    max_memory_bytes: int | None = None
    alias: str = "deploy-current"
    keep_alive: float | str = -1
    memory_pass: float = 0.10
    memory_warn: float = 0.25
    validation_s: float = 45.0
    allow_licence: bool = False
    registry: str | None = None
    catalog: str | None = None
    fallback: str | None = None
    origin: Mapping[str, str] = field(default_factory=dict)

    def rank(self, family: str) -> int | None:
        """Return the family's place in the order of preference; None: not wanted."""
        return next((i for i, group in enumerate(self.families) if family in group), None)

    def override(self, values: Mapping[str, Any], origin: str) -> "Profile":
        """Return the profile with every value that is not None set, and its origin noted."""
        given = {k: v for k, v in values.items() if v is not None}
        try:
            checked = {k: _checked(k, v, origin) for k, v in given.items()}
        except ProfileInvalid as e:
            if origin.startswith("--"):
                raise ProfileInvalid(e.what, hint="see `deploy plan --help`") from e
            raise
        noted = {**self.origin, **dict.fromkeys(given, origin)}
        return replace(self, **checked, origin=noted)

    def with_environment(self, environ: Mapping[str, str]) -> "Profile":
        """Apply DEPLOY_MIN_TPS, DEPLOY_CONTEXT … Raises ProfileInvalid: a value does not read."""
        result = self
        for key in _SCALARS:
            variable = _ENVIRONMENT + key.removesuffix("_bytes").upper()
            if text := environ.get(variable):
                result = result.override({key: _read(key, text, variable)}, variable)
        return result


def parse(text: str, name: str, base: Profile | None = None) -> Profile:
    """Read a profile file over `base`: what it leaves out stays as there.

    Raises ProfileInvalid with the key, the value and what is allowed.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ProfileInvalid(f"profile {name}: {e}") from e
    if table.pop("schema", 1) != 1:
        raise ProfileInvalid(f"profile {name}: schema must be 1")
    if "max_memory" in table:
        table["max_memory_bytes"] = _read("max_memory_bytes", table.pop("max_memory"), name)
    known = {f.name for f in fields(Profile)} - {"name", "origin"}
    if unknown := sorted(set(table) - known):
        raise ProfileInvalid(f"profile {name}: unknown key {unknown[0]!r}")
    start = replace(base, name=name, summary="") if base else Profile(name=name)
    return start.override(table, f"profile {name}")


_SCALARS: dict[str, type | tuple[type, ...]] = {
    "context": int,
    "context_gpu": int,
    "context_cpu": int,
    "min_context": int,
    "parallel": int,
    "max_memory_bytes": int,
    "min_tps": (int, float),
    "memory_pass": (int, float),
    "memory_warn": (int, float),
    "validation_s": (int, float),
    "keep_alive": (int, float, str),
    "placement": str,
    "alias": str,
    "allow_licence": bool,
    "registry": str,
    "catalog": str,
    "fallback": str,
    "summary": str,
}


_MINIMUM = {"context": 1, "context_gpu": 1, "context_cpu": 1, "parallel": 1, "keep_alive": -1}


def _checked(key: str, value: Any, origin: str) -> Any:  # noqa: ANN401 - TOML
    """Return the value in the type of its field. Raises ProfileInvalid."""
    if key == "families":
        return _families(value, origin)
    if key == "quantizations":
        return _quantizations(value, origin)
    kind: Any = _SCALARS[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ProfileInvalid(f"{origin}: {key} = {value!r} has the wrong type")
    if isinstance(value, float) and not isfinite(value):
        raise ProfileInvalid(f"{origin}: {key} = {value!r} is no number")
    if isinstance(value, int | float) and value < _MINIMUM.get(key, 0):
        raise ProfileInvalid(f"{origin}: {key} = {value!r}; at least {_MINIMUM.get(key, 0)}")
    if key == "placement" and value not in _PLACEMENTS:
        raise ProfileInvalid(f"{origin}: placement = {value!r}; one of {', '.join(_PLACEMENTS)}")
    if key == "fallback" and value != "starter":
        raise ProfileInvalid(f"{origin}: fallback = {value!r}; the only one is 'starter'")
    if key == "registry":
        _registry(value, origin)
    if key == "alias" and (not value or "/" in value or ":" in value):
        raise ProfileInvalid(
            f"{origin}: alias = {value!r}; a plain name, or /v1/models/NAME cannot find it"
        )
    return value


def _registry(url: str, origin: str) -> None:
    try:
        registry_address(url)
    except ValueError as e:
        raise ProfileInvalid(f"{origin}: {e}") from e


def _families(value: Any, origin: str) -> tuple[tuple[str, ...], ...]:  # noqa: ANN401 - TOML
    groups = value if isinstance(value, list | tuple) else None
    if not groups or not all(
        isinstance(g, list | tuple) and g and all(isinstance(f, str) for f in g) for g in groups
    ):
        raise ProfileInvalid(f"{origin}: families = {value!r}; a list of lists of names")
    return tuple(tuple(g) for g in groups)


def _quantizations(value: Any, origin: str) -> tuple[str, ...]:  # noqa: ANN401 - TOML
    names = [str(v).upper() for v in value] if isinstance(value, list | tuple) else []
    wrong = [n for n in names if n not in BITS_PER_WEIGHT]
    if not names or wrong:
        raise ProfileInvalid(
            f"{origin}: quantizations = {value!r}",
            hint=f"names out of {', '.join(BITS_PER_WEIGHT)}",
        )
    return tuple(names)


def _read(key: str, text: Any, origin: str) -> Any:  # noqa: ANN401 - TOML or environment
    """Read the text of an environment variable in the type of its field."""
    kind = _SCALARS[key]
    try:
        if key == "max_memory_bytes":
            return parse_size(str(text))
        if kind is int:
            return int(text)
        if kind == (int, float) or (key == "keep_alive" and _NUMBER.fullmatch(str(text))):
            return float(text)
    except ValueError as e:
        raise ProfileInvalid(f"{origin}={text}: {e}") from e
    if kind is bool:
        return str(text).lower() in ("1", "true", "yes", "on")
    return text
