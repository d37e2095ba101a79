"""Which Ollama is on this box: programs, the systemd unit, and who listens on a port."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.home import Home
from orchestrator.machine import RuntimeKind
from orchestrator.runtime import installation
from orchestrator.runtime.address import parse_host, server_host, version_at
from orchestrator.runtime.binary import Binary
from orchestrator.runtime.listener import Runner, listener_pid, runners_of

__all__ = [
    "Binary",
    "Runner",
    "RuntimeKind",
    "SystemdUnit",
    "installed",
    "listener_pid",
    "parse_host",
    "runners_of",
    "server_host",
    "systemd_unit",
    "version_at",
]

# Where the installers put it; cron's PATH often lacks /usr/local/bin.
_USUAL = ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin", "/snap/bin")
_SYSTEMCTL_S = 3.0
_FIELDS = ("LoadState", "ActiveState", "User", "Environment", "MainPID", "DropInPaths")


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemdUnit:
    """The service that Ollama's installer makes; `environment` is what its files set."""

    name: str
    active: bool
    user: str | None
    environment: Mapping[str, str]
    main_pid: int | None
    drop_ins: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; of the environment only names: values can be secret."""
        return {
            "name": self.name,
            "active": self.active,
            "user": self.user,
            "environment": sorted(self.environment),
            "main_pid": self.main_pid,
            "drop_ins": list(self.drop_ins),
        }


def installed(home: Home, environ: Mapping[str, str]) -> Binary | None:
    """Return the Ollama to start here: an installed release, else our embedded runtime, else None.

    The release comes first because it alone has GPU support and decodes 3-8 times faster.
    """
    return _release(environ.get("PATH", os.defpath)) or installation.installed(home)


def systemd_unit() -> SystemdUnit | None:
    """Return what systemd knows of ollama.service; None: no systemd, no such unit, no answer."""
    program = shutil.which("systemctl")
    if not program:
        return None
    ask = [program, "show", "ollama.service", *(f"-p{field}" for field in _FIELDS)]
    try:
        answer = subprocess.run(
            ask,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SYSTEMCTL_S,
            check=False,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if answer.returncode != 0:
        return None
    said = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    return _unit(said) if said.get("LoadState") == "loaded" else None


def _unit(said: Mapping[str, str]) -> SystemdUnit:
    pid = said.get("MainPID", "")
    return SystemdUnit(
        name="ollama.service",
        active=said.get("ActiveState") == "active",
        user=said.get("User") or None,
        environment=_assignments(said.get("Environment", "")),
        main_pid=int(pid) if pid.isdecimal() and pid != "0" else None,
        drop_ins=tuple(said.get("DropInPaths", "").split()),
    )


def _assignments(text: str) -> dict[str, str]:
    """Return the variables of systemd's one-line Environment, whose values may be quoted."""
    try:
        words = shlex.split(text)
    except ValueError:  # a quote that never closes
        words = text.split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def _release(path: str) -> Binary | None:
    folders = [folder for folder in path.split(os.pathsep) if folder]
    found = shutil.which("ollama", path=os.pathsep.join([*folders, *_USUAL]))
    return Binary(path=Path(found).absolute(), kind="release") if found else None
