"""The list of checksums of a release: what it has, and what every byte of it must be."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.errors import ModelUnavailable, PullFailed, SourceCorrupt, SourceUnreachable
from orchestrator.progress import Progress
from orchestrator.release.published import SUMS, URL_VARIABLE, Release
from orchestrator.transfer import Patience, Wanted, fetch

_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(?:\./)?(\S+)")
_MOST_BYTES = 2**20
_ENDINGS = (".tar.zst", ".tgz")
ELSEWHERE = f"check --version X.Y.Z, and --base-url or {URL_VARIABLE}"


def sums(release: Release, into: Path, progress: Progress, patience: Patience) -> dict[str, str]:
    """Return the digests "sha256:…" of a release's files by name, fetched anew into that folder.

    Raises ModelUnavailable: no such version there; SourceUnreachable, SourceBusy; SourceCorrupt:
    what came is no list of checksums.
    """
    path = into / SUMS
    path.unlink(missing_ok=True)
    wanted = Wanted(url=release.url(SUMS), target=path, what=f"the checksums of {release}")
    try:
        fetch([wanted], str(wanted.what), progress, patience=patience)
    except ModelUnavailable as e:
        what = f"{release.host} has no release {release.version} of Ollama: {e.what}"
        raise ModelUnavailable(what, hint=ELSEWHERE) from e
    except PullFailed as e:
        what = f"{wanted.what} cannot be had: {e.what}"
        raise type(e)(what, hint=_hint(e), **e.details) from e
    return read(path, release)


def read(path: Path, release: Release) -> dict[str, str]:
    """Return the digests that a list holds. Raises as `sums` does."""
    with path.open("rb") as file:
        text = file.read(_MOST_BYTES).decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        raise SourceUnreachable(
            f"{release.host} answers with a page of HTML where {SUMS} should be",
            hint=f"a captive portal or a proxy may answer in its place; or {ELSEWHERE}",
        )
    found = {m[2]: f"sha256:{m[1].lower()}" for m in map(_LINE.fullmatch, text.splitlines()) if m}
    if not found:
        raise SourceCorrupt(
            f"{release.host} has no list of checksums for {release}, and nothing is installed"
            " unverified",
            hint=ELSEWHERE,
        )
    return found


def files_of(
    release: Release, archives: Sequence[str], listed: Mapping[str, str]
) -> list[list[str]]:
    """Return for each archive the files that the list names for it, the newer format first.

    Raises ModelUnavailable: there is none.
    """
    found = [[a + end for end in _ENDINGS if a + end in listed] for a in archives]
    for archive, files in zip(archives, found, strict=True):
        if not files:
            some = ", ".join(sorted(name for name in listed if name.startswith("ollama-linux")))
            raise ModelUnavailable(
                f"{release} has no {archive} in its list of checksums"
                f" (it has {some[:300] or 'nothing for Linux'})",
                hint=f"name another release: {ELSEWHERE}",
            )
    return found


def _hint(failure: PullFailed) -> str:
    own = type(failure).remedy
    return ELSEWHERE if failure.hint == own else f"{failure.hint}; or {ELSEWHERE}"
