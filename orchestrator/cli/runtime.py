"""`deploy runtime install|start|stop|status`."""

import os
from typing import Any

import click

from orchestrator import runtime as room
from orchestrator.cli.options import common, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.terminal import progress
from orchestrator.errors import ServerUnreachable
from orchestrator.home import Home
from orchestrator.runtime import embedded


@click.group()
def runtime() -> None:
    """The Ollama server itself: install, start, stop, inspect."""


def _status() -> dict[str, Any]:
    return room.status(Home.of(os.environ), os.environ).to_json()


@runtime.command()
@common
def install(as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Install the embedded runtime (Linux x86-64, CPU) into the user's data folder."""
    start_log(verbose=verbose, log_format=log_format)
    with progress() as screen:
        found = embedded.install(Home.of(os.environ), report=screen.say, progress=screen.advance)
    document = {**_status(), "installed": str(found.path)}
    emit(document, f"installed {found.path}", as_json=as_json)


@runtime.command()
@click.option("--parallel", type=click.IntRange(1, 256), default=1, show_default=True)
@common
def start(parallel: int, as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Start a server on loopback; one that we started before is left as it is."""
    start_log(verbose=verbose, log_format=log_format)
    home = Home.of(os.environ)
    binary = room.installed(home, os.environ)
    if binary is None:
        room.refuse_start(room.server_host(os.environ))  # raises whose server answers there
        raise ServerUnreachable(
            "there is no Ollama on this box", hint="install one with `deploy runtime install`"
        )
    with progress() as screen:
        running = room.start(
            binary,
            home,
            host=room.server_host(os.environ),
            environ=os.environ,
            settings={"OLLAMA_NUM_PARALLEL": str(parallel)},
            report=screen.say,
        )
    text = f"Ollama at {running.host}, pid {running.pid}, log {running.log}"
    emit({**_status(), "started": True}, text, as_json=as_json)


@runtime.command()
@common
def stop(as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Stop the server that we started, with its runners; never another one."""
    start_log(verbose=verbose, log_format=log_format)
    with progress() as screen:
        stopped = room.stop(
            Home.of(os.environ), host=room.server_host(os.environ), report=screen.say
        )
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
            ("orphans", ", ".join(map(str, found.orphans))),
        )
        if value
    ]
    emit(found.to_json(), "\n".join(lines), as_json=as_json)
