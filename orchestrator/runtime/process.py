"""Start a server, and the front door to stopping one and asking how it is."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import DeployError, InvalidInput, ServerUnreachable
from orchestrator.home import Home
from orchestrator.runtime import disk, lock, record
from orchestrator.runtime.address import (
    is_loopback,
    names_everywhere,
    parse_host,
    split_host,
    version_at,
)
from orchestrator.runtime.binary import Binary
from orchestrator.runtime.ending import CHILDREN, LOCK_S, Stopped, end, lock_file, stop
from orchestrator.runtime.environment import models_path, server_environment, shown_settings
from orchestrator.runtime.listener import listener_pid
from orchestrator.runtime.orphan import end_orphans
from orchestrator.runtime.owner import stranger
from orchestrator.runtime.record import Running, ours
from orchestrator.runtime.state import RuntimeStatus, status
from orchestrator.units import MIB

__all__ = ["Running", "RuntimeStatus", "Stopped", "ours", "start", "status", "stop"]

Report = Callable[[str], None]
_READY_S = 60.0
_FREE_S = 3.0
_TELL_S = 3.0
_LOG_BYTES = 20 * MIB
_QUOTED = 4  # lines of the log in an error


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
    with (
        disk.mapped(home.state, ServerUnreachable),
        lock.held(
            lock_file(home, url),
            what=f"another start or stop of the server at {url}",
            limit_s=LOCK_S,
            report=report,
        ),
    ):
        if running := ours(home, url):
            return _again(running, settings or {}, report)
        _refuse_taken(home, url)
        if left := end_orphans(home, url):
            report(f"ended {len(left)} runners of a server that is gone")
        return _launch(binary, home, url, (environ, settings or {}), report)


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
    process = _Adopted(running.pid)
    _await(process, running, 0, report)
    return running


class _Adopted:
    """A server that another process has started; like Popen, as far as waiting goes."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        import psutil

        try:
            return None if record.alive(psutil.Process(self.pid)) else -1
        except psutil.Error:
            return -1


def _refuse_taken(home: Home, url: str) -> None:
    """Raise if somebody holds the port; a server that is just dying lets go of it in a moment."""
    end_at = time.monotonic() + _FREE_S
    while _connects(url):
        version, who = version_at(url), stranger(home, url)
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


def _launch(
    binary: Binary,
    home: Home,
    url: str,
    wishes: tuple[Mapping[str, str], Mapping[str, str]],
    report: Report,
) -> Running:
    environ, settings = wishes
    mark = record.new_mark(home, url)
    env = server_environment(binary, home, url=url, environ=environ, settings=settings, mark=mark)
    log = home.state / f"server-{split_host(url)[1]}.log"
    offset = _rotate(log)
    path = record.pid_file(home, url)
    running = Running(
        host=url,
        pid=0,
        pgid=0,
        create_time=0,
        kind=binary.kind,
        binary=str(binary.path),
        log=str(log),
        models_path=models_path(env),
        settings=shown_settings(env),
        mark=mark,
    )
    record.write(path, running)
    try:
        running, child = _spawn(binary, log, env, running)
        record.write(path, running)
        _await(child, running, offset, report)
    except BaseException:
        with suppress(DeployError):
            if found := ours(home, url):
                end(found, report)
        path.unlink(missing_ok=True)
        raise
    report(f"the server answers at {url} (pid {running.pid})")
    return running


def _spawn(
    binary: Binary, log: Path, env: Mapping[str, str], running: Running
) -> tuple[Running, "subprocess.Popen[bytes]"]:
    import psutil

    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
        try:
            child = subprocess.Popen(
                [binary.path, "serve"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=env,
                cwd="/",  # it outlives us and must not keep the caller's folder busy
                start_new_session=True,
            )
        except OSError as e:
            raise ServerUnreachable(
                f"cannot start {binary.path}: {e.strerror or e}",
                hint="install a runtime with `deploy runtime install`",
            ) from e
    CHILDREN[child.pid] = child
    with suppress(psutil.Error):  # it may be dead already, which _await tells
        started = psutil.Process(child.pid).create_time()
        running = replace(running, create_time=started)
    return replace(running, pid=child.pid, pgid=child.pid), child


def _await(
    child: "subprocess.Popen[bytes] | _Adopted", running: Running, offset: int, report: Report
) -> None:
    """Wait until the server answers. Raises ServerUnreachable: it died, or took over 60 s."""
    begun = told = time.monotonic()
    while True:
        answers = version_at(running.host, limit_s=1.0)
        if (code := child.poll()) is not None:
            raise _died(running, code, offset)
        if answers and listener_pid(running.host) in {None, running.pid}:
            return
        now = time.monotonic()
        if now - begun > _READY_S:
            raise ServerUnreachable(
                f"the server (pid {running.pid}) did not answer at {running.host} within"
                f" {_READY_S:.0f} s{_last_words(Path(running.log), offset)}",
                hint=f"read {running.log}; `deploy runtime stop` ends it",
            )
        if now - told > _TELL_S:
            report(f"waiting for the server to answer, {now - begun:.0f} s")
            told = now
        time.sleep(0.05)


def _died(running: Running, code: int, offset: int) -> ServerUnreachable:
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return ServerUnreachable(
        f"the server ended while starting ({how}){_last_words(Path(running.log), offset)}",
        hint=f"read {running.log}",
    )


def _last_words(log: Path, offset: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(offset, log.stat().st_size - 8192))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    words = [line.strip()[:300] for line in lines if line.strip()][-_QUOTED:]
    return ": " + " | ".join(words) if words else ", and its log is empty"


def _rotate(log: Path) -> int:
    """Move a log of over 20 MiB aside, over the one before it; return where new lines begin."""
    log.parent.mkdir(parents=True, exist_ok=True)
    size = log.stat().st_size if log.exists() else 0
    if size <= _LOG_BYTES:
        return size
    log.replace(log.with_suffix(".log.1"))
    return 0
