"""Two receipts side by side: their numbers as ratios, and every condition in which they differ.

Pure. Numbers are comparable when all conditions that decide them are the same; the others are
named, because they explain a scatter. A ratio is printed either way: two boxes may be what somebody
wants to see side by side.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.report.graded import metric_rows

Document = Mapping[str, Any]


def compare(a: Document, b: Document, sources: tuple[str, str]) -> dict[str, Any]:
    """Return the comparison (schema `receipt-comparison`) of receipts; ratios are b / a."""
    differences = _differences(a, b)
    deciding = [d["condition"] for d in differences if d["decides"]]
    return {
        "schema": 1,
        "a": _side(a, sources[0]),
        "b": _side(b, sources[1]),
        "comparable": not deciding,
        "why": f"another {', '.join(deciding)}" if deciding else "all that decides is the same",
        "differences": differences,
        "numbers": list(_numbers(a, b)),
    }


def _side(receipt: Document, source: str) -> dict[str, Any]:
    kept = ("run", "measured_at", "tag", "command", "sha256")
    return {
        "source": source,
        **{k: receipt[k] for k in kept},
        "machine": receipt["machine"]["name"],
    }


def _differences(a: Document, b: Document) -> list[dict[str, Any]]:
    """Return what is not the same, what decides first."""
    found = [
        {"condition": name, "a": left, "b": right, "decides": decides}
        for (name, left, decides), (_, right, _) in zip(_conditions(a), _conditions(b), strict=True)
        if left != right
    ]
    if a["machine"]["digest"] != b["machine"]["digest"]:
        names = a["machine"]["name"], b["machine"]["name"]
        found.insert(0, _machines(*names))
    keys = a["key"], b["key"]
    if None not in keys and keys[0] != keys[1] and not any(d["decides"] for d in found):
        found.append({"condition": "key", "a": keys[0], "b": keys[1], "decides": True})
    return sorted(found, key=lambda d: not d["decides"])


def _machines(a: str, b: str) -> dict[str, Any]:
    """Return the difference of two boxes: they may be of one kind."""
    if a == b:
        a, b = f"{a} (one box)", f"{b} (another of its kind)"
    return {"condition": "machine", "a": a, "b": b, "decides": True}


def _conditions(receipt: Document) -> Iterator[tuple[str, Any, bool]]:
    """Yield the name of each condition, its value, and whether it decides the numbers."""
    settings, server, workload = receipt["settings"], receipt["server"], receipt["workload"]
    effective = settings["effective"] or {}
    yield "model", receipt["tag"], False  # one file has many tags
    yield "weights", receipt["blob"] or receipt["digest"] or receipt["tag"], True
    yield "quantization", receipt["quantization"], True
    yield "server version", server["version"], True
    yield "runtime", server["runtime"], True
    for key in ("context", "parallel", "kv_cache_type", "flash_attention"):
        name = {"parallel": "slots", "kv_cache_type": "KV cache type"}.get(key, key)
        found = effective.get(key)
        yield name.replace("_", " "), settings[key] if found is None else found, True
    yield "placement", settings["placement"], True
    yield "options", json.dumps(settings["options"], sort_keys=True), True
    yield "threads", effective.get("threads"), False
    yield "effort", workload["effort"], False
    yield "exact prompts", workload["exact"], False
    yield "prompt", f"pp{workload['prompt_tokens']} tg{workload['generate_tokens']}", False
    yield "deploy", receipt["deploy"], False


def _numbers(a: Document, b: Document) -> Iterator[dict[str, Any]]:
    """Yield every number of both, in the order of `a`; null where one of them lacks it."""
    left, right = _measured(a), _measured(b)
    for name, unit in {**dict.fromkeys(left), **dict.fromkeys(right)}:
        values = left.get((name, unit)), right.get((name, unit))
        ratio = values[1] / values[0] if values[0] and values[1] is not None else None
        yield {"name": name, "unit": unit, "a": values[0], "b": values[1], "ratio": ratio}


def _measured(receipt: Document) -> dict[tuple[str, str], float | None]:
    """Return the medians, the rates of users together and the memory, by name and unit."""
    speed = receipt["speed"]
    found: dict[tuple[str, str], float | None] = {
        (row.label, row.unit): row.metric["median"]
        for row in metric_rows(speed["cells"], speed, speed["loads"])
    }
    for level in speed["concurrency"]:
        found[f"users together: {level['users']}", "tokens/s"] = level["aggregate_tps"]
    for part in receipt["memory"]["parts"]:
        if part["measured_bytes"] is not None:
            found[f"memory: {part['part']}", "bytes"] = part["measured_bytes"]
    return found
