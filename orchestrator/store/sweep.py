"""Files in blobs/ that no manifest names: an interrupted work's, or a removed model's."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.runtime import proc
from orchestrator.store import tree
from orchestrator.store.manifest import Manifest, blob_name

_YOUNG_S = 3600.0
_RESUMABLE_S = 24 * 3600.0
_BUSY_S = 120.0
_BLOB = re.compile(r"(sha256-[0-9a-f]{64})(-partial.*)?")
# What the server calls the files that it writes an upload, a new layer or a quantization into.
_TEMPORARY = re.compile(
    r"(?:sha256-|split-copy|projector-metadata|compat-tensors|(?:B?F16|F32|MXFP4|I?Q\d\w*))\d{1,20}"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What was removed. `freed_bytes` counts blocks: partial downloads are mostly holes.

    `skipped` says why nothing was removed, or why not all; None: all that was due is gone.
    """

    removed: tuple[str, ...] = ()
    freed_bytes: int = 0
    skipped: str | None = None


class _Unsafe(Exception):
    """What is said for leaving the folder alone."""


def sweep(store: Path, *, now_s: float, server_pid: int | None) -> Swept:
    """Remove what no manifest names and nobody may still want; Store.sweep has the rules."""
    swept = Swept()
    try:
        for path in _due(store, now_s, server_pid):
            swept = _removed(path, swept)
    except _Unsafe as e:
        return replace(swept, skipped=str(e))
    except OSError as e:
        return replace(swept, skipped=f"{e.filename or store}: {e.strerror or e}")
    return swept


def named(store: Path) -> frozenset[str] | None:
    """Return what Store.named returns."""
    try:
        return _named(store)
    except (_Unsafe, OSError):
        return None


def remove_temporary(store: Path) -> Swept:
    """Remove what creates and uploads of a server that is gone were writing, however young."""
    swept, held = Swept(), _held_by_anybody(store / "blobs")
    try:
        for path, told in _entries(store / "blobs"):
            ours = stat.S_ISREG(told.st_mode) and _TEMPORARY.fullmatch(path.name)
            if ours and path.name not in held:
                swept = _removed(path, swept)
    except OSError as e:
        return replace(swept, skipped=f"{e.filename or store}: {e.strerror or e}")
    return swept


def _due(store: Path, now_s: float, server_pid: int | None) -> Iterator[Path]:
    """Yield what may go, and make sure anew before each: a model may be created meanwhile."""
    for path in _old(store / "blobs", now_s):
        named = _named(store)
        _refuse_in_flight(store / "blobs", named, now_s, server_pid)
        if path.name not in named and path in _old(store / "blobs", now_s):
            yield path


def _removed(path: Path, swept: Swept) -> Swept:
    told = path.lstat()
    path.unlink()
    return replace(
        swept,
        removed=(*swept.removed, path.name),
        freed_bytes=swept.freed_bytes + (told.st_blocks * 512 if told.st_nlink == 1 else 0),
    )


def _old(blobs: Path, now_s: float) -> list[Path]:
    """Return the server's own regular files that are old enough, named or not.

    The parts of a download are as old as the youngest of them.
    """
    age_s: dict[str, float] = {}
    kept_s: dict[Path, tuple[str, float]] = {}
    for path, told in _entries(blobs):
        blob = _BLOB.fullmatch(path.name)
        if not stat.S_ISREG(told.st_mode) or not (blob or _TEMPORARY.fullmatch(path.name)):
            continue
        partial = blob is not None and blob[2] is not None
        group = f"{blob[1]}-partial" if blob and partial else path.name
        kept_s[path] = (group, _RESUMABLE_S if partial else _YOUNG_S)
        age_s[group] = min(now_s - told.st_mtime, age_s.get(group, now_s))
    return [path for path, (group, limit_s) in kept_s.items() if age_s[group] >= limit_s]


def _entries(blobs: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in sorted(blobs.iterdir()):
        with suppress(FileNotFoundError):
            yield path, path.lstat()


def _named(store: Path) -> frozenset[str]:
    """Return the file names of all blobs that a manifest names. Raises _Unsafe: not known."""
    folders = sorted(path.name for path in store.glob("manifests*"))
    if folders != ["manifests"]:  # gone, a backup beside it, or a later server's second one
        raise _Unsafe(f"{store} has {folders} for manifests, so nobody knows which blobs are used")
    named: set[str] = set()
    for path in tree.files(store / "manifests", _raise):
        try:
            manifest = Manifest.read(path)
        except FileNotFoundError:
            continue
        except ValueError as e:
            raise _Unsafe(f"the manifest {path} cannot be read, nor what it names ({e})") from e
        named |= {blob_name(each.digest) for each in manifest.layers}
        # Some servers keep the manifest itself as a blob too.
        named.add(f"sha256-{hashlib.sha256(manifest.raw).hexdigest()}")
    return frozenset(named)


def _raise(e: OSError) -> None:
    raise e


def _refuse_in_flight(
    blobs: Path, named: frozenset[str], now_s: float, server_pid: int | None
) -> None:
    """Raise _Unsafe while a pull, an upload or a create goes on."""
    if held := _held_open(blobs, server_pid):
        raise _Unsafe(f"the server has {held} open: a pull or a create is going on")
    for path, told in _entries(blobs):
        # Both ways: a date far ahead is a clock that was wrong once, not work that goes on.
        if path.name not in named and abs(now_s - told.st_mtime) < _BUSY_S:
            raise _Unsafe(f"{path.name} was just written: a pull or a create is going on")


def _held_by_anybody(blobs: Path) -> frozenset[str]:
    """Return the names of files in blobs/ that a process has open, as far as we may look."""
    pids = (int(each.name) for each in proc.PROC.iterdir() if each.name.isdecimal())
    return frozenset(name for pid in pids for name in _open_files(blobs, pid))


def _held_open(blobs: Path, server_pid: int | None) -> str | None:
    """Return the name of a file in blobs/ that the server itself, not a runner, has open."""
    return None if server_pid is None else next(_open_files(blobs, server_pid), None)


def _open_files(blobs: Path, pid: int) -> Iterator[str]:
    """Yield the names of files in blobs/ that a process has open; none where we may not look."""
    folder = blobs.resolve()
    with suppress(OSError):
        for handle in (proc.PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                path = handle.readlink()
                if path.parent == folder:
                    yield path.name
