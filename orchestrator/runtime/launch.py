"""Launch a server: its log, its process, and the wait until it answers."""

import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import DeployError, ServerUnreachable
from orchestrator.home import Home
from orchestrator.runtime import Report, record
from orchestrator.runtime.address import split_host, version_at
from orchestrator.runtime.binary import Binary
from orchestrator.runtime.ending import CHILDREN, end
from orchestrator.runtime.environment import models_path, server_environment, shown_settings
from orchestrator.runtime.listener import listener_pid
from orchestrator.runtime.record import Running, ours
from orchestrator.units import MIB

_READY_S = 60.0
_TELL_S = 3.0
_LOG_BYTES = 20 * MIB
_QUOTED = 4  # lines of the log in an error


class Adopted:
    """A server that another process has started; like Popen, as far as waiting goes."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """Return None while it runs."""
        import psutil

        try:
            return None if record.alive(psutil.Process(self.pid)) else -1
        except psutil.Error:
            return -1


def launch(
    binary: Binary,
    home: Home,
    url: str,
    wishes: tuple[Mapping[str, str], Mapping[str, str]],
    report: Report,
) -> Running:
    """Start a server at a free address and return it once it answers; see lifecycle.start.

    `wishes` are the caller's environment and the settings that win over it.
    """
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
        await_answer(child, running, offset, report)
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
    with suppress(psutil.Error):  # it may be dead already, which await_answer tells
        started = psutil.Process(child.pid).create_time()
        running = replace(running, create_time=started)
    return replace(running, pid=child.pid, pgid=child.pid), child


def await_answer(
    child: "subprocess.Popen[bytes] | Adopted", running: Running, offset: int, report: Report
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
