"""How an explanation looks to a person."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from shutil import get_terminal_size
from typing import Any

from orchestrator.cli.render import download, table
from orchestrator.units import gib

_WIDEST, _NARROWEST = 100, 40
_LABEL = 10
_REFUSALS = ("licence", "server", "context", "policy")


def model(document: Mapping[str, Any]) -> str:
    """Return the explanation of one model: why, what it takes, what is above, how far it goes."""
    m = document["model"]
    estimate = m["estimate"]
    blocks = [
        _line("machine", document["machine"]["name"]),
        _line("server", f"Ollama {document['server_version'] or 'of unknown version'}"),
        _line(
            "model",
            f"{m['tag']}  ({estimate['quantization']}, {download(estimate)} to download)",
        ),
        _line("why" if m["fits"] else "no", m["why"]),
        *(_line("warning", w) for w in m["warnings"]),
        _line("where", _where(m) + _unless(m)),
        "",
        *_sum(m),
        "",
        *_above(m["larger"]),
        *_reach(m),
        "",
        *_settings(m["settings"]),
        "",
        *_speed(m["speed"]),
    ]
    return "\n".join(blocks)


def what_if(document: Mapping[str, Any]) -> str:
    """Return both sides of a change in columns, and what it takes to make it."""
    w = document["what_if"]
    before, after = w["before"], w["after"]
    asked = " ".join(f"{key}={_word(value)}" for key, value in w["changes"].items())
    rows = [(name, one, two) for name, one, two in _rows(before, after) if one or two]
    lines = [
        _line("machine", document["machine"]["name"]),
        _line("what if", asked),
        "",
        table(rows, ("", "before", "after")),
        "",
        _line("result", _result(after)),
    ]
    if w["left_gpu"]:
        lines.append(_line("left", f"wholly on GPU no more: {w['left_gpu']}"))
    lines += [_line("note", note) for note in w["notes"]]
    lines += [_line("by", way) for way in w["ways"]]
    if w["plan_then"]:
        lines.append(_line("plan", f"without a tag it would then pick {w['plan_then']}"))
    return "\n".join(lines)


def topic(document: Mapping[str, Any]) -> str:
    """Return what people say, what is so, the source, and what that means here."""
    t = document["topic"]
    lines = [t["title"]]
    for claim in t["claims"]:
        lines += [
            "",
            _line("said", claim["said"]),
            _line("so", claim["fact"]),
            _line("source", claim["source"]),
        ]
    return "\n".join([*lines, *([""] if t["here"] else []), *(_line("here", h) for h in t["here"])])


def topics(document: Mapping[str, Any]) -> str:
    """Return the list of topics."""
    rows = [(t["name"], t["title"], t["group"]) for t in document["topics"]]
    return table(rows, ("topic", "about", "group"))


def _line(label: str, text: str) -> str:
    """Return a labelled paragraph, wrapped under itself."""
    return textwrap.fill(
        text,
        max(_NARROWEST, min(_WIDEST, get_terminal_size((_WIDEST, 24)).columns)),
        initial_indent=label.ljust(_LABEL),
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _unless(m: Mapping[str, Any]) -> str:
    """Return under which condition it would lie there."""
    if m["fits"]:
        return ""
    return ", if it were allowed" if m["rejection"]["reason"] == "licence" else ", if it fitted"


def _where(m: Mapping[str, Any]) -> str:
    estimate = m["estimate"]
    where = f"{m['placement']}, {m['gpu_layers']} of {m['layers']} layers on GPU"
    slots = f"{estimate['parallel']} slot{'s' if estimate['parallel'] != 1 else ''}"
    where = "CPU" if m["placement"] == "cpu" else where
    return f"{where}; {estimate['context']} tokens x {slots}"


def _sum(m: Mapping[str, Any]) -> Iterable[str]:
    yield _line("memory", f"{gib(m['estimate']['memory']['total_bytes'])} in all")
    for part in m["parts"]:
        sign = ":" if part["name"] == "compute" else " ="
        about = "about " if part["basis"] == "listed" else ""
        yield _line(part["name"], f"{about}{gib(part['bytes'])}{sign} {part['formula']}")
    for place in m["places"]:
        name = "host" if place["index"] is None else f"GPU {place['index']}"
        layers = f", {place['layers']} layers" if place["layers"] else ""
        yield _line(name, f"{gib(place['bytes'])} of {gib(place['free_bytes'])}{layers}")


def _above(larger: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for each in larger:
        label = "larger" if each["relation"] == "more parameters" else "finer"
        yield _line(label, f"{each['tag']}: {each['detail']}")
    if larger:
        yield ""


def _reach(m: Mapping[str, Any]) -> Iterable[str]:
    units = {"context": "token{} a slot", "slots": "slot{} at this context"}
    for name, words in units.items():
        limit = m["limits"][name]
        unit = words.format("" if limit["most"] == 1 else "s")
        most = f"at most {limit['most']} {unit}" if limit["most"] else "none fits"
        yield _line(name, f"{most}; {limit['detail']}")


def _settings(settings: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for each in settings:
        change = f"; to change it: {each['change']}" if each["change"] else ""
        yield _line("setting", f"{each['setting']} {each['value']} ({each['by']}){change}")


def _speed(speed: Mapping[str, Any]) -> Iterable[str]:
    if expected := speed["expected"]:
        low, likely, high = expected["decode_tps"]
        yield _line("speed", f"about {likely:.1f} tokens/s decode ({low:.1f} to {high:.1f})")
    else:
        yield _line("speed", "unknown: so is the bandwidth of the GPU")
    yield _line("", speed["bound_by"])


def _rows(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    yield "model", before["tag"], after["tag"]
    for key, name in (("context", "context"), ("parallel", "slots"), ("kv_cache_type", "KV type")):
        yield name, str(before[key]), str(after[key])
    yield "flash", _word(before["flash_attention"]), _word(after["flash_attention"])
    for part in ("weights", "kv_cache", "compute", "overhead", "total"):
        one, two = (side["memory"][f"{part}_bytes"] for side in (before, after))
        names = {"kv_cache": "KV cache", "overhead": "driver"}
        yield names.get(part, part), gib(one), gib(two)
    indexes = sorted({d["index"] for side in (before, after) for d in side["devices"]})
    for index in indexes:
        one, two = (_on(side, index) for side in (before, after))
        yield f"GPU {index}", one, two
    yield "host", gib(before["host_bytes"]), gib(after["host_bytes"])
    yield "where", before["placement"], after["placement"]
    layers = [f"{s['gpu_layers']} of {s['layers']}" for s in (before, after)]
    yield "on GPU", layers[0], layers[1]
    yield "tokens/s", _pace(before), _pace(after)
    yield "fits", _fits(before), _fits(after)


def _on(side: Mapping[str, Any], index: int) -> str:
    return next((gib(d["bytes"]) for d in side["devices"] if d["index"] == index), "-")


def _pace(side: Mapping[str, Any]) -> str:
    return f"{side['decode_tps'][1]:.1f}" if side["decode_tps"] else "unknown"


def _fits(side: Mapping[str, Any]) -> str:
    if not side["fits"]:
        return "no"
    return "too slow" if side["slow"] else "yes"


def _result(after: Mapping[str, Any]) -> str:
    if after["missing"]:
        refused = "refused" if after["reason"] in _REFUSALS else "it does not fit"
        return f"{'it fits, but' if after['fits'] else f'{refused}:'} {after['missing']}"
    return f"it fits ({after['placement']})"


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
