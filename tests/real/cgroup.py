"""A real control group with a memory limit; whoever may not make one fails, for CI counts on it."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_S = 10


@dataclass(frozen=True, slots=True)
class LimitedGroup:
    """The folder of a group. Whoever joins it shares its limit."""

    folder: Path

    def inside(self, command: Sequence[str | Path]) -> list[str]:
        """Return the command that first moves itself into the group."""
        join = 'echo $$ > "$0" && exec "$@"'
        return ["sh", "-c", join, f"{self.folder / 'cgroup.procs'}", *map(str, command)]


@contextlib.contextmanager
def limited_group(limit_bytes: int) -> Iterator[LimitedGroup]:
    """Make a group below the top of the tree that has the memory controller; removed after.

    Raises OSError: no such tree, or it is not ours to write.
    """
    top, limit = _memory_tree()
    folder = top / f"deploy-test-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    try:
        (folder / limit).write_text(f"{limit_bytes}\n")
        yield LimitedGroup(folder)
    finally:
        _remove(folder)


def _memory_tree() -> tuple[Path, str]:
    """Return the top of the tree with the memory controller, and what its limit's file is named."""
    unified: list[Path] = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            return Path(point), "memory.limit_in_bytes"
        if kind == "cgroup2":
            unified.append(Path(point))
    for top in unified:
        if "memory" in (top / "cgroup.controllers").read_text().split():
            # Groups below have its files only once the top hands the controller down.
            (top / "cgroup.subtree_control").write_text("+memory\n")
            return top, "memory.max"
    raise OSError("the kernel has no memory controller here")


def _remove(folder: Path) -> None:
    """Remove a group as soon as the last process has left it: the kernel takes a moment."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return
