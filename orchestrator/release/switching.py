"""Which of our releases is the current one: switched, rolled back, and older ones removed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import InvalidInput
from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.runtime import disk, record
from orchestrator.runtime.binary import (
    Binary,
    Releases,
    embedded_in,
    release_at,
    release_whole,
    releases,
    write_releases,
)
from orchestrator.runtime.record import Running
from orchestrator.runtime.scratch import turn


def switched(home: Home, name: str, progress: Progress) -> Binary:
    """Make that release the current one, keep the one before it, and remove all older ones.

    The caller holds the lock. May be repeated after a kill.
    """
    with disk.mapped(home.runtimes):
        before = releases(home)
        write_releases(home, Releases(current=name, previous=_kept(home, before, name)))
        _prune(home, progress)
    return release_at(home.runtimes / name)


def rolled_back(home: Home, progress: Progress) -> Binary:
    """See orchestrator.release.rollback."""
    with turn(home, progress.say), disk.mapped(home.runtimes):
        meant = releases(home)
        if meant.previous is None or not release_whole(home, meant.previous):
            if meant.current and (embedded := embedded_in(home)):
                write_releases(home, Releases(current=None, previous=meant.current))
                return embedded
            raise InvalidInput(
                "there is no release before this one to go back to",
                hint="install one with `deploy runtime install --from release --version X.Y.Z`",
            )
        write_releases(home, Releases(current=meant.previous, previous=meant.current))
        return release_at(home.runtimes / meant.previous)


def servers(home: Home) -> Iterator[Running]:
    """Yield our servers that live, at any address."""
    for path in sorted(home.state.glob("server-*.json")):
        told = record.read(path)
        running = record.ours(home, told.host) if told else None
        if running:
            yield running


def _kept(home: Home, before: Releases, name: str) -> str | None:
    """Return what a rollback from `name` will return to: of what there was, the last that runs."""
    known = (n for n in (before.current, before.previous) if n and n != name)
    return next((n for n in known if release_whole(home, n)), None)


def _prune(home: Home, progress: Progress) -> None:
    meant = releases(home)
    running = [Path(each.binary) for each in servers(home)]
    for folder in home.runtimes.glob("release-*"):
        if folder.name in {meant.current, meant.previous}:
            continue
        if any(program.is_relative_to(folder) for program in running):
            progress.say(f"{folder.name} stays: a server of ours still runs from it")
            continue
        progress.say(f"removing {folder.name}")
        shutil.rmtree(folder, ignore_errors=True)
