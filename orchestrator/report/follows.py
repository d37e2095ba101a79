"""Whether a JSON value is what one of our own schemas says. Pure.

Knows the keywords that they are written with: type, const, enum, minimum, maximum, properties,
required, items, minItems, maxItems, anyOf and $ref to $defs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
    "number": (int, float), "boolean": (bool,), "null": (type(None),),
}  # fmt: skip


def violation(value: Any, schema: Schema) -> str | None:  # noqa: ANN401 - JSON
    """Return the first thing that is not as the schema says, with its place; None: all is."""
    return next(_violations(value, schema, schema.get("$defs", {}), "it"), None)


def _violations(value: Any, schema: Schema, defs: Schema, at: str) -> Iterator[str]:  # noqa: ANN401
    if "$ref" in schema:
        schema = defs[schema["$ref"].removeprefix("#/$defs/")]
    if not _is_of(value, schema.get("type")):
        yield f"{at} is {_named(value)}"
        return
    allowed = schema.get("enum", [schema.get("const", value)])
    if not any(value == each and _is_bool(value) == _is_bool(each) for each in allowed):
        yield f"{at} is {_named(value)}"
    if "anyOf" in schema:
        found = [next(_violations(value, s, defs, at), None) for s in schema["anyOf"]]
        # With what fails deeper down the value was meant.
        yield from [] if None in found else [max(map(str, found), key=lambda f: f.count("."))]
    yield from _sizes(value, schema, at)
    yield from _within(value, schema, defs, at)


def _sizes(value: Any, schema: Schema, at: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    number = isinstance(value, int | float)
    if number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{at} is {value}"
    if isinstance(value, list):
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
        if not least <= len(value) <= most:
            yield f"{at} has {len(value)} items"


def _within(value: Any, schema: Schema, defs: Schema, at: str) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, dict):
        yield from (f"{at} has no {k}" for k in schema.get("required", ()) if k not in value)
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                yield from _violations(value[key], inner, defs, f"{at}.{key}")
    if isinstance(value, list) and "items" in schema:
        for index, each in enumerate(value):
            yield from _violations(each, schema["items"], defs, f"{at}[{index}]")


def _is_of(value: object, wanted: str | list[str] | None) -> bool:
    if wanted is None:
        return True
    names = [wanted] if isinstance(wanted, str) else wanted
    if _is_bool(value):
        return "boolean" in names
    return any(isinstance(value, _TYPES[name]) for name in names)


def _is_bool(value: object) -> bool:
    """Whether it is true or false, which Python counts among the numbers, as 1 and 0."""
    return isinstance(value, bool)


def _named(value: object) -> str:
    short = repr(value) if isinstance(value, str | int | float | bool | None) else ""
    return short if 0 < len(short) < 40 else type(value).__name__
