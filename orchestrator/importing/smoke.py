"""A few tokens of a new model: a file that is whole can still be one that does not load."""

from contextlib import suppress

from orchestrator.errors import OutOfMemory, ServerRefused
from orchestrator.importing import Destination
from orchestrator.progress import Progress

_OPTIONS = {"num_predict": 4, "num_ctx": 512, "temperature": 0, "seed": 1}
_PATIENCE_S = 900.0  # a hard disk takes minutes for a large file
_KEPT = "1m"


def prove(to: Destination, made: str, name: str, progress: Progress) -> tuple[str, ...]:
    """Let the model `made` answer, take it out of memory, and return what is to be noted.

    `name` is what a person calls it. That it does not fit into memory now says nothing of its
    files: that is a note. Raises ServerRefused: it does not answer. ServerUnreachable.
    """
    if _loaded(to, made):
        return ()  # a test would load the same weights anew, with other options
    try:
        with progress.waiting(f"asking {name} for a few tokens"):
            answer = to.server.chat(
                made, "Hello", options=_OPTIONS, keep_alive=_KEPT, timeout_s=_PATIENCE_S
            )
            pieces = list(answer)
    except OutOfMemory as e:
        return (f"{name} was not tried: {e.what}",)
    except ServerRefused as e:
        raise _failed(name, e.what) from e
    finally:
        with suppress(ServerRefused):
            to.server.unload(made)
    # No `done` is the server's guard against repetition: noise that answers.
    if not pieces:
        raise _failed(name, "the answer is empty")
    return ()


def _loaded(to: Destination, made: str) -> bool:
    weights = to.server.weights(made)
    return weights in {to.server.weights(each.name) for each in to.server.loaded()} - {None}


def _failed(name: str, why: str) -> ServerRefused:
    return ServerRefused(
        f"{name} was imported and does not answer, so it was deleted again: {why}",
        hint="fetch its files again, or name another source with --source",
    )
