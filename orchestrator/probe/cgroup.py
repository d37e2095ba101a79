"""The control groups that bind a process: version 1, version 2, hybrids, and inside containers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.runtime.proc import read_text


@dataclass(frozen=True, slots=True)
class Group:
    """One folder of a control group tree."""

    folder: Path
    version: Literal[1, 2]

    def number(self, name: str) -> int | None:
        """Return the integer in a file of the group; None: no such file, or "max"."""
        text = read_text(self.folder / name).strip()
        return int(text) if text.lstrip("-").isdigit() else None

    def table(self, name: str) -> dict[str, int]:
        """Return a file of "key value" lines such as memory.stat; {} where there is none."""
        rows = (line.split() for line in read_text(self.folder / name).splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def lineage(controller: str, pid: int | None, root: Path) -> tuple[Group, ...]:
    """Return the group of a process (None: ours) and its ancestors, innermost first.

    A limit may stand at any of them. In a container the path in /proc/PID/cgroup is often the
    host's and does not exist below the mount: then the mount's own root is the group. () where
    the kernel has no such controller, or the process is gone.
    """
    proc = root / "proc"
    paths = _paths(read_text(proc / str(pid or "self") / "cgroup"))
    mounts = list(_mounts(read_text(proc / "self" / "mountinfo")))
    for mounted, point, controllers in mounts:
        if controllers and controller in controllers and controller in paths:
            folders = _upwards(root / point.lstrip("/"), mounted, paths[controller])
            return tuple(Group(folder, 1) for folder in folders)
    for mounted, point, controllers in mounts:
        if controllers is None and "" in paths:
            folders = _upwards(root / point.lstrip("/"), mounted, paths[""])
            return tuple(Group(folder, 2) for folder in folders)
    return ()


def _paths(text: str) -> dict[str, str]:
    """Return the path of each controller; the unified tree's under ""."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _mounts(text: str) -> Iterator[tuple[str, str, list[str] | None]]:
    """Yield (root inside the tree, mount point, controllers or None for the unified tree)."""
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields, kind = head.split(), tail.split()
        if len(fields) > 4 and kind and kind[0] in ("cgroup", "cgroup2"):
            controllers = kind[-1].split(",") if kind[0] == "cgroup" else None
            yield fields[3], fields[4], controllers


def _upwards(mount: Path, mounted: str, path: str) -> Iterator[Path]:
    inside = path.removeprefix(mounted) if mounted != "/" else path
    # Folders that are not there limit nothing; the way up ends at the mount in any case.
    folder = mount / inside.lstrip("/")
    while True:
        yield folder
        if folder == mount:
            return
        folder = folder.parent
