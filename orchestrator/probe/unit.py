"""Ollama's systemd unit: what it sets is readable by everyone, unlike a process's environment."""

import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PROPERTIES = "MainPID,User,Environment"
_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Unit:
    """A loaded unit: the pid of its server (None: not running), its user and its environment."""

    main_pid: int | None = None
    user: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """The port that the unit's server listens on."""
        last = self.environ.get("OLLAMA_HOST", "").rpartition(":")[2]
        return int(last) if last.isdecimal() else 11434


def ollama_unit(root: Path = Path("/")) -> Unit | None:
    """Return Ollama's unit, None where there is no systemd or it knows no such unit."""
    if not (root / "run" / "systemd" / "system").is_dir():
        return None
    command = ["systemctl", "show", "ollama.service", f"--property={_PROPERTIES}"]
    try:
        shown = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return parse_unit(shown.stdout)


def parse_unit(text: str) -> Unit | None:
    """Read the answer of `systemctl show`; None for a unit that sets and runs nothing."""
    rows = {key: value for key, _, value in (line.partition("=") for line in text.splitlines())}
    try:
        assignments = shlex.split(rows.get("Environment", ""))
    except ValueError:
        assignments = []
    pid = rows.get("MainPID", "0")
    unit = Unit(
        main_pid=int(pid) if pid.isdecimal() and int(pid) else None,
        user=rows.get("User") or None,
        environ=dict(each.split("=", 1) for each in assignments if "=" in each),
    )
    return None if unit == Unit() else unit
