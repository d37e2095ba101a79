"""Ollama's systemd unit: what it sets is readable by everyone, unlike a process's environment."""

import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import InvalidInput
from orchestrator.runtime.address import server_host, split_host

# Exists where systemd is the init system: sd_booted(3).
BOOTED = Path("run/systemd/system")
_FIELDS = ("LoadState", "ActiveState", "User", "Environment", "MainPID", "DropInPaths")
_LIMIT_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemdUnit:
    """The service that Ollama's installer makes; `environment` is what its files set."""

    name: str = "ollama.service"
    active: bool = False
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    main_pid: int | None = None  # None: it does not run
    drop_ins: tuple[str, ...] = ()

    @property
    def port(self) -> int | None:
        """The port that the unit's server listens on; None: its OLLAMA_HOST is no address."""
        try:
            return split_host(server_host(self.environment))[1]
        except InvalidInput:
            return None


def systemd_unit(root: Path = Path("/")) -> SystemdUnit | None:
    """Return what systemd knows of ollama.service; None: no systemd, no such unit, no answer."""
    if not (root / BOOTED).is_dir():
        return None
    try:
        answer = subprocess.run(
            ["systemctl", "show", "ollama.service", *(f"-p{field}" for field in _FIELDS)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT_S,
            check=True,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_unit(answer.stdout)


def parse_unit(text: str) -> SystemdUnit | None:
    """Read the answer of `systemctl show`; None for a unit that is not loaded."""
    said = {key: value for key, _, value in (line.partition("=") for line in text.splitlines())}
    if said.get("LoadState") != "loaded":
        return None
    pid = said.get("MainPID", "")
    return SystemdUnit(
        active=said.get("ActiveState") == "active",
        user=said.get("User") or None,
        environment=_assignments(said.get("Environment", "")),
        main_pid=int(pid) if pid.isdecimal() and int(pid) else None,
        drop_ins=tuple(said.get("DropInPaths", "").split()),
    )


def _assignments(text: str) -> dict[str, str]:
    """Return the variables of systemd's one-line Environment, whose values may be quoted."""
    try:
        words = shlex.split(text)
    except ValueError:  # a quote that never closes
        words = text.split()
    return dict(word.split("=", 1) for word in words if "=" in word)
