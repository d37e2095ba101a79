"""The control groups that bind a process: version 1, version 2, hybrids, and inside containers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from orchestrator.probe.sight import Sight, whole

_LONGEST_PATH = 4096  # the kernel's own limit


@dataclass(frozen=True, slots=True)
class Group:
    """One folder of a control group tree."""

    sight: Sight
    folder: str
    version: Literal[1, 2]

    def text(self, name: str) -> str:
        """Return a file of the group, "" where there is none."""
        return self.sight.text(f"{self.folder}/{name}")

    def number(self, name: str) -> int | None:
        """Return the number in a file of the group; None: no such file, or "max"."""
        return whole(self.text(name))

    def table(self, name: str) -> dict[str, int]:
        """Return a file of "key value" lines such as memory.stat; {} where there is none."""
        rows = (line.split() for line in self.text(name).splitlines())
        numbers = ((row[0], whole(row[1])) for row in rows if len(row) == 2)
        return {key: value for key, value in numbers if value is not None and value >= 0}


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted tree: its root as seen from our control group, where it lies, what it controls.

    The unified tree of version 2 is the one with the controller "", as in /proc/PID/cgroup.
    """

    root: str
    point: str
    controllers: tuple[str, ...]


def lineage(controller: str, pid: int | None, sight: Sight) -> tuple[Group, ...]:
    """Return the group of a process (None: ours) and its ancestors, innermost first.

    A limit may stand at any of them. In a container the path in /proc/PID/cgroup is often the
    host's and does not exist below the mount: then the mount's own root is the group. () where
    the kernel has no such controller, or the process is gone.
    """
    paths = _paths(sight.text(f"/proc/{pid or 'self'}/cgroup"))
    mounts = _mounts(sight.text("/proc/self/mountinfo"))
    # On a hybrid the controller may be on either side: version 1 names it, version 2 does not.
    for name in (controller, ""):
        for mount in mounts:
            if name in paths and name in mount.controllers:
                folders = _upwards(mount, paths[name])
                return tuple(Group(sight, folder, 1 if name else 2) for folder in folders)
    return ()


def _paths(text: str) -> dict[str, str]:
    """Return the path of each controller; the unified tree's under ""."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon and len(path) <= _LONGEST_PATH:
            found |= dict.fromkeys(controllers.split(","), path)
    return found


def _mounts(text: str) -> list[_Mount]:
    """Return the mounted trees; of two at one place only the later, which hides the other."""
    found: dict[str, _Mount] = {}
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields, kind = head.split(), tail.split()
        if len(fields) > 4 and kind and kind[0] in ("cgroup", "cgroup2"):
            controllers = ("",) if kind[0] == "cgroup2" else tuple(kind[-1].split(","))
            found[fields[4]] = _Mount(fields[3], fields[4], controllers)
    return list(found.values())


def _upwards(mount: _Mount, path: str) -> Iterator[str]:
    # Folders that are not there limit nothing; the way up ends at the mount in any case.
    inside = _inside(mount.root, path)
    point = mount.point.rstrip("/")
    for depth in range(len(inside), -1, -1):
        yield "/".join((point, *inside[:depth]))


def _inside(mounted: str, path: str) -> tuple[str, ...]:
    """Return the way from a mount's root to a group, () where the group is not below it."""
    above, parts = _parts(mounted), _parts(path)
    # "/../.." is outside of our namespace of control groups: nothing of it can be seen.
    if ".." in above + parts or parts[: len(above)] != above:
        return ()
    return parts[len(above) :]


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part)
