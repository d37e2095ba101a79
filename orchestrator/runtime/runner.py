"""Runners: the processes that a server starts, each to hold one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath

from orchestrator.runtime.proc import PROC, command, processes, status
from orchestrator.units import KIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """A process that holds a model. Sizes in bytes; `blob` is its model file's digest."""

    pid: int
    rss_bytes: int | None
    peak_rss_bytes: int | None
    model_path: str

    @property
    def blob(self) -> str | None:
        """The blob's digest as registries write it, None for a file outside of a store."""
        name = Path(self.model_path).name
        return name.replace("-", ":", 1) if name.startswith("sha256-") else None


def runners_of(server: int, proc: Path = PROC) -> tuple[Runner, ...]:
    """Return the runners that descend from a server; () where the kernel has no /proc."""
    facts = {pid: status(pid, proc) for pid in processes(proc)}
    found = []
    for pid in _descendants(server, {pid: each.get("PPid") for pid, each in facts.items()}):
        if model := _model_path(command(pid, proc)):
            rss, peak = (_bytes(facts[pid].get(name)) for name in ("VmRSS", "VmHWM"))
            found.append(Runner(pid=pid, rss_bytes=rss, peak_rss_bytes=peak, model_path=model))
    return tuple(found)


def is_runner(arguments: Sequence[str]) -> bool:
    """Say whether that command line is a runner: `ollama runner …` or `llama-server …`."""
    if not arguments:
        return False
    program = PurePath(arguments[0]).name
    return program.startswith("llama-server") or (
        program.startswith("ollama") and "runner" in arguments[1:3]
    )


def _descendants(pid: int, parents: Mapping[int, str | None]) -> list[int]:
    children = [child for child, parent in parents.items() if parent == str(pid)]
    rest = {child: parent for child, parent in parents.items() if child not in children}
    return children + [each for child in children for each in _descendants(child, rest)]


def _model_path(arguments: Sequence[str]) -> str | None:
    # `ollama runner --model …` up to 0.24, `llama-server -m …` since.
    flags = {"--model", "-m"} if is_runner(arguments) else {"--model"}
    for argument, following in pairwise([*arguments, ""]):
        if argument in flags:
            return following or None
        if argument.startswith("--model="):
            return argument.removeprefix("--model=")
    return None


def _bytes(text: str | None) -> int | None:
    number = (text or "").split(" ")[0]
    return int(number) * KIB if number.isdecimal() else None
