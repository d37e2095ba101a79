"""`deploy bundle load`: a bundle's models onto the server of this box, or into its store.

Where the store is ours to write, its files are written, as the server itself would own them. Else
the server is given them through its API. Where no server answers, its store is filled; with a
runtime in the bundle that is installed, if the box has none, and started.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.bundle import archive as bundles
from orchestrator.bundle import into_store, program, room, through_api
from orchestrator.bundle.archive import Archive
from orchestrator.bundle.outcome import Load, Loaded
from orchestrator.bundle.place import Place
from orchestrator.errors import DiskFull, ServerUnreachable
from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.runtime import disk, installed, refuse_start, start

_LONGEST_S = 12 * 3600.0


def load(
    file: Path,
    home: Home,
    environ: Mapping[str, str],
    progress: Progress,
    *,
    through_the_api: bool = False,
    force: bool = False,
) -> Load:
    """Load every model of a bundle. May be killed at any instant and run again.

    Raises InvalidInput: no bundle, a hostile one, or a name that stands for another model (unless
    `force`); SourceCorrupt, DiskFull, PullFailed, ServerRefused, ServerUnreachable, Busy.
    """
    with bundles.opened(file) as archive, turn(home, progress):
        place = Place.at(home, environ)
        writes = None if through_the_api else place.to_write()
        work = _Work(archive, place, writes, force, through_the_api)
        runtime = None if place.answers else _prepared(work, home, environ, progress)
        models = work.models(progress) if writes or place.answers else None
        started = not place.answers and archive.index.runtime is not None
        if started:
            _start(place, home, environ, progress)
        return Load(
            file=file,
            way="store" if writes else "api",
            server_host=place.server.host,
            answers=place.answers or started,
            store=writes or place.folder,
            models=tuple(work.models(progress) if models is None else models),
            runtime=runtime,
            started=started,
        )


def turn(home: Home, progress: Progress) -> AbstractContextManager[None]:
    """Hold the lock of everything that puts bundles into a store, during the block."""
    return disk.locked(
        home.state / "bundle-load.lock",
        what="another load of a bundle",
        limit_s=_LONGEST_S,
        report=progress.tick,
        failure=DiskFull,
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """A bundle and where it goes; `writes` is the store whose files are written, else the API.

    `asked`: the API is what was asked for.
    """

    archive: Archive
    place: Place
    writes: Path | None
    force: bool
    asked: bool

    def models(self, progress: Progress) -> list[Loaded]:
        """Load all models."""
        archive, force = self.archive, self.force
        wanted = archive.index.models
        if self.writes:
            done = into_store.load(archive, wanted, self.writes, progress, force=force)
            self.place.confirm({model.name: model.digest for model in wanted})
            return done
        return through_api.load(archive, wanted, self.place, progress, force=force)


def _prepared(
    work: _Work, home: Home, environ: Mapping[str, str], progress: Progress
) -> Path | None:
    """Make sure that a server can be started, before the large files move.

    Returns the program if it was installed now. Raises ServerUnreachable: neither a server, nor a
    runtime in the bundle, nor a store that we may write.
    """
    told = work.archive.index.runtime
    if told is None:
        if work.writes is None:
            owner = "" if work.asked else ", or run this as the store's owner"
            why = "--through-api needs one" if work.asked else "the store is not ours to write"
            raise ServerUnreachable(
                f"no Ollama server answers at {work.place.server.host}, and {why}",
                hint=f"start one with `deploy runtime start`{owner}",
            )
        return None
    refuse_start(work.place.server.host)
    if installed(home, environ):
        return None
    program.refuse(told)
    _check_room(work, home)
    progress.say(f"no Ollama on this box: installing the one of the bundle ({told.version})")
    return program.install(work.archive, told, home, progress).path


def _check_room(work: _Work, home: Home) -> None:
    """Check the disk of the store and that of the runtime, which most often are one."""
    if work.writes is None:
        return
    models = into_store.missing_bytes(work.archive.index.models, work.writes)
    devices = {disk.existing(path).stat().st_dev for path in (work.writes, home.runtimes)}
    shared = program.size_bytes(work.archive) if len(devices) == 1 else 0
    room.check(work.writes, models + shared)


def _start(place: Place, home: Home, environ: Mapping[str, str], progress: Progress) -> None:
    binary = installed(home, environ)
    if binary is None:
        raise ServerUnreachable(
            "the runtime of the bundle is of another build than this deploy starts",
            hint="make the bundle with the same version of deploy as here",
        )
    start(
        binary,
        home,
        host=place.server.host,
        environ=environ,
        settings={"OLLAMA_NUM_PARALLEL": "1"},
        report=progress.say,
    )
