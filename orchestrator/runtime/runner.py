"""Runners: the processes that a server starts, each to hold one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath

from orchestrator.runtime.proc import PROC, command, parent, pids, status
from orchestrator.units import KIB

# The long names are `ollama runner`'s, up to 0.24; the short ones `llama-server`'s, since then.
_CONTEXT = ("--ctx-size", "-c")
_PARALLEL = ("--parallel", "-np")
_GPU_LAYERS = ("--n-gpu-layers", "-ngl")
_THREADS = ("--threads", "-t")
_CACHE_TYPE = ("--kv-cache-type", "--cache-type-k", "-ctk")
_FLASH = ("--flash-attn", "-fa")
# `llama-server` decides on "auto"; the flag alone, as `ollama runner` has it, means on.
_SWITCH = {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """A process that holds a model. Sizes in bytes; `blob` is its model file's digest.

    `context_total` counts the tokens of all its `parallel` slots together, `gpu_layers` the layers
    that it was told to put on a GPU, `kv_cache_type` the type of the keys. None: its command line
    does not say, and it chose itself.
    """

    pid: int
    rss_bytes: int | None
    peak_rss_bytes: int | None
    model_path: str
    context_total: int | None = None
    parallel: int | None = None
    gpu_layers: int | None = None
    threads: int | None = None
    kv_cache_type: str | None = None
    flash_attention: bool | None = None

    @property
    def blob(self) -> str | None:
        """The blob's digest as registries write it, None for a file outside of a store."""
        name = Path(self.model_path).name
        return name.replace("-", ":", 1) if name.startswith("sha256-") else None

    @property
    def context(self) -> int | None:
        """The tokens of one slot: what a request may use, and what num_ctx asked for."""
        if self.context_total is None or not self.parallel:
            return None
        return self.context_total // self.parallel


def runners_of(server: int, proc: Path = PROC) -> tuple[Runner, ...]:
    """Return the runners that descend from a server; () where the kernel has no /proc."""
    found = []
    for pid in _descendants(server, {pid: parent(pid, proc) for pid in pids(proc)}):
        arguments = command(pid, proc)
        if model := model_path(arguments):
            facts = status(pid, proc)
            rss, peak = (_bytes(facts.get(name)) for name in ("VmRSS", "VmHWM"))
            found.append(
                Runner(
                    pid=pid,
                    rss_bytes=rss,
                    peak_rss_bytes=peak,
                    model_path=model,
                    context_total=_number(arguments, _CONTEXT),
                    parallel=_number(arguments, _PARALLEL),
                    gpu_layers=_number(arguments, _GPU_LAYERS),
                    threads=_number(arguments, _THREADS),
                    kv_cache_type=_value(arguments, _CACHE_TYPE),
                    flash_attention=_switched(arguments, _FLASH),
                )
            )
    return tuple(found)


def is_runner(arguments: Sequence[str]) -> bool:
    """Say whether that command line is a runner: `ollama runner …` or `llama-server …`."""
    if not arguments:
        return False
    program = PurePath(arguments[0]).name
    return program.startswith("llama-server") or (
        program.startswith("ollama") and "runner" in arguments[1:3]
    )


def model_path(arguments: Sequence[str]) -> str | None:
    """Return the model file that a command line names; None: it is no runner's."""
    # `ollama runner --model …` up to 0.24, `llama-server -m …` since.
    flags = ("--model", "-m") if is_runner(arguments) else ("--model",)
    return _value(arguments, flags)


def _descendants(pid: int, parents: Mapping[int, str]) -> list[int]:
    children = [child for child, parent in parents.items() if parent == str(pid)]
    rest = {child: parent for child, parent in parents.items() if child not in children}
    return children + [each for child in children for each in _descendants(child, rest)]


def _value(arguments: Sequence[str], flags: Sequence[str]) -> str | None:
    """Return what follows one of those flags, or stands behind its "="."""
    for argument, following in pairwise([*arguments, ""]):
        name, equals, value = argument.partition("=")
        if name in flags:
            return (value if equals else following) or None
    return None


def _number(arguments: Sequence[str], flags: Sequence[str]) -> int | None:
    text = _value(arguments, flags) or ""
    # Anybody may start a program under that name: int() refuses thousands of digits.
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _switched(arguments: Sequence[str], flags: Sequence[str]) -> bool | None:
    """Return whether a flag turns something on; None: it is not there, or leaves that open."""
    if not any(argument.partition("=")[0] in flags for argument in arguments):
        return None
    value = (_value(arguments, flags) or "-").lower()
    return True if value.startswith("-") and value != "-1" else _SWITCH.get(value)


def _bytes(text: str | None) -> int | None:
    number = (text or "").split(" ")[0]
    return int(number) * KIB if number.isdecimal() and len(number) < 20 else None
