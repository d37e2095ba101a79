"""`deploy runtime install|rollback|start|stop|status`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from orchestrator import runtime as room
from orchestrator.cli.options import common, rate_option, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.terminal import progress
from orchestrator.errors import InvalidInput, ServerUnreachable
from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.runtime import Binary, embedded
from orchestrator.runtime.binary import releases
from orchestrator.server import Server
from orchestrator.serving import cleared
from orchestrator.store import Store
from orchestrator.units import gb

if TYPE_CHECKING:
    from orchestrator.release import Box, Release
    from orchestrator.runtime import Running

Origin = Literal["auto", "release", "embedded"]


@click.group()
def runtime() -> None:
    """The Ollama server itself: install, roll back, start, stop, inspect."""


@runtime.command()
@click.option(
    "--from",
    "origin",
    type=click.Choice(["auto", "release", "embedded"]),
    default="auto",
    show_default=True,
    help="auto: the release for a GPU.",
)
@click.option("--version", metavar="X.Y.Z", help="This release.")
@click.option("--base-url", metavar="URL", help="Where releases lie: URL/vX.Y.Z/ollama-linux-….")
@click.option("--limit-rate", callback=rate_option, metavar="RATE", help="Of its download: 5MB/s.")
@common
def install(
    origin: Origin,
    version: str | None,
    base_url: str | None,
    limit_rate: int | None,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Install an Ollama into the user's data folder: the official release, or the embedded one.

    The release before stays for `deploy runtime rollback`; the embedded runtime is Linux x86-64 and
    uses the CPU alone. DEPLOY_RUNTIME_URL names another place of the releases.
    """
    from orchestrator.release import Release

    start_log(verbose=verbose, log_format=log_format)
    if origin == "embedded" and (version or base_url or limit_rate):
        raise InvalidInput(
            "--version, --base-url and --limit-rate are for releases",
            hint="drop them, or say --from release",
        )
    release = Release.of(os.environ, version=version, base_url=base_url)
    wish: Origin = "release" if version else origin  # the embedded runtime has one version
    with progress() as screen:
        found = _install(wish, release, limit_rate, screen)
        _tell_who_runs(found, screen)
    document = {**_status(), "installed": str(found.path)}
    emit(document, f"installed {found.path}", as_json=as_json)


