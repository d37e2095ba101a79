"""How a rehearsal looks to a person: promised, measured, and the signed error between them."""

from collections.abc import Mapping
from typing import Any

from orchestrator.units import duration, gb, gib


def rehearsal(document: Mapping[str, Any]) -> str:
    """Return the lines that follow a plan or a deployment."""
    planned, found, verdict = document["planned"], document["measured"], document["verdict"]
    weights = document["weights_bytes"]
    wrote = f"{gb(document['file_bytes'])} written in {duration(document['write_s'])}"
    lines = [f"rehearsed {document['tag']}, as a stand-in at {document['at']}: {wrote}"]
    if weights["planned"] != weights["written"]:
        planned_size, size = gib(weights["planned"]), gib(weights["written"])
        lines.append(f"  weights   planned {planned_size}, the stand-in has {size}")
    if found:
        lines += _memory(verdict)
        lines += [_rate("decode", planned["decode_tps"], found["decode_tps"])]
        lines += [_rate("prefill", planned["prefill_tps"], found["prefill_tps"])]
        lines.append(f"  load      {duration(found['load_s'] or 0)}")
    notes = [f"{c['name']}: {c['detail']}" for c in verdict["checks"] if c["detail"]]
    said = f" ({'; '.join(notes)})" if notes else ""
    return "\n" + "\n".join([*lines, f"  verdict   {verdict['outcome']}{said}"])


def _memory(verdict: Mapping[str, Any]) -> list[str]:
    lines = []
    for check in verdict["checks"]:
        if check["name"].startswith("memory") and check["measured"]:
            label = check["name"].removeprefix("memory of ").ljust(9)
            error = "" if check["error"] is None else f" ({100 * check['error']:+.1f} %)"
            promised, measured = gib(check["estimated"]), gib(check["measured"])
            lines.append(f"  {label} promised {promised}, measured {measured}{error}")
    return lines


def _rate(name: str, promised: float | None, measured: float | None) -> str:
    if not measured:
        return f"  {name:<9} no sample counts"
    told = f"promised about {promised:.1f}, " if promised else ""
    error = f" ({100 * (measured - promised) / measured:+.0f} %)" if promised else ""
    return f"  {name:<9} {told}measured {measured:.1f} tokens/s{error}"
