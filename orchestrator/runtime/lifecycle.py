"""Start and stop servers of ours, one start or stop at a time a port, and never any other's."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from orchestrator.errors import DiskFull, InvalidInput, ServerUnreachable
from orchestrator.home import Home
from orchestrator.runtime import Report, disk, record
from orchestrator.runtime.address import (
    is_loopback,
    names_everywhere,
    parse_host,
    split_host,
    version_at,
)
from orchestrator.runtime.binary import Binary
from orchestrator.runtime.ending import end, end_orphans
from orchestrator.runtime.launch import Adopted, await_answer, launch
from orchestrator.runtime.listener import listener_pid
from orchestrator.runtime.owner import stranger
from orchestrator.runtime.record import Running, ours

_LOCK_S = 120.0
_FREE_S = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """The servers that were ended, and the pids of runners that had outlived theirs."""

    servers: tuple[Running, ...] = ()
    orphans: tuple[int, ...] = ()


def start(
    binary: Binary,
    home: Home,
    *,
    host: str,
    environ: Mapping[str, str],
    settings: Mapping[str, str] | None = None,
    report: Report,
) -> Running:
    """Start `binary serve` at `host` and return it once it answers; one of ours is returned as is.

    It survives the caller. `settings` are environment variables (OLLAMA_NUM_PARALLEL=2) that win
    over the caller's. Raises InvalidInput: not a loopback address, or an Ollama that is not ours
    answers there; ServerUnreachable: the port is another program's, or the server does not come up
    within 60 s, with its last words; Busy: another start or stop there does not end; DiskFull.
    """
    url = loopback(host)
    with _turn(home, url, report):
        if running := ours(home, url):
            return _again(running, settings or {}, report)
        _refuse_taken(url)
        if left := end_orphans(home, url):
            report(f"ended {len(left)} runners of a server that is gone")
        return launch(binary, home, url, (environ, settings or {}), report)


def stop(home: Home, *, host: str | None = None, report: Report) -> Stopped:
    """Stop our server at `host`, or all of ours, and runners that outlived one. Safe to repeat.

    Raises InvalidInput: the server at `host` is not ours, with whose it is and how to stop it;
    ServerRefused: a process does not end; Busy: another start or stop there does not end.
    """
    url = parse_host(host) if host else None
    servers: list[Running] = []
    for one in [url] if url else _recorded(home):
        if not is_loopback(one):
            _refuse_foreign(one)
            continue
        with _turn(home, one, report):
            running = ours(home, one)
            if running:
                end(running, report)
                servers.append(running)
            record.pid_file(home, one).unlink(missing_ok=True)
        if url and not running:
            _refuse_foreign(url)
    return Stopped(servers=tuple(servers), orphans=end_orphans(home, url))


def refuse_start(host: str) -> None:
    """Raise what `start` would raise before it does anything: said before a runtime is fetched."""
    _refuse_taken(loopback(host))


def loopback(host: str) -> str:
    """Return the URL of an address that only this host can reach. Raises InvalidInput."""
    url = parse_host(host)
    if url.startswith("https:"):
        raise InvalidInput(f"Ollama serves no https: {host}", hint="use http://127.0.0.1:PORT")
    # What was asked for counts, not what parse_host made of it: 0.0.0.0 would be 127.0.0.1.
    if names_everywhere(host) or not is_loopback(url):
        raise InvalidInput(
            f"a server is started on loopback only, not on {host}",
            hint="use 127.0.0.1:PORT; Ollama has no access control, so put a proxy before it",
        )
    _, port = split_host(url)
    return url.partition(f":{port}")[0] + f":{port}"


def _again(running: Running, wanted: Mapping[str, str], report: Report) -> Running:
    other = {k: v for k, v in wanted.items() if k in running.settings and running.settings[k] != v}
    if other:
        names = ", ".join(sorted(other))
        report(f"the server already runs with another {names}; stop it first to change that")
    await_answer(Adopted(running.pid), running, 0, report)
    return running


def _turn(home: Home, url: str, report: Report) -> AbstractContextManager[None]:
    """Hold the lock that starting and stopping take, one a port, during the block."""
    return disk.locked(
        record.pid_file(home, url).with_suffix(".lock"),
        what=f"another start or stop of the server at {url}",
        limit_s=_LOCK_S,
        report=report,
        failure=DiskFull,
    )


def _refuse_taken(url: str) -> None:
    """Raise if somebody holds the port; a server that is just dying lets go of it in a moment."""
    end_at = time.monotonic() + _FREE_S
    while _connects(url):
        version, who = version_at(url), stranger(url)
        if version:
            raise InvalidInput(
                f"an Ollama {version} that deploy did not start already answers at {url}:"
                f" it is {who.whose}",
                hint=f"use it as it is; or set OLLAMA_HOST to a free port; or {who.remedy}",
                pid=who.pid,
            )
        if who.pid is not None or time.monotonic() > end_at:
            raise ServerUnreachable(
                f"port {split_host(url)[1]} is taken by a program that is no Ollama server:"
                f" {who.whose}",
                hint="set OLLAMA_HOST to a free port, for example 127.0.0.1:11435",
                pid=who.pid,
            )
        time.sleep(0.1)


def _connects(url: str) -> bool:
    import socket

    try:
        socket.create_connection(split_host(url), timeout=2).close()
    except TimeoutError:
        return True  # somebody holds the port and does not accept
    except OSError:
        return False
    return True


def _recorded(home: Home) -> list[str]:
    """Return the URLs of all pid files; of a torn one by the port in its name."""
    found: list[str] = []
    for path in sorted(home.state.glob("server-*.json")):
        running = record.read(path)
        port = path.stem.removeprefix("server-")
        if running:
            found.append(running.host)
        elif port.isdecimal():
            found.append(f"http://127.0.0.1:{port}")
    return found


def _refuse_foreign(url: str) -> None:
    """Raise InvalidInput if a server answers there: it is not ours to stop."""
    version = version_at(url)
    if version is None and listener_pid(url) is None:
        return
    who = stranger(url)
    program = f"an Ollama {version}" if version else "no Ollama server"
    raise InvalidInput(
        f"deploy did not start what listens at {url} ({program}): it is {who.whose}",
        hint=who.remedy,
        pid=who.pid,
    )
