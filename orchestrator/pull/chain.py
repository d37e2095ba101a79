"""One source after the other until one delivers, and one error out of what all of them said."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from orchestrator import log
from orchestrator.errors import (
    ModelUnavailable,
    PullFailed,
    SourceCorrupt,
    SourceUnreachable,
    UnknownModel,
)
from orchestrator.progress import Progress
from orchestrator.source import Source

Failures = Sequence[tuple[str, PullFailed]]
S = TypeVar("S", bound=Source)
T = TypeVar("T")
_HAS_IT_NOT = (ModelUnavailable, SourceCorrupt)


def first(
    sources: Sequence[S], model: str, attempt: Callable[[S, Failures], T], progress: Progress
) -> T:
    """Return the first attempt that succeeds; each is told what the sources before it said.

    Raises PullFailed: see gathered. Other errors of an attempt end it at once.
    """
    failures: list[tuple[str, PullFailed]] = []
    for source in sources:
        if failures:
            progress.say(f"{failures[-1][1].what}; trying {source.address}")
        try:
            return attempt(source, tuple(failures))
        except PullFailed as e:
            log.event("source.failed", source=source.name, failure=type(e).__name__)
            failures.append((source.name, e))
        except UnknownModel as e:  # to its catalogue; another source may have it all the same
            failures.append((source.name, ModelUnavailable(e.what, hint=e.hint)))
    raise gathered(model, failures)


def gathered(model: str, failures: Failures) -> PullFailed:
    """Return the failure of the only source; of several, what they said, in their order.

    ModelUnavailable as soon as one of them answers and does not have the model: then another model
    may be had. The hint is that of the first, which the profile prefers.
    """
    if not failures:
        return SourceUnreachable(
            f"no source that is set has any model but the starter: none was asked for {model}",
            hint="name others: sources = [...] in the profile, or --registry URL",
        )
    if len(failures) == 1:
        return failures[0][1]
    answered = any(isinstance(e, _HAS_IT_NOT) for _, e in failures)
    kind = ModelUnavailable if answered else SourceUnreachable
    said = "; ".join(f"{name}: {e.what}" for name, e in failures)
    tried = [{"source": name, "failure": e.what} for name, e in failures]
    return kind(f"no source delivers {model}: {said}", hint=failures[0][1].hint, tried=tried)
