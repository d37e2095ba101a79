"""Checks of the disk that the server keeps models on."""

from collections.abc import Iterator

from orchestrator.doctor.case import Case
from orchestrator.doctor.check import Check, failed, passed, warned
from orchestrator.machine import Disk, DiskKind
from orchestrator.units import GIB, gib

_LEAST_INODES = 100  # a model takes a manifest, five blobs and their folders
_LEFT_OVER_BYTES = GIB
_FAST: tuple[DiskKind, ...] = ("nvme", "ssd")
_SLOW: tuple[DiskKind, ...] = ("hdd", "network")
_MOVE = (
    "Environment=OLLAMA_MODELS={folder} by `systemctl edit ollama`, or in the server's environment"
)


def store(case: Case) -> Iterator[Check]:
    """Check the model store: room, rights, speed, what was left over."""
    disk = case.machine.disk
    if disk.model_store is None:
        yield warned(
            "disk",
            "where the server keeps its models cannot be seen from here",
            "run deploy where the server runs: as its user, as root, or in its container",
        )
        return
    yield _room(disk, case.smallest_bytes)
    yield from _rights(disk, case)
    yield from _speed(disk)
    if (left := disk.partial_bytes or 0) > _LEFT_OVER_BYTES:
        yield warned(
            "partials",
            f"interrupted downloads hold {gib(left)} in {disk.model_store}",
            "pull those models again: a pull goes on from there; `deploy runbook run refresh` "
            "removes what nobody needs",
        )


def _room(disk: Disk, smallest_bytes: int) -> Check:
    where = f"{disk.model_store} ({', '.join(filter(None, (disk.kind, disk.filesystem)))})"
    where = where.removesuffix(" ()")
    elsewhere = "free space there, or move the store with OLLAMA_MODELS"
    if disk.free_bytes is None:
        return warned("disk", f"the free space at {where} cannot be read", elsewhere)
    shown = f"{gib(disk.free_bytes)} free at {where}"
    if disk.free_bytes < smallest_bytes:
        short = f"{shown}; the smallest model takes {gib(smallest_bytes)}"
        return failed("disk", short, elsewhere)
    if disk.free_inodes is not None and disk.free_inodes < _LEAST_INODES:
        return failed("disk", f"{shown}, but only {disk.free_inodes} inodes", elsewhere)
    return passed("disk", shown)


def _rights(disk: Disk, case: Case) -> Iterator[Check]:
    user = case.machine.server.user or "the server's user"
    if disk.read_only:
        yield failed(
            "store",
            f"the file system of {disk.model_store} is mounted read-only",
            "`dmesg` says why (a disk error?); remount it, or move the store with OLLAMA_MODELS",
        )
    elif case.closed:
        yield failed(
            "store",
            f"the server's user {user} may not write {case.closed}: every pull ends there",
            f"`chown -R {user} {disk.model_store}`",
        )
    elif case.writable is False:
        yield warned(
            "store",
            f"{disk.model_store} is not ours to write: the alias moves by the API, whose readers"
            " may meet a 500 in that instant",
            f"run deploy as {user} or as root",
        )


def _speed(disk: Disk) -> Iterator[Check]:
    faster = [v for v in disk.others if v.kind in _FAST and (v.free_bytes or 0) > 0]
    if disk.kind == "memory":
        yield warned(
            "disk kind",
            f"{disk.model_store} lies in memory ({disk.filesystem}): a model takes its size twice,"
            " and is gone with the next boot",
            "move the store to a disk: " + _MOVE.format(folder="/var/lib/ollama"),
        )
    elif disk.kind in _SLOW and faster:
        best = max(faster, key=lambda volume: volume.free_bytes or 0)
        yield warned(
            "disk kind",
            f"the store lies on {disk.kind}; {best.mount} on {best.kind} has "
            f"{gib(best.free_bytes or 0)} free and loads many times faster",
            _MOVE.format(folder=f"{best.mount.rstrip('/')}/ollama"),
        )
    elif disk.kind in _SLOW:
        yield warned(
            "disk kind",
            f"the store lies on {disk.kind}: a cold load takes minutes",
            "keep the model in memory (keep_alive -1, as deploy does)",
        )
