"""Whether a name of our making is free, or has the very model that is asked for."""

from dataclasses import replace

from orchestrator.errors import InvalidInput
from orchestrator.ledger import Ledger
from orchestrator.ledger.pulls import origin_of
from orchestrator.model import Origin
from orchestrator.progress import Progress
from orchestrator.server import Server
from orchestrator.source import Deriving, Source
from orchestrator.source.intent import Intent


def origin_at(source: Source, model: str, progress: Progress) -> Origin | None:
    """Return where a model comes from that has no name of its own; None: it has one."""
    return source.origin(model, progress) if isinstance(source, Deriving) else None


def is_there(server: Server, ledger: Ledger, name: str, origin: Origin | None) -> bool:
    """Say whether the model of that name has the bytes of `origin`: then nothing need move.

    False where there is none, or an older one of the same origin. Raises InvalidInput: there is
    another model, which a pull would replace without a word.
    """
    found = server.find(name) if origin else None
    if origin is None or found is None:
        return False
    known = origin_of(ledger, server.host, found.name, found.digest)
    if known and known.content == origin.content:
        return True
    if known and known.name == origin.name:
        return False
    whose = f"from {known.name}" if known else "not from a pull of deploy that is on record"
    raise InvalidInput(
        f"{name} is on the server already, {whose}; this one is from {origin.name}",
        hint=f"give it another name with --as NAME, or remove that one: ollama rm {name}",
    )


def without_download(intent: Intent) -> Intent:
    """Return what a pull would do of a model that is there."""
    return replace(
        intent,
        present_bytes=intent.total_bytes or 0,
        download_bytes=0,
        needed_bytes={},
        notes=(*intent.notes, "the server has this very model already"),
    )
