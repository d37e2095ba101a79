"""Runners that no server owns any more: their server was killed, and they keep its memory.

A server that dies by itself or by SIGKILL leaves its runners behind, with gigabytes of memory that
the next server can neither use nor give back.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from orchestrator.runtime.proc import PROC, account, command, contained, parent, pids
from orchestrator.runtime.runner import is_runner, model_path

_KILL_S = 5.0
# A llama-server that a person started on the same file has other flags: these two Ollama gives.
_OLLAMAS = {"--no-webui", "--offline"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stray:
    """A runner without a server; `user` None: its account cannot be read."""

    pid: int
    model_path: str
    user: str | None


def strays(store: Path | None, proc: Path = PROC) -> tuple[Stray, ...]:
    """Return the runners of models in that store (None: in any) that no living server owns.

    Empty where the kernel has no /proc. Runners of containers, which have a store of their own
    under the same path, are left out.
    """
    found = []
    for pid in pids(proc):
        path = _blob(command(pid, proc))
        if path is None or not _below(path, store) or contained(pid, proc):
            continue
        if not _owned(pid, proc):
            found.append(Stray(pid=pid, model_path=path, user=account(pid, proc)[0]))
    return tuple(found)


def end_strays(store: Path | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Kill them; return the pids that ended and those that are not ours to kill."""
    import psutil

    candidates: dict[int, psutil.Process] = {}
    for stray in strays(store):
        with suppress(psutil.NoSuchProcess):
            candidates[stray.pid] = psutil.Process(stray.pid)
    # A second look, now that psutil knows when each process started: a number that went to another
    # process before that is no stray's any more, and one that goes later psutil does not kill.
    killed, refused = [], []
    for stray in strays(store):
        if process := candidates.get(stray.pid):
            try:
                process.kill()  # nothing to save, and no one to tell it to finish
                killed.append(process)
            except psutil.AccessDenied:
                refused.append(stray.pid)
            except psutil.NoSuchProcess:
                continue
    gone, _ = psutil.wait_procs(killed, timeout=_KILL_S)
    return tuple(sorted(process.pid for process in gone)), tuple(refused)


def _blob(arguments: Sequence[str]) -> str | None:
    """Return the blob that a runner of Ollama's has been given; None: it is none, or has none."""
    if not is_runner(arguments):
        return None
    by_hand = "runner" not in arguments[1:3] and not _OLLAMAS.issubset(arguments)
    path = None if by_hand else model_path(arguments)
    return path if path and PurePath(path).name.startswith("sha256-") else None


def _below(path: str, store: Path | None) -> bool:
    return store is None or Path(path).resolve().parent == (store / "blobs").resolve()


def _owned(pid: int, proc: Path) -> bool:
    """Say whether an Ollama server is among the ancestors.

    The kernel gives the children of a dead process to pid 1 or to another ancestor, so a server
    that was started again, at whatever number, is never one.
    """
    above, passed = parent(pid, proc), {"", "0"}
    while above not in passed and above.isdecimal() and len(above) < 20:
        if {"serve", "start"} & set(command(int(above), proc)[1:]):  # one and the same to Ollama
            return True
        passed.add(above)  # a number that went to another process in between may lead in a circle
        above = parent(int(above), proc)
    return False
