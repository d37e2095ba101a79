"""The catalogue against what a registry has now: what moved, what is gone, what is learned."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.model import Candidate

State = Literal["same", "moved", "missing", "learned", "unread"]
STATES: tuple[State, ...] = ("moved", "missing", "learned", "unread", "same")
"""In the order of what a person should see first."""
_ROUNDED = 0.05  # the library's pages show two digits, and count template and licence in


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a registry has under a tag; `digest` None: several files hold the weights."""

    digest: str | None
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One tag of the catalogue beside the registry's.

    `moved`: another file than the catalogue's. `missing`: the registry has no such tag. `learned`:
    its exact bytes or digest, which the catalogue did not have. `unread`: no answer; `detail` says
    why.
    """

    tag: str
    state: State
    known: Candidate
    now: Seen | None = None
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a `catalog-check` document."""
        now = self.now
        return {
            "tag": self.tag,
            "state": self.state,
            "was": {
                "digest": self.known.digest,
                "bytes": self.known.file_bytes,
                "basis": self.known.bytes_basis,
            },
            "now": {"digest": now.digest, "bytes": now.size_bytes} if now else None,
            "detail": self.detail,
        }


def compared(tag: str, known: Candidate, now: Seen) -> Entry:
    """Return what became of a tag that the registry has."""
    if known.digest and now.digest:
        state: State = "same" if known.digest == now.digest else "moved"
    elif known.bytes_basis == "exact":
        state = "learned" if known.file_bytes == now.size_bytes else "moved"
        state = "same" if state == "learned" and now.digest is None else state
    else:
        near = abs(now.size_bytes - known.file_bytes) <= _ROUNDED * known.file_bytes
        state = "learned" if near else "moved"
    return Entry(tag=tag, state=state, known=known, now=now)


def counts(entries: Iterable[Entry]) -> dict[State, int]:
    """Return how many tags there are in each state."""
    found = Counter(entry.state for entry in entries)
    return {state: found[state] for state in STATES}


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries, what a person should see first at the top."""
    return sorted(entries, key=lambda entry: (STATES.index(entry.state), entry.tag))
