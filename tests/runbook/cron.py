"""Debian's cron daemon in a mount namespace of its own: its spool, its /run, its mail hand-over."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

_BIN = Path("/usr/sbin")
_SETUP = """\
set -eu
mount -t tmpfs tmpfs /var/spool/cron
install -d -m 1730 -g crontab /var/spool/cron/crontabs
mount -t tmpfs tmpfs /run
mount --bind "$FOLDER/empty" /etc/crontab
mount -t tmpfs tmpfs /etc/cron.d
mount --bind "$FOLDER/sbin" /usr/sbin
crontab "$FOLDER/crontab"
exec "$FOLDER/sbin/cron" -f
"""
# The system's hand-over of a mail: what cron gives it is kept, whole files only.
_SENDMAIL = """\
#!/bin/sh
{{ echo "arguments: $*"; cat; }} > {folder}/new.$$ && mv {folder}/new.$$ {folder}/mail.$$
"""


def missing() -> str | None:
    """Say why this box cannot run it; None: it can."""
    if os.geteuid() != 0:
        return "a daemon that runs jobs as users, and mounts of its own: needs root"
    if not (_BIN / "cron").exists() or not shutil.which("unshare"):
        return "needs the Debian packages cron and util-linux: scripts/test-tools"
    return None


class Cron:
    """The daemon with one crontab, of the user who runs the tests."""

    def __init__(self, folder: Path, crontab: str) -> None:
        self.folder, self.mails = folder, folder / "mails"
        for place in (folder / "sbin", self.mails):
            place.mkdir(parents=True)
        shutil.copy(_BIN / "cron", folder / "sbin" / "cron")
        sendmail = folder / "sbin" / "sendmail"
        sendmail.write_text(_SENDMAIL.format(folder=self.mails))
        sendmail.chmod(0o755)
        (folder / "empty").write_text("")
        (folder / "crontab").write_text(crontab)
        self._process: subprocess.Popen[bytes] | None = None
        self._namespace = ""

    def mail(self) -> list[str]:
        """Return the mails that were handed over, with the arguments as their first line."""
        return [path.read_text() for path in sorted(self.mails.glob("mail.*"))]

    def stop(self) -> None:
        """End the daemon: it starts no job any more. What it has started goes on."""
        process, self._process = self._process, None
        if process is not None:
            self._namespace = _namespace(process.pid)
            process.send_signal(signal.SIGTERM)
            process.wait(10)

    def busy(self) -> bool:
        """Whether a job of the stopped daemon still runs, or its mail is still on its way."""
        pids = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
        return any(_namespace(pid) == self._namespace for pid in pids)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", _SETUP],
            env={"PATH": os.environ["PATH"], "FOLDER": str(self.folder)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:  # it has ended
        return ""