@runtime.command()
@common
def rollback(as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Go back to the release that was installed before; repeated, to the newer one again."""
    from orchestrator import release

    start_log(verbose=verbose, log_format=log_format)
    with progress() as screen:
        found = release.rollback(Home.of(os.environ), screen)
        _tell_who_runs(found, screen)
    document = {**_status(), "installed": str(found.path)}
    emit(document, f"rolled back to {found.path}", as_json=as_json)


@runtime.command()
@click.option("--parallel", type=click.IntRange(1, 256), default=1, show_default=True)
@common
def start(parallel: int, as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Start a server on loopback; one that we started before is left as it is."""
    start_log(verbose=verbose, log_format=log_format)
    home, host = Home.of(os.environ), room.server_host(os.environ)
    binary = room.installed(home, os.environ)
    if binary is None:
        room.refuse_start(host)  # raises whose server answers there
        raise ServerUnreachable(
            "there is no Ollama on this box", hint="install one with `deploy runtime install`"
        )
    anew = room.ours(home, host) is None
    with progress() as screen:
        running = room.start(
            binary,
            home,
            host=host,
            environ=os.environ,
            settings={"OLLAMA_NUM_PARALLEL": str(parallel)},
            report=screen.say,
        )
    if anew:
        cleared(Server(running.host), running.models_path)
    text = f"Ollama at {running.host}, pid {running.pid}, log {running.log}"
    emit({**_status(), "started": True}, text, as_json=as_json)


@runtime.command()
@common
def stop(as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Stop the server that we started, with its runners; never another one."""
    start_log(verbose=verbose, log_format=log_format)
    home, host = Home.of(os.environ), room.server_host(os.environ)
    with progress() as screen:
        if running := room.ours(home, host):
            _warn_of_partials(running, screen)
        stopped = room.stop(home, host=host, report=screen.say)
    lines = [f"stopped the server at {s.host} (pid {s.pid})" for s in stopped.servers]
    lines += [f"ended an orphaned runner (pid {p})" for p in stopped.orphans]
    text = "\n".join(lines) or "no server of ours runs"
    done = [{"host": s.host, "pid": s.pid} for s in stopped.servers]
    emit({**_status(), "stopped": done}, text, as_json=as_json)


@runtime.command()
@common
def status(as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Show the server at OLLAMA_HOST: whose it is, its version, its log."""
    start_log(verbose=verbose, log_format=log_format)
    found = room.status(Home.of(os.environ), os.environ)
    document = {**found.to_json(), **_releases()}
    state = f"Ollama {found.version}" if found.answering else "no answer"
    lines = [f"{found.host}: {state}, {found.owner}"]
    lines += [
        f"{name:<9} {value}"
        for name, value in (
            ("pid", found.pid),
            ("kind", found.kind),
            ("program", found.binary),
            ("models", found.models_path),
            ("log", found.log),
            ("release", document["current"]),
            ("before it", document["previous"]),
            ("orphans", ", ".join(map(str, found.orphans))),
        )
        if value
    ]
    emit(document, "\n".join(lines), as_json=as_json)


def _install(
    origin: Origin, release: "Release", limit_rate: int | None, screen: Progress
) -> Binary:
    from orchestrator.release import first_runtime
    from orchestrator.release import install as install_release
    from orchestrator.transfer import Manners

    home, manners = Home.of(os.environ), Manners(bytes_per_s=limit_rate)
    if origin == "embedded":
        return embedded.install(home, report=screen.say, progress=screen.advance)
    screen.say("looking at this machine")
    if origin == "release":
        return install_release(release, _box(), home, screen, manners=manners)
    return first_runtime(_box(), home, os.environ, screen, release=release, manners=manners)


def _box() -> "Box":
    """Return this box, with its GPUs as a server that we start would see them."""
    from orchestrator.probe.settings import settings_of
    from orchestrator.release import Box
    from orchestrator.survey import look

    machine = look(os.environ).machine
    state = replace(machine.server, settings=settings_of(os.environ))
    return Box.of(replace(machine, server=state))


def _status() -> dict[str, Any]:
    """Return the status document, with our releases beside it."""
    return {**room.status(Home.of(os.environ), os.environ).to_json(), **_releases()}


def _releases() -> dict[str, str | None]:
    meant = releases(Home.of(os.environ))
    return {"current": meant.current, "previous": meant.previous}


def _tell_who_runs(found: Binary, screen: Progress) -> None:
    """Say what `start` will take, and which servers of ours run another program."""
    from orchestrator.release.switching import servers

    home = Home.of(os.environ)
    first = room.installed(home, os.environ)
    if first and first.path != found.path:
        screen.say(f"warning: `deploy runtime start` takes {first.path}, which goes before it")
        return
    for running in servers(home):
        if Path(running.binary) != found.path:
            screen.say(
                f"the server at {running.host} still runs {running.binary}:"
                " `deploy runtime stop && deploy runtime start` takes the new one"
            )
            _warn_of_partials(running, screen)


def _warn_of_partials(running: "Running", screen: Progress) -> None:
    """Say which downloads of that server are interrupted: a start without NOPRUNE ends them."""
    store = Store.at(running.models_path)
    partials = store.partials() if store else ()
    if not partials:
        return
    total, done = (sum(sizes) for sizes in zip(*partials, strict=True))
    screen.say(
        f"warning: {gb(done)} of {gb(total)} of interrupted downloads lie in {running.models_path}:"
        " `deploy runtime start` keeps them; a server that starts there without OLLAMA_NOPRUNE=1"
        " deletes them"
    )
