"""What a server's log got since a mark: its own file's, or the journal's of its unit.

Only a server of ours has a file that we know of. A unit's log is in the journal, which not every
account may read; that of a container is not looked for.
"""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.home import Home
from orchestrator.machine import ServerState
from orchestrator.runtime.record import ours
from orchestrator.runtime.unit import systemd_unit
from orchestrator.units import MIB

_MOST_BYTES = 8 * MIB
_MOST_LINES = 100_000  # journalctl gives the newest ones; a line of a server's is 100 bytes or so
_LIMIT_S = 5.0


@dataclass(slots=True)
class ServerLog:
    """The log of one server from a mark on. `why` says why it cannot be read; None: it can.

        log = ServerLog.of(home, machine.server); ...; text = log.since_mark()

    `offset` is where the file ended at the mark, `at_s` the time of it, since the epoch.
    """

    path: Path | None = None
    offset: int = 0
    inode: int | None = None
    unit: str | None = None
    at_s: float = 0.0
    why: str | None = None

    @classmethod
    def of(cls, home: Home, server: ServerState, root: Path = Path("/")) -> Self:
        """Return the log of a server, marked now. Never raises."""
        running = ours(home, server.host) if server.host else None
        if running is not None:
            return cls._of_file(Path(running.log))
        if server.where in ("container", "remote") or not server.local:
            return cls(why=f"its log is not on this box ({server.where or 'remote'})")
        unit = systemd_unit(root)
        if unit is not None and unit.main_pid is not None and unit.main_pid == server.pid:
            return cls(unit=unit.name, at_s=time.time())
        return cls(why="nothing says where its log is: it is no server of ours and no unit's")

    @classmethod
    def _of_file(cls, path: Path) -> Self:
        try:
            found = path.stat()
        except OSError as e:
            return cls(why=f"{path}: {e.strerror or e}")
        return cls(path=path, offset=found.st_size, inode=found.st_ino)

    def since_mark(self) -> str | None:
        """Return what came since the mark, of much the last 8 MiB; None: `why` says why not."""
        if self.path is not None:
            return self._of_the_file(self.path)
        return self._of_the_journal(self.unit) if self.unit else None

    def _of_the_file(self, path: Path) -> str | None:
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                # Another file of that name, or one that was cut, holds nothing from before.
                kept = found.st_ino == self.inode and found.st_size >= self.offset
                file.seek(max(self.offset if kept else 0, found.st_size - _MOST_BYTES))
                return file.read(_MOST_BYTES).decode("utf-8", "replace")
        except OSError as e:
            self.why = f"{path}: {e.strerror or e}"
            return None

    def _of_the_journal(self, unit: str) -> str | None:
        command = ["journalctl", f"--unit={unit}", f"--since=@{self.at_s:.6f}", "--output=cat"]
        try:
            found = subprocess.run(
                [*command, "--no-pager", "--quiet", f"--lines={_MOST_LINES}"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_LIMIT_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as e:
            late = isinstance(e, subprocess.TimeoutExpired)
            self.why = f"journalctl did not answer within {_LIMIT_S:g} s" if late else _refused(e)
            return None
        if not found.stdout.strip():  # what may not be read is left out without a word
            self.why = f"the journal shows nothing of {unit} to this account"
            return None
        return found.stdout[-_MOST_BYTES:].decode("utf-8", "replace")


def _refused(error: Exception) -> str:
    said = getattr(error, "stderr", None)
    last = said.decode("utf-8", "replace").strip().splitlines()[-1:] if said else []
    return f"journalctl failed ({last[0] if last else error})"
