"""Where the probe looks: the files of a box below a root, and what its tools answer.

`/` is this box. Any other root is a captured one: the same files below it, and the answers of tools
in its folder `answers`, one file each, so that the same code reads both.
"""

import contextlib
import os
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ANSWERS = "answers"
_FAULT = "fault: "
_MOST_BYTES = 4 * 2**20  # /proc/cpuinfo of 512 processors has 1 MB
_GIVE_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool printed; `fault` says in a sentence why it printed nothing of use."""

    text: str = ""
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """One box. `seen`, where given, is filled with all that is read: file paths and `$ ` tools."""

    root: Path = Path("/")
    seen: dict[str, str] | None = None

    @property
    def live(self) -> bool:
        """Whether this is the box that we run on."""
        return self.root == Path("/")

    def path(self, path: str) -> Path:
        """Return where an absolute path of the box lies."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        """Return a small file, "" where it cannot be read."""
        try:
            with self.path(path).open("rb") as file:
                found = file.read(_MOST_BYTES).decode("utf-8", "replace")
        except (OSError, ValueError):
            return ""
        self._note(path, found)
        return found

    def number(self, path: str) -> int | None:
        """Return the number that a file holds; None: no such file, or no number."""
        return whole(self.text(path))

    def exists(self, path: str) -> bool:
        """Say whether a file or folder is there."""
        try:
            found = self.path(path).exists()
        except (OSError, ValueError):
            return False
        if found and self.seen is not None and not self.path(path).is_dir():
            self.seen.setdefault(path, "")
        return found

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder in their order, [] where it cannot be read."""
        try:
            return sorted(os.listdir(self.path(folder)))  # noqa: PTH208 - names, not paths
        except (OSError, ValueError):
            return []

    def link(self, path: str) -> str | None:
        """Return what a symbolic link says, None where there is none."""
        try:
            said = os.readlink(self.path(path))  # noqa: PTH115 - the text of it
        except (OSError, ValueError):
            return None
        self._note(f"-> {path}", said)
        return said

    def tool(self, key: str, command: Sequence[str], *, limit_s: float = 10.0) -> Answer:
        """Return what a program prints, under a key that a captured box knows it by.

        Never raises, and never takes much longer than the limit.
        """
        told = self.told(key, lambda: _shown(_run(command, limit_s)))
        if told is None:
            return Answer(fault=f"{command[0]} was not asked when this box was captured")
        if told.startswith(_FAULT):
            return Answer(fault=told.removeprefix(_FAULT))
        return Answer(told)

    def told(self, key: str, ask: Callable[[], str | None]) -> str | None:
        """Return what `ask` says on this box, or said on the captured one; None: nothing."""
        if not self.live:
            return _readable(self.root / ANSWERS / answer_name(key))
        said = ask()
        if said is not None:
            self._note(f"$ {key}", said)
        return said

    def uname(self) -> tuple[str, str]:
        """Return the operating system and the architecture: ("linux", "x86_64")."""
        said = self.told("uname", lambda: f"{platform.system()} {platform.machine()}")
        system, _, machine = (said or "Linux x86_64").partition(" ")
        return system.lower(), machine.strip() or "x86_64"

    def _note(self, key: str, said: str) -> None:
        if self.seen is not None:
            self.seen[key] = said


def answer_name(key: str) -> str:
    """Return the name of the file that holds a tool's answer."""
    return quote(key, safe=" =:,+")


def whole(text: str) -> int | None:
    """Return the number that a text is, of at most 19 digits; None: it is none."""
    stripped = text.strip("\0 \t\r\n")
    return int(stripped) if re.fullmatch(r"-?[0-9]{1,19}", stripped) else None


def _readable(path: Path) -> str | None:
    try:
        return path.read_bytes()[:_MOST_BYTES].decode("utf-8", "replace")
    except (OSError, ValueError):
        return None


def _shown(answer: Answer) -> str:
    return answer.text if answer.fault is None else f"{_FAULT}{answer.fault}"


def _run(command: Sequence[str], limit_s: float) -> Answer:
    name = Path(command[0]).name
    pipe, environ = subprocess.PIPE, os.environ | {"LC_ALL": "C"}
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environ
        )
    except (OSError, ValueError) as e:
        return Answer(fault=f"{name} cannot be started ({getattr(e, 'strerror', None) or e})")
    try:
        out, err = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        _give_up(child)
        return Answer(fault=f"{name} did not answer within {limit_s:g} s")
    text = out[:_MOST_BYTES].decode("utf-8", "replace")
    if child.returncode and not text.strip():
        last = err.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it printed nothing"]
        return Answer(fault=f"{name} failed (exit {child.returncode}): {last[0]}")
    return Answer(text)


def _give_up(child: "subprocess.Popen[bytes]") -> None:
    # A process inside an uninterruptible call does not die before the call returns: do not wait
    # for it, or the probe would hang as well.
    child.kill()
    for pipe in filter(None, (child.stdout, child.stderr)):
        pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=_GIVE_UP_S)
