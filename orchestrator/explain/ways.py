"""How a change is made: flags of deploy, a restart of the server, another tag."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from orchestrator.explain.case import Answer, Case
from orchestrator.explain.changes import Changes
from orchestrator.explain.decided import restart
from orchestrator.model import Candidate

FLASH, CACHE, SLOTS = "OLLAMA_FLASH_ATTENTION", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_NUM_PARALLEL"


def ways(changes: Changes, after: Case, answer: Answer, *, named: bool) -> tuple[str, ...]:
    """Return the commands that make a change; none where it does not fit or is refused.

    `named`: the tag stands in the command, since without it another model would be picked.
    """
    if answer.rejection or library_lacks(changes, after.candidate):
        return ()
    running = after.machine.server.pid is not None
    found = [f"install Ollama {changes.server_version}"] if changes.server_version else []
    variables = _variables(changes, after, answer, running=running)
    if words := " ".join(f"{name}={value}" for name, value in variables.items()):
        found.append(restart(words) if running else f"start the server with {words}")
    flags = list(_flags(changes, after, answer, running=running))
    if flags or changes.quantize:
        tag = [after.candidate.tag] if named or changes.quantize else []
        found.append(" ".join(["deploy auto", *tag, *flags]))
    return tuple(found)


def library_lacks(changes: Changes, candidate: Candidate) -> bool:
    """Say whether the asked quantization is a layout alone: no tag of the library has it."""
    return changes.quantize is not None and candidate.bytes_basis == "layout"


def needs_flash(changes: Changes, after: Case, answer: Answer) -> bool:
    """Say whether the cache is not as asked for want of flash attention that can be switched on."""
    if changes.kv in (None, answer.fit.estimate.load.run.kv_cache_type):
        return False
    switched = replace(after, wishes=replace(after.wishes, flash_attention=True)).answer()
    return switched.fit.estimate.load.run.kv_cache_type == changes.kv


def _flags(changes: Changes, after: Case, answer: Answer, *, running: bool) -> Iterator[str]:
    """Yield flags of `deploy auto`, with what the server will take of them."""
    run = answer.fit.estimate.load.run
    if changes.context is not None:
        yield f"--context {run.context}"
    if changes.parallel == run.parallel and not running:
        yield f"--parallel {run.parallel}"
    if changes.min_tps is not None:
        yield f"--min-tps {changes.min_tps:g}"
    if not after.candidate.commercial_use:
        yield "--allow-licence"


def _variables(
    changes: Changes, after: Case, answer: Answer, *, running: bool
) -> Mapping[str, object]:
    """Return the server's variables that make the change: none that it would ignore."""
    run, found = answer.fit.estimate.load.run, dict[str, object]()
    if running and changes.parallel == run.parallel:
        found[SLOTS] = run.parallel
    if changes.flash is not None and changes.flash is run.flash_attention:
        found[FLASH] = int(changes.flash)
    if missing := needs_flash(changes, after, answer):
        found[FLASH] = 1
    if changes.kv and (missing or changes.kv == run.kv_cache_type):
        found[CACHE] = changes.kv
    return found
