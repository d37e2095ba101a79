"""How a receipt looks: Markdown that reads as plain text, with its tables indented."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.cli.render import table
from orchestrator.cli.render_bench import (
    estimate_table,
    memory_table,
    metric_table,
    thinking_words,
    users_table,
)
from orchestrator.report.graded import MemoryRow, SpeedRow, metric_rows, peak_words
from orchestrator.units import duration, gb, gib

Document = Mapping[str, Any]
_UNKNOWN = "-"
_LONGEST_VALUE = 48
_MB = 10**6


def page(receipt: Document) -> str:
    """Return one page: the command that repeats it, what was measured where, how it came out."""
    speed, memory = receipt["speed"], receipt["memory"]
    parts = [MemoryRow(**_row(each)) for each in memory["parts"]]
    rows = metric_rows(speed["cells"], speed, speed["loads"])
    filled = f"memory: {peak_words(memory)}"
    sections = [
        ("Repeat it", [receipt["command"]]),
        ("Model", [_pairs(_model(receipt)), *_layers(receipt["layers"] or ())]),
        ("Machine and server", [_pairs(_machine(receipt))]),
        ("Settings", [_pairs(_settings(receipt["settings"]))]),
        ("Speed", [metric_table(rows), *_beside(speed)]),
        ("Estimate against measurement", [_estimates(receipt), memory_table(parts), filled]),
        ("How it was measured", [_pairs(_workload(receipt))]),
        ("Verdict", ["\n".join(_verdict(receipt))]),
    ]
    blocks = [_title(receipt)]
    for name, texts in sections:
        blocks += [f"## {name}", *(_indented(text) for text in texts if text)]
    blocks.append(f"sha256 {receipt['sha256']} over the JSON of this receipt (`--json`)")
    return "\n\n".join(blocks)


def _title(receipt: Document) -> str:
    run = f", run {receipt['run']}" if receipt["run"] else ""
    return (
        f"# {receipt['tag']} on {receipt['machine']['name']}\n\n"
        f"Measured {receipt['measured_at']} by deploy {receipt['deploy']}{run}."
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _pairs(pairs: Iterator[tuple[str, object]]) -> str:
    return "\n".join(f"{name:<15} {_UNKNOWN if v is None else v}" for name, v in pairs)


def _row(part: Document) -> dict[str, Any]:
    """Return the fields of a row without the error, which follows from them."""
    return {k: v for k, v in part.items() if k != "error"}


def _model(receipt: Document) -> Iterator[tuple[str, object]]:
    for name in ("tag", "architecture", "quantization", "digest"):
        yield name, receipt[name]
    yield "weights", receipt["blob"]
    if receipt["model"] != receipt["tag"]:
        yield "measured as", receipt["model"]


def _layers(layers: Sequence[Document]) -> Iterator[str]:
    if layers:
        rows = [
            (each["digest"], _size(each["size_bytes"]), each["media_type"].rpartition(".")[2])
            for each in layers
        ]
        yield table(rows, ("layer", "size", "kind"))


def _size(size_bytes: int) -> str:
    return gb(size_bytes) if size_bytes >= _MB else f"{size_bytes} bytes"


def _machine(receipt: Document) -> Iterator[tuple[str, object]]:
    machine, server = receipt["machine"], receipt["server"]
    yield "machine", machine["name"]
    yield "processor", machine["cpu"]
    yield "cores", machine["physical_cores"]
    yield "memory", machine["memory_bytes"] and gib(machine["memory_bytes"], 0)
    for card in machine["accelerators"] or ():
        size = card["memory_total_bytes"]
        driver = f", driver {card['driver']}" if card["driver"] else ""
        yield "accelerator", f"{card['name']}, {gib(size) if size else 'size unknown'}{driver}"
    yield "server", f"Ollama {server['version'] or 'of unknown version'}"
    yield "runtime", server["runtime"]


def _settings(settings: Document) -> Iterator[tuple[str, object]]:
    effective = settings["effective"] or {}
    for key in ("context", "parallel", "kv_cache_type", "flash_attention", "placement"):
        planned, found = settings[key], effective.get(key)
        words = _value(planned) if found is None else f"{_value(found)} (read back)"
        if found is not None and found != planned:
            words = f"{_value(found)} (read back; planned: {_value(planned)})"
        yield {"parallel": "slots", "kv_cache_type": "KV cache"}.get(key, _spaced(key)), words
    for key in ("threads", "gpu_layers"):
        if effective.get(key) is not None:
            yield _spaced(key), effective[key]
    yield "options", ", ".join(f"{k}={v}" for k, v in sorted(settings["options"].items())) or None


def _spaced(key: str) -> str:
    return key.replace("_", " ").replace("gpu", "GPU")


def _beside(speed: Document) -> Iterator[str]:
    yield users_table(speed["concurrency"])
    if speed["thinking"]:
        yield f"thinking: {thinking_words(speed['thinking'], speed['thinking']['chats'])}"


def _estimates(receipt: Document) -> str:
    return estimate_table(SpeedRow(**_row(each)) for each in receipt["estimates"])


def _workload(receipt: Document) -> Iterator[tuple[str, object]]:
    workload, noise = receipt["workload"], receipt["workload"]["noise"]
    yield "effort", workload["effort"]
    shapes = ", ".join(
        f"pp{cell['prompt_tokens']} tg{cell['generate_tokens']}"
        for cell in receipt["speed"]["cells"]
    )
    yield "shapes", shapes if workload["exact"] else f"{shapes} (about)"
    yield "seed", workload["seed"]
    yield "took", f"{duration(workload['wall_s'])}, {workload['stopped']}"
    yield "noisy samples", noise["noisy_samples"]
    yield "rejected", ", ".join(f"{name} {n}" for name, n in workload["rejected"].items())
    for name in ("foreign_cpu", "steal"):
        share = noise[name]
        yield name.replace("foreign_cpu", "foreign CPU"), share if share is None else f"{share:.0%}"
    for what in workload["left_out"]:
        yield "left out", what


def _verdict(receipt: Document) -> Iterator[str]:
    verdict, compared = receipt["verdict"], receipt["comparison"]
    yield verdict["outcome"] if verdict else "nothing was promised"
    for check in verdict["checks"] if verdict else ():
        yield f"{check['name']}: {check['outcome']}" + (
            f" ({check['detail']})" if check["detail"] else ""
        )
    if compared:
        yield f"against earlier runs: {compared['outcome'].replace('_', ' ')}: {compared['why']}"


def side_by_side(comparison: Document) -> str:
    """Return two receipts side by side: whose they are, what differs, each number as a ratio."""
    a, b = comparison["a"], comparison["b"]
    keys = ("source", "tag", "machine", "measured_at", "command")
    about = [("", "A", "B"), *((key.replace("_", " "), a[key], b[key]) for key in keys)]
    word = "comparable" if comparison["comparable"] else "NOT COMPARABLE"
    blocks = [_left(about), f"{word}: {comparison['why']}"]
    if comparison["differences"]:
        rows = [("differs", "A", "B", "")]
        rows += [
            (d["condition"], _value(d["a"]), _value(d["b"]), "decides" if d["decides"] else "")
            for d in comparison["differences"]
        ]
        blocks.append(_left(rows))
    numbers = [
        (n["name"], _figure(n["a"], n["unit"]), _figure(n["b"], n["unit"]), _ratio(n["ratio"]))
        for n in comparison["numbers"]
    ]
    if numbers:
        blocks.append(table(numbers, ("measured", "A", "B", "B / A")))
    return "\n\n".join(blocks)


def _left(rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns that all stand left: words with a digit in front are no numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _value(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "unknown", True: "on", False: "off"}[value]
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return _UNKNOWN
    return gib(value) if unit == "bytes" else f"{value:.4g} {unit}"


def _ratio(ratio: float | None) -> str:
    return _UNKNOWN if ratio is None else f"{ratio:.3f}"
