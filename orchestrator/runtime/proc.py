"""Processes as /proc shows them: much is for everyone to read, the rest for their user only.

Where the kernel has no /proc (macOS), psutil is asked. `proc` replays a captured machine.
"""

import contextlib
import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.machine import RuntimeKind
from orchestrator.runtime import pins

PROC = Path("/proc")


def read_text(path: Path | str) -> str:
    """Return a small kernel file as text, "" where it cannot be read."""
    try:
        # Thousands of them a look: no Path of each, and no layer of buffers and newlines.
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def pids(proc: Path = PROC) -> list[int]:
    """Return the pids that we see in their order; [] where the kernel has no /proc."""
    with contextlib.suppress(OSError):
        names = os.listdir(proc)  # noqa: PTH208
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())
    return []


def processes(proc: Path = PROC) -> list[int]:
    """Return all pids that we see, those of programs named like Ollama first."""
    return sorted(pids(proc), key=lambda pid: ("ollama" not in comm(pid, proc), pid))


def comm(pid: int, proc: Path = PROC) -> str:
    """Return the short name of a process, "" where it is gone."""
    return read_text(f"{proc}/{pid}/comm").strip()


def status(pid: int, proc: Path = PROC) -> dict[str, str]:
    """Return the fields of /proc/PID/status: world-readable."""
    rows = (line.partition(":") for line in read_text(f"{proc}/{pid}/status").splitlines())
    return {key: value.strip() for key, _, value in rows}


def contained(pid: int, proc: Path = PROC) -> bool:
    """Say whether a process is numbered anew (a PID namespace) where we are not: in a container."""
    depth = [len(status(p, proc).get("NSpid", "").split()) for p in (pid, os.getpid())]
    return all(depth) and depth[0] != depth[1]


def parent(pid: int, proc: Path = PROC) -> str:
    """Return the pid of a process's parent, "" where it is gone.

    A fifth of what status takes, for whoever asks it of every process.
    """
    text = "\n" + read_text(f"{proc}/{pid}/status")
    return text.partition("\nPPid:")[2].partition("\n")[0].strip()


def command(pid: int, proc: Path = PROC) -> list[str]:
    """Return the command line of a process, [""] where it is gone."""
    return read_text(f"{proc}/{pid}/cmdline").rstrip("\0").split("\0")


def environ(pid: int, proc: Path = PROC) -> dict[str, str] | None:
    """Return the environment that a process was started with; None: not ours to read."""
    with contextlib.suppress(OSError):
        text = (proc / str(pid) / "environ").read_bytes().decode("utf-8", "replace")
        return dict(each.split("=", 1) for each in text.split("\0") if "=" in each)
    told: dict[str, str] | None = _without_proc(pid, proc, "environ")
    return told


def program(pid: int, proc: Path = PROC) -> str | None:
    """Return the path of what a process runs, even if that file was replaced meanwhile."""
    path = command(pid, proc)[0] or _without_proc(pid, proc, "exe")
    with contextlib.suppress(OSError):
        path = os.readlink(proc / str(pid) / "exe")  # noqa: PTH115
    return path.removesuffix(" (deleted)") if path else None


def kind_of(path: str | None) -> RuntimeKind:
    """Return which runtime a program is: ours has a name that no release has."""
    return "embedded" if path and Path(path).name == pins.BINARY else "release"


def account(pid: int, proc: Path = PROC) -> tuple[str | None, str | None]:
    """Return the name and the home of a process's user; of one without an account its number."""
    told = status(pid, proc).get("Uid", "").split()
    numbers: Sequence[str | int] = told or _without_proc(pid, proc, "uids") or []
    if len(numbers) < 2:
        return None, None
    try:
        entry = pwd.getpwuid(int(numbers[1]))
    except KeyError:  # a container's user without an account
        return str(numbers[1]), None
    except (ValueError, OverflowError):  # no line of a kernel's
        return None, None
    return entry.pw_name, entry.pw_dir


def _without_proc(pid: int, proc: Path, fact: str) -> Any:  # noqa: ANN401  # as psutil has it
    """Return what psutil says, where there is no /proc; None: nothing, or not ours to see."""
    if proc.is_dir():
        return None
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        return psutil.Process(pid).as_dict([fact])[fact]
    return None
