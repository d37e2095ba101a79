"""Ollama's systemd unit: what it sets is readable by everyone, unlike a process's environment."""

import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from orchestrator.errors import InvalidInput
from orchestrator.runtime.address import server_host, split_host

# Exists where systemd is the init system: sd_booted(3).
BOOTED = Path("run/systemd/system")
_FIELDS = (
    "LoadState",
    "ActiveState",
    "User",
    "Environment",
    "EnvironmentFiles",
    "PassEnvironment",
    "MainPID",
    "DropInPaths",
)
# How `systemctl show` writes `EnvironmentFile=-/etc/ollama.env`.
_FILE = re.compile(r"(.+) \(ignore_errors=(yes|no)\)")
_LIMIT_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemdUnit:
    """The service that Ollama's installer makes.

    `environment` is what its unit files and their EnvironmentFile= set, as they are now;
    `environment_known` is False where a part of that is hidden from us.
    """

    name: str = "ollama.service"
    active: bool = False
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_known: bool = True
    main_pid: int | None = None  # None: it does not run
    drop_ins: tuple[str, ...] = ()

    @property
    def port(self) -> int | None:
        """The port that the unit's server listens on; None: its OLLAMA_HOST is no address."""
        return port_of(self.environment)


def port_of(environment: Mapping[str, str]) -> int | None:
    """Return the port that OLLAMA_HOST means there; None: it is no address."""
    try:
        return split_host(server_host(environment))[1]
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
    return parse_unit(answer.stdout, root)


def parse_unit(text: str, root: Path = Path("/")) -> SystemdUnit | None:
    """Read the answer of `systemctl show`; None for a unit that is not loaded.

    The files with variables that it names are read below `root`.
    """
    lines = [line.partition("=") for line in text.splitlines()]
    said = {key: value for key, _, value in lines}
    if said.get("LoadState") != "loaded":
        return None
    pid = said.get("MainPID", "")
    files = [value for key, _, value in lines if key == "EnvironmentFiles" and value]
    in_files, all_read = _of_files(files, root)
    environment = _assignments(said.get("Environment", "")) | in_files
    # What systemd itself passes on has values that only its own environment tells.
    passed = set(said.get("PassEnvironment", "").split()) - environment.keys()
    return SystemdUnit(
        active=said.get("ActiveState") == "active",
        user=said.get("User") or None,
        environment=environment,
        environment_known=all_read and not passed,
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


def _of_files(named: Iterable[str], root: Path) -> tuple[dict[str, str], bool]:
    """Return the variables of the files that a unit names, and whether all could be read."""
    found: dict[str, str] = {}
    known = True
    for each in named:
        told = _FILE.fullmatch(each)
        path = f"{root}/{(told[1] if told else each).lstrip('/')}"
        for place in sorted(glob(path)) or [path]:  # noqa: PTH207 - patterns as systemd takes them
            try:
                found |= variables(Path(place).read_text("utf-8", "replace"))
            except FileNotFoundError:
                known = known and told is not None and told[2] == "yes"
            except (OSError, ValueError):
                known = False
    return found, known


def variables(text: str) -> dict[str, str]:
    """Read a file for EnvironmentFile=: KEY=VALUE a line, in quotes or not; # and ; comment."""
    found = {}
    for line in text.replace("\\\n", "").splitlines():
        name, equals, value = (part.strip() for part in line.partition("="))
        if equals and name and name[0] not in "#;":
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[name] = value[1:-1] if quoted else value
    return found
