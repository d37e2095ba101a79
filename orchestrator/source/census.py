"""Ask a registry for the manifests of many tags, a few at a time, within a budget of time."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from orchestrator import log
from orchestrator.catalog.census import Entry, Seen, State, compared
from orchestrator.errors import ModelUnavailable, PullFailed, SourceUnreachable
from orchestrator.model import Candidate, ModelRef
from orchestrator.progress import Progress
from orchestrator.source.manifest import Files, connect, read_manifest
from orchestrator.source.remote import Patience, Remote

_AT_A_TIME, _NOT_FOUND = 6, 404
BUDGET = Patience(whole_s=300.0)
"""1,500 manifests at 100 ms each take half a minute."""


def census(
    tags: Mapping[str, Candidate],
    host: str,
    progress: Progress,
    *,
    insecure: bool,
    patience: Patience = BUDGET,
) -> list[Entry]:
    """Return what the registry at `host` has under each tag, beside what the catalogue knows.

    What is not answered within the budget is `unread`. Raises SourceUnreachable, SourceBusy: the
    registry answers nothing.
    """
    wanted = list(tags.items())
    ends = time.monotonic() + patience.whole_s
    with (
        log.stage("census", registry=host, tags=len(wanted)),
        connect(host, insecure=insecure, patience=patience) as registry,
    ):
        if not wanted:
            return []
        first = _entry(registry, host, *wanted[0])  # raises where nobody is at home
        found = [first, *_rest(registry, host, wanted[1:], progress, ends)]
    if all(entry.state == "unread" for entry in found):
        raise SourceUnreachable(f"{host}: {first.detail}", hint="name another with --registry URL")
    return found


def _rest(
    registry: Remote,
    host: str,
    wanted: list[tuple[str, Candidate]],
    progress: Progress,
    ends: float,
) -> Iterator[Entry]:
    pool = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="census")
    try:
        asked = {pool.submit(_patient, registry, host, *each): each for each in wanted}
        yield from _answers(asked, progress, ends)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _answers(
    asked: dict[Future[Entry], tuple[str, Candidate]], progress: Progress, ends: float
) -> Iterator[Entry]:
    left = dict(asked)
    try:
        for future in as_completed(asked, timeout=max(0.0, ends - time.monotonic())):
            left.pop(future)
            progress.tick(f"catalog check: {len(asked) - len(left) + 1} of {len(asked) + 1} tags")
            yield future.result()
    except TimeoutError:
        for tag, known in left.values():
            yield Entry(tag=tag, state="unread", known=known, detail="no time was left for it")


def _patient(registry: Remote, host: str, tag: str, known: Candidate) -> Entry:
    try:
        return _entry(registry, host, tag, known)
    except PullFailed as e:
        return Entry(tag=tag, state="unread", known=known, detail=e.what)


def _entry(registry: Remote, host: str, tag: str, known: Candidate) -> Entry:
    try:
        files = read_manifest(registry, ModelRef.parse(tag).at(host))
    except ModelUnavailable as e:
        state: State = "missing" if e.details.get("status") == _NOT_FOUND else "unread"
        return Entry(tag=tag, state=state, known=known, detail=e.what)
    if not files.weights:
        return Entry(tag=tag, state="unread", known=known, detail="its manifest names no weights")
    return compared(tag, known, _seen(files))


def _seen(files: Files) -> Seen:
    blobs = files.weights
    return Seen(
        digest=blobs[0].digest if len(blobs) == 1 else None,
        size_bytes=sum(blob.size_bytes for blob in blobs),
    )
