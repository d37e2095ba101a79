"""How a measurement looks to a person, in 80 to 120 columns.

Documents of an older deploy lack keys: what they do not tell is left away.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.cli.render import table
from orchestrator.cli.sparkline import bar, sparkline
from orchestrator.report.graded import (
    MemoryRow,
    MetricRow,
    SpeedRow,
    cells_of,
    memory_rows,
    metric_rows,
    peak_words,
    speed_rows,
)
from orchestrator.units import duration, gib

Document = Mapping[str, Any]
_UNKNOWN = "-"
_BAR_WIDTH = 20
_MOST_DRAWN = 80
_BASELINES = {"rolling": "baseline", "pinned": "pinned", "run": "that run"}


def bench(document: Document) -> str:
    """Return a measurement: its conditions, speed, memory, users at once, and what follows."""
    compared = (document.get("comparison") or {}).get("metrics", ())
    rows = metric_rows(cells_of(document), document["metrics"], document.get("loads", ()))
    blocks = [
        [*_conditions(document), *_samples(document)],
        [metric_table(rows, compared), *_in_order(document)],
        [f"memory    {peak_words(document['memory'])}", memory_table(memory_rows(document))],
        [estimate_table(speed_rows(document))],
        [users_table(document.get("concurrency", ()))],
        [*_thinking(document), *_outcome(document)],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if any(lines))


def _conditions(document: Document) -> Iterator[str]:
    effective = document.get("effective") or {}
    digest = (document["digest"] or "").removeprefix("sha256:")[:12] or "unknown"
    runtime = f" ({document['runtime']})" if document["runtime"] else ""
    yield (
        f"model     {document['model']}  {document['quantization'] or 'quantization unknown'}"
        f"  digest {digest}"
    )
    yield (
        f"server    Ollama {document['server_version'] or 'of unknown version'}{runtime} on "
        f"{document['machine']['name']}"
    )
    context = effective.get("context") or document["context"]
    slots = effective.get("parallel") or document["parallel"] or "?"
    yield f"context   {context} tokens x {slots}, KV cache {_kv_cache(document, effective)}"


def _kv_cache(document: Document, effective: Document) -> str:
    """Return the type of the KV cache and flash attention, and whether they were read back."""
    kind, flash = effective.get("kv_cache_type"), effective.get("flash_attention")
    words = f"{kind} (effective)" if kind else f"{document['kv_cache_type']} (as planned)"
    if kind and kind != document["kv_cache_type"]:
        words = f"{kind} (effective, {document['kv_cache_type']} was planned)"
    if flash is None:
        return words
    return f"{words}, flash attention {'on' if flash else 'off'}"


def _samples(document: Document) -> Iterator[str]:
    prompt, noise, rejected = document["prompt"], document["noise"], document["rejected"]
    rounds = {s["round"] for s in document["samples"]} - {-1}  # the warm-up
    parts = [
        f"{len(rounds)} rounds" if rounds else "samples no longer kept",
        f"noisy {noise['noisy_samples']}",
        *(f"{name} {count}" for name, count in rejected.items()),
        f"seed {prompt['seed']}",
    ]
    if not prompt["exact"]:
        parts.append("prompts only about that long")
    yield f"samples   {', '.join(parts)}"
    yield (
        f"          foreign CPU {_share(noise['foreign_cpu'])}, steal {_share(noise['steal'])}; "
        f"took {duration(document['wall_s'])}"
        + (f", effort {document['effort']}" if document.get("effort") else "")
    )
    if document["stopped"] != "complete":
        why = {"deadline": "its time was over", "rejected": "too many samples did not count"}
        yield f"          ended early: {why[document['stopped']]}"
    if document["clocks_disagree"]:
        yield "          the server's decode rate and ours differ by more than 3 %"


def metric_table(rows: Iterable[MetricRow], compared: Sequence[Document] = ()) -> str:
    """Return the figures of each row, and beside them the ratio to each baseline compared with."""
    if not (rows := list(rows)):
        return "speed     no sample counts"
    kinds = list(dict.fromkeys(m["baseline"] for m in compared))
    heads = ["speed", "unit", "median", "spread", "95 % CI", "min..max", "n"]
    return table(
        [
            [row.label, *_figures(row), *(_against(compared, kind, row) for kind in kinds)]
            for row in rows
        ],
        [*heads, *(f"to {_BASELINES[kind]}" for kind in kinds)],
    )


def _figures(row: MetricRow) -> list[object]:
    """Return the unit and the figures of a metric; below a second they are milliseconds."""
    metric = row.metric
    milli = row.unit == "s" and metric["median"] < 1
    scale = 1000.0 if milli else 1.0
    median = scale * metric["median"]
    digits = next((d for most, d in ((10, 3), (100, 2), (1000, 1)) if median < most), 0)

    def shown(name: str) -> str:
        return f"{scale * metric[name]:.{digits}f}"

    one = metric["ci_low"] is None  # too few values have no interval
    return [
        "ms" if milli else row.unit.replace("tokens", "tok"),
        shown("median"),
        f"{metric['spread'] / metric['median']:.1%}" if metric["n"] > 1 else _UNKNOWN,
        _UNKNOWN if one else f"[{shown('ci_low')}, {shown('ci_high')}]",
        f"{shown('min')}..{shown('max')}",
        metric["n"],
    ]


def _against(compared: Sequence[Document], kind: str, row: MetricRow) -> str:
    wanted = (kind, row.name, row.prompt_tokens, row.generate_tokens)
    for m in compared:
        if (m["baseline"], m["name"], m["prompt_tokens"], m["generate_tokens"]) == wanted:
            ratio = _UNKNOWN if m["ratio"] is None else f"{m['ratio']:.3f}"
            return f"{ratio} {m['outcome']}"
    return _UNKNOWN


def _in_order(document: Document) -> Iterator[str]:
    """Yield the decode rates of the main shape in the order in which they were taken."""
    shape = (document["prompt"]["tokens"], document["generate_tokens"])
    rates = [
        s["decode_tps"]
        for s in document["samples"]
        if s["outcome"] == "ok" and (s["want_prompt_tokens"], s["want_tokens"]) == shape
    ][:_MOST_DRAWN]
    known = [r for r in rates if r is not None]
    if len(known) > 1:
        span = f"{min(known):.4g}..{max(known):.4g} tok/s"
        yield f"in order  {sparkline(rates)}  decode tg{shape[1]} @{shape[0]}, {span}"


def memory_table(rows: Iterable[MemoryRow]) -> str:
    """Return the three figures of each kind of memory apart, and the error of the estimate."""
    cells = [
        [
            row.part,
            _size(row.estimated_bytes),
            _size(row.server_bytes),
            _size(row.measured_bytes),
            f"{_error(row.error)} {row.outcome or ''}".rstrip(),
            row.how,
        ]
        for row in rows
    ]
    return table(cells, ("part", "estimate", "server says", "measured", "error", "how"))


def estimate_table(rows: Iterable[SpeedRow]) -> str:
    """Return the estimated speed beside the measured; empty: nothing was estimated."""
    cells = [
        [
            row.name,
            row.unit,
            f"{row.likely:.4g}",
            f"{row.low:.4g}..{row.high:.4g}",
            _UNKNOWN if row.measured is None else f"{row.measured:.4g}",
            f"{_error(row.error)}{_outside(row)}",
        ]
        for row in rows
        if row.likely is not None
    ]
    heads = ("estimated", "unit", "likely", "range", "measured", "error")
    return table(cells, heads) if cells else ""


def _outside(row: SpeedRow) -> str:
    return " outside the range" if row.inside is False else ""


def users_table(levels: Sequence[Document]) -> str:
    """Return what several users at once got, all together drawn as bars; empty: no such thing."""
    most = max((level["aggregate_tps"] for level in levels), default=0.0)
    rows = [
        [
            level["users"],
            f"{level['aggregate_tps']:.4g}",
            bar(level["aggregate_tps"], most, _BAR_WIDTH),
            _median(level["per_user_tps"], "{:.4g}"),
            _median(level["ttft_s"], "{:.3g}"),
            _UNKNOWN if level["ttft_p90_s"] is None else f"{level['ttft_p90_s']:.3g}",
            _share(level["queue_share"]),
            ", ".join(word for word in ("queued", "noisy") if level[word]),
        ]
        for level in levels
    ]
    heads = ("users", "tok/s", "all together", "each", "TTFT s", "p90 s", "in queue", "")
    return table(rows, heads) if rows else ""


def thinking_words(thinking: Document, chats: int) -> str:
    """Return when a thinking model gave its first token, and the first of its answer."""
    answer = thinking["first_answer_s"]
    return (
        f"first token after {_median(thinking['ttft_s'], '{:.3g}')} s, first of the answer after "
        f"{_median(answer, '{:.3g}')} s ({answer['n'] if answer else 0} of {chats} chats answered "
        f"within {thinking['max_tokens']} tokens)"
    )


def _thinking(document: Document) -> Iterator[str]:
    if thinking := document.get("thinking"):
        yield f"thinking  {thinking_words(thinking, len(thinking['samples']))}"


def _outcome(document: Document) -> Iterator[str]:
    """Yield the verdict with the checks that did not pass, the comparison, what was left out."""
    if verdict := document["verdict"]:
        yield f"verdict   {verdict['outcome']}"
        for check in verdict["checks"]:
            if check["outcome"] != "passed" and check["detail"]:
                said = check["detail"].removeprefix(f"{check['outcome']} ")
                yield f"          {check['name']}: {check['outcome']}: {said}"
    if comparison := document.get("comparison"):
        yield f"compared  {comparison['outcome'].replace('_', ' ')}: {comparison['why']}"
        if comparison["confirms"]:
            yield f"          made to confirm what run {comparison['confirms']} showed"
    yield from (f"left out  {what}" for what in document.get("left_out", ()))
    if document.get("id"):
        yield f"kept      as run {document['id']}: `deploy receipt {document['id']}`"


def _size(size_bytes: int | None) -> str:
    return _UNKNOWN if size_bytes is None else gib(size_bytes)


def _error(error: float | None) -> str:
    return _UNKNOWN if error is None else f"{100 * error:+.1f} %".rjust(8)


def _share(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"


def _median(metric: Document | None, form: str) -> str:
    return form.format(metric["median"]) if metric else _UNKNOWN
