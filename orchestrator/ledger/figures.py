"""The figures of a bench run that lists, plots and grades are made of. Pure.

A run is usable as a baseline when it ran to its end on a quiet box and nothing was found against
it; else it is out. What a document does not tell is None.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]
NAMES = (
    "quantization",
    "architecture",
    "server_version",
    "runtime",
    "placement",
    "context",
    "parallel",
    "effort",
    "decode_tps",
    "decode_low",
    "decode_high",
    "prefill_tps",
    "ttft_s",
    "load_s",
    "resident_bytes",
    "vram_bytes",
    "promised_resident_bytes",
    "promised_vram_bytes",
    "promised_decode_tps",
    "verdict",
    "comparison",
    "noisy",
)
_OF_THE_DOCUMENT = NAMES[:8]
_QUIET_SHARE = 0.6  # the bench's own: with fewer quiet samples it says nothing about speed
_LIKELY = 1  # of low, likely, high
_SLOWER = {"regressed", "suspected"}


def figures(bench: Document) -> dict[str, Any]:
    """Return the figures of a bench document, without what the ledger has columns for.

    Rates are medians with their confidence interval; `vram_bytes` is of all devices together.
    `noisy`: less than 60 % of the samples that count were quiet, of all or of the main shape.
    """
    found = {name: bench.get(name) for name in _OF_THE_DOCUMENT}
    likely = _at(bench, "promised", "decode_tps")
    return {
        **found,
        "decode_tps": _at(bench, "metrics", "decode_tps", "median"),
        "decode_low": _at(bench, "metrics", "decode_tps", "ci_low"),
        "decode_high": _at(bench, "metrics", "decode_tps", "ci_high"),
        "prefill_tps": _at(bench, "metrics", "prefill_tps", "median"),
        "ttft_s": _at(bench, "metrics", "ttft_s", "median"),
        "load_s": _at(bench, "metrics", "load_s", "median"),
        "resident_bytes": _at(bench, "memory", "resident_bytes"),
        "vram_bytes": _together(_planned(bench)),
        "promised_resident_bytes": _at(bench, "promised", "resident_bytes"),
        "promised_vram_bytes": _together(_at(bench, "promised", "devices")),
        "promised_decode_tps": likely[_LIKELY] if likely else None,
        "verdict": _at(bench, "verdict", "outcome"),
        "comparison": _at(bench, "comparison", "outcome"),
        "noisy": _noisy(bench),
    }


def unusable(bench: Document, of: Document) -> str | None:
    """Return why a run with the figures `of` is in no baseline by itself; None: it is in one."""
    slower = of["comparison"] in _SLOWER
    return unfit(bench, of) or (f"its comparison says {of['comparison']}" if slower else None)


def unfit(bench: Document, of: Document) -> str | None:
    """Return why a run tells nothing of speed, so that nobody can make it the baseline either."""
    reasons = (
        (of["effort"] == "validate", "it is the few samples that follow a deployment's load"),
        (not bench.get("key"), "it was measured by an older deploy, so it has no key"),
        (of["verdict"] == "inconclusive", "its verdict is inconclusive"),
        (bench.get("stopped") != "complete", "it did not run to its end"),
        (of["noisy"] is None, "none of its samples counts"),
        (of["noisy"], "the box was noisy"),
        (of["comparison"] == "inconclusive", "its comparison says inconclusive"),
    )
    return next((why for holds, why in reasons if holds), None)


def _noisy(bench: Document) -> bool | None:
    counting = [s for s in _mappings(bench.get("samples")) if s.get("outcome") == "ok"]
    main = (_at(bench, "prompt", "tokens"), bench.get("generate_tokens"))
    of_main = [s for s in counting if (s.get("want_prompt_tokens"), s.get("want_tokens")) == main]
    if not counting:
        return None
    return any(
        sum(not s.get("noisy") for s in samples) < _QUIET_SHARE * len(samples)
        for samples in (counting, of_main)
    )


def _planned(bench: Document) -> list[Document]:
    """Return what was measured on the devices that were planned for: others are not the model's."""
    measured = list(_mappings(_at(bench, "memory", "devices")))
    wanted = {d.get("index") for d in _mappings(_at(bench, "promised", "devices"))}
    return [d for d in measured if d.get("index") in wanted] if wanted else measured


def _together(devices: object) -> int | None:
    """Return the bytes of all devices; None: there are none, or one is unknown."""
    sizes = [d.get("bytes") for d in _mappings(devices)]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _mappings(values: object) -> Iterator[Document]:
    if isinstance(values, list | tuple):
        yield from (value for value in values if isinstance(value, Mapping))


def _at(document: object, *path: str) -> Any:  # noqa: ANN401 - JSON
    """Return what stands at the end of a path of keys; None: the path ends before."""
    for key in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document
