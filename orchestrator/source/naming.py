"""What a pulled model is called in the end, and that it chats as its family does."""

from typing import TYPE_CHECKING, Any

from orchestrator.errors import ServerRefused
from orchestrator.model import ModelRef
from orchestrator.progress import Progress
from orchestrator.server import Server, wire
from orchestrator.server.imports import create

if TYPE_CHECKING:
    from orchestrator.families import Family

_SHOW_S = 30.0


def rename(server: Server, remote: ModelRef, wanted: ModelRef, *, theirs: bool) -> None:
    """Give what was pulled as `remote` the name `wanted`.

    The long name goes, unless it was there before (`theirs`): then somebody uses it.
    """
    if remote != wanted:
        server.copy(str(remote), str(wanted))
        _drop(server, remote, theirs=theirs)


def dress(
    server: Server, remote: ModelRef, wanted: ModelRef, progress: Progress, *, theirs: bool
) -> None:
    """Give what was pulled from a repository the name `wanted`, and what its family chats with.

    A registry of GGUF files guesses a template by likeness; where it finds none, a chat is answered
    wrongly. So the name appears together with the template, the stops and the parameters of the
    family. Of a family that is not known the guess stays.
    """
    family = _family(server, remote)
    if family is None:
        rename(server, remote, wanted, theirs=theirs)
        return
    create(
        server,
        str(wanted),
        progress,
        label=str(wanted),
        from_=str(remote),  # of the same weights, and it may be the very name
        template=family.template,
        parameters=dict(family.parameters),
    )
    if remote != wanted:
        _drop(server, remote, theirs=theirs)


def _drop(server: Server, remote: ModelRef, *, theirs: bool) -> None:
    if not theirs:
        server.delete(str(remote))


def _family(server: Server, remote: ModelRef) -> "Family | None":
    """Return the family by the header, and where that does not say by the repository's name."""
    from orchestrator.families.known import family_of

    shown: Any = wire.request(
        server.host, "POST", "/api/show", {"model": str(remote)}, timeout_s=_SHOW_S
    )
    if shown is None:
        raise ServerRefused(f"{remote} was pulled, but the server does not have it")
    header = shown.get("model_info") or {}
    return family_of(
        architecture=str(header.get("general.architecture") or ""),
        chat_template=str(header.get("tokenizer.chat_template") or ""),
        name=remote.name,
    )
