"""How a pull, and what it would do, look to a person."""

from orchestrator.cli.render import table
from orchestrator.pull.forecast import Forecast, Would
from orchestrator.pull.obtain import Obtained
from orchestrator.units import duration, gb

_MUCH_BYTES = 10**6  # less shows as 0 MB


def obtained(got: Obtained) -> str:
    """Return what is there now, where it came from, and who verified it."""
    moved = got.pulled.fetched_bytes
    rate = f" at {gb(moved / got.fetch_s)}/s" if moved >= _MUCH_BYTES and got.fetch_s else ""
    lines = [
        f"model     {got.name}",
        f"source    {got.source}",
        f"moved     {gb(moved)} in {duration(got.seconds)}{rate}"
        if moved
        else "moved     nothing: it was there",
        f"verified  {_verified(got)}",
    ]
    lines += [f"tried     {name}: {what}" for name, what in got.tried]
    return "\n".join(lines)


def _verified(got: Obtained) -> str:
    if got.unseen:
        return f"by the server alone: {got.unseen}"
    size = gb(sum(each.size_bytes for each in got.layers))
    ours = f", {len(got.hashed)} of them hashed here" if got.hashed else ""
    return f"{len(got.layers)} files, {size}{ours}"


def intents(found: Forecast) -> str:
    """Return what each source would do."""
    rows = [_row(each) for each in found.sources]
    text = table(rows, ("source", "from", "name", "files", "whole", "to move", "takes"))
    lines = [f"{each.source}: {each.failure.what}" for each in found.sources if each.failure]
    lines += [each.short for each in found.sources if each.short]
    chosen = found.chosen.intent if found.chosen else None
    lines += [f"note      {note}" for note in (chosen.notes if chosen else ())]
    last = f"would come from {found.chosen.source}" if found.chosen else "no source can deliver it"
    return "\n".join([text, *lines, "", f"{found.model} {last}"])


def _row(would: Would) -> tuple[str, ...]:
    told = would.intent
    if told is None:
        return (would.source, "-", "-", "-", "-", "-", "-")
    return (
        would.source,
        told.host,
        told.name,
        "?" if told.files is None else str(told.files),
        "?" if told.total_bytes is None else gb(told.total_bytes),
        "?" if told.download_bytes is None else gb(told.download_bytes),
        _takes(would),
    )


def _takes(would: Would) -> str:
    if would.intent and would.intent.download_bytes == 0:
        return "nothing to move"
    if would.seconds is None or not would.rate_bytes_per_s:
        return "unknown: no pull from there was large enough to tell"
    return f"{duration(would.seconds)} at {gb(would.rate_bytes_per_s)}/s"
