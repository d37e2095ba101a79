"""How a bundle, and what became of it, look to a person."""

from orchestrator.bundle.create import Created
from orchestrator.bundle.outcome import Load, Loaded
from orchestrator.cli.render import table
from orchestrator.errors import one_line
from orchestrator.units import gb


def created(done: Created) -> str:
    """Return what a bundle holds."""
    index = done.index
    rows = [
        (m.name, gb(m.size_bytes), m.digest[:12], ", ".join(map(one_line, m.licences)) or "none")
        for m in index.models
    ]
    runtime = index.runtime
    told = f"{runtime.kind} {runtime.version}, {runtime.platform}" if runtime else "none"
    return "\n".join(
        (
            f"bundle    {done.file}, {gb(done.size_bytes)}",
            f"made      {one_line(index.created_at)} by deploy {one_line(index.deploy_version)}",
            f"runtime   {one_line(told)}",
            "",
            table(rows, ("model", "size", "digest", "licences")),
        )
    )


def loaded(done: Load) -> str:
    """Return what is there now, and by which way."""
    way = "its API" if done.way == "api" else f"its store {done.store}"
    lines = [f"loaded    {done.file}, through {way}", *map(_model, done.models)]
    lines += [f"note      {model.name}: {note}" for model in done.models for note in model.notes]
    if done.runtime:
        lines.append(f"runtime   {done.runtime}")
    lines.append(f"server    {_server(done)}")
    return "\n".join(lines)


def _model(model: Loaded) -> str:
    parts = [f"{gb(model.written_bytes)} written"] if model.written_bytes else []
    there = f"{gb(model.checked_bytes)} there before, verified in the store"
    parts += [f"{there}, not read in the bundle"] if model.checked_bytes else []
    return f"model     {model.name} {model.digest[:12]}: {', '.join(parts) or 'as it was'}"


def _server(done: Load) -> str:
    if done.started:
        return f"{done.server_host}, started now"
    if done.answers:
        return f"{done.server_host} has them now"
    return "none answers: start one with `deploy runtime start`, and it has them"
