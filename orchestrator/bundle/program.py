"""The Ollama program as a part of a bundle: what is taken along, and how it is installed.

A release is bin/ollama with lib/ollama beside it; the embedded runtime is one folder of files.
"""

import hashlib
import os
import platform
import re
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.bundle import room
from orchestrator.bundle.archive import Archive
from orchestrator.bundle.index import BundledRuntime, Member
from orchestrator.errors import InvalidInput, PullFailed
from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.runtime import embedded, installed
from orchestrator.runtime.binary import (
    Binary,
    Releases,
    embedded_at,
    release_at,
    release_folder,
    releases,
    write_release_marker,
    write_releases,
)
from orchestrator.runtime.scratch import scratch, turn
from orchestrator.runtime.trying import said_by

_MARKER = "runtime.json"
_OTHER = "install one that runs with `deploy runtime install`, or leave --with-runtime out"
_HOME_HINT = "free space there, or set DEPLOY_HOME to a folder on another disk"


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """What goes into a bundle: the members by their files, and what the index says of them."""

    runtime: BundledRuntime
    files: dict[Path, Member]


def here() -> str:
    """Return what a runtime is made for, as "Linux-x86_64"."""
    return f"{platform.system()}-{platform.machine()}"


def taken(home: Home, environ: Mapping[str, str], progress: Progress) -> Program:
    """Return the program that would be started here. Raises InvalidInput: there is none."""
    binary = installed(home, environ)
    if binary is None:
        raise InvalidInput(
            "there is no Ollama on this box that could be bundled",
            hint="install one with `deploy runtime install`, or leave --with-runtime out",
        )
    program = binary.path.resolve()
    root = program.parent if binary.kind == "embedded" else program.parent.parent
    try:
        with progress.waiting(f"reading the runtime in {root}"):
            files, links = _tree(binary, root)
            members = {path: _member(path, root) for path in files}
    except OSError as e:
        what = f"cannot read the runtime {e.filename or root}: {e.strerror or e}"
        raise InvalidInput(what, hint="run this as a user who can read it") from e
    told = BundledRuntime(kind=binary.kind, version=_version(binary), platform=here(), links=links)
    return Program(runtime=told, files=members)


def _tree(binary: Binary, root: Path) -> tuple[list[Path], dict[str, str]]:
    """Return the files, and the names that are links to one beside them."""
    folders = [root] if binary.kind == "embedded" else [root / "lib" / "ollama"]
    found = sorted(path for folder in folders for path in folder.rglob("*"))
    if binary.kind != "embedded":
        found.insert(0, binary.path.resolve())
    files, links = [], {}
    for path in found:
        if path.is_symlink() and path.is_file():
            target = path.resolve()
            # An admin's own link to elsewhere becomes a file; a chain of links, one link.
            if target.parent == path.parent:
                links[str(path.relative_to(root))] = target.name
                continue
        if path.is_file() and not (
            path.parent == root and path.name == _MARKER and binary.kind != "embedded"
        ):
            files.append(path)
    return files, links


def _member(path: Path, root: Path) -> Member:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Member(
        path=str(PurePosixPath("runtime", path.relative_to(root))),
        size_bytes=path.stat().st_size,
        sha256=digest,
        executable=os.access(path, os.X_OK),
    )


def _version(binary: Binary) -> str:
    """Return the version that the program itself states; it is asked for nothing else."""
    library = {"LD_LIBRARY_PATH": str(binary.library_path)} if binary.library_path else {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            said = said_by([binary.path, "--version"], Path(folder), hint=_OTHER, **library)
        except PullFailed as e:
            what = f"{binary.path} does not run here, so it is not bundled: {e.what}"
            raise InvalidInput(what, hint=_OTHER) from e
    found = re.search(r"version is v?([0-9A-Za-z][0-9A-Za-z.+-]{0,63})", said)
    if found is None:
        raise InvalidInput(f"{binary.path} does not say its version: {said.strip()[-200:]}")
    return found[1]


def refuse(told: BundledRuntime) -> None:
    """Raise PullFailed if that runtime cannot run on this box."""
    why = None if told.platform == here() else f"it is for {told.platform}, and this is {here()}"
    if told.kind == "embedded":
        why = why or embedded.refusal()
    if why:
        raise PullFailed(
            f"the runtime of the bundle does not run here: {why}",
            hint="make the bundle on a box like this one, or install Ollama's official release",
        )


def size_bytes(archive: Archive) -> int:
    """Return the bytes that an installation takes."""
    return sum(member.size_bytes for member in archive.index.of("runtime"))


def install(archive: Archive, told: BundledRuntime, home: Home, progress: Progress) -> Binary:
    """Install the runtime of a bundle below home.runtimes, by one rename, and return it.

    May be killed at any instant and run again. Raises SourceCorrupt, DiskFull, PullFailed, Busy.
    """
    refuse(told)
    needed = size_bytes(archive)
    with ExitStack() as held:
        held.enter_context(turn(home, progress.say))
        held.enter_context(room.mapped(home.runtimes, needed, PullFailed, _HOME_HINT))
        room.check(home.runtimes, needed, _HOME_HINT)
        beside = held.enter_context(scratch(home))
        _unpack(archive, told, beside / "made", progress)
        return _put(told, beside / "made", beside, home)


def _unpack(archive: Archive, told: BundledRuntime, made: Path, progress: Progress) -> None:
    """Write every file under a name that the index was checked for; never what a header says."""
    made.mkdir()
    done, total = 0, size_bytes(archive)
    for member in archive.index.of("runtime"):
        path = made / member.path.removeprefix("runtime/")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb", buffering=0) as file:
            for chunk in archive.chunks(member):
                file.write(chunk)
                done += len(chunk)
                progress.advance("runtime", done, total)
            os.fchmod(file.fileno(), 0o755 if member.executable else 0o644)
            os.fsync(file.fileno())
    for name, target in told.links.items():
        (made / name).symlink_to(target)


def _put(told: BundledRuntime, made: Path, scratch: Path, home: Home) -> Binary:
    if told.kind == "release":
        write_release_marker(made, told.version)
        folder = release_folder(home, told.version)
    else:
        folder = home.runtimes / f"embedded-{_build(made)}"
    if folder.exists():  # damaged: a whole one would have been found
        folder.rename(scratch / "old")
    made.rename(folder)
    if told.kind == "embedded":
        return embedded_at(folder)
    if releases(home).current != folder.name:
        write_releases(home, Releases(current=folder.name, previous=releases(home).current))
    return release_at(folder)


def _build(made: Path) -> str:
    """Return the build that the marker of an embedded runtime names. Raises InvalidInput."""
    import json

    try:
        version = str(json.loads((made / _MARKER).read_bytes())["wheels"][0]["version"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as e:
        raise InvalidInput("the runtime of the bundle does not say which build it is") from e
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,63}", version):
        raise InvalidInput(f"the runtime of the bundle is of the build {version[:80]!r}")
    return version
