"""The archives of a release on this disk: fetched through our own downloader, room made sure of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.errors import ModelUnavailable, PullFailed, SourceBusy, SourceUnreachable
from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.release.listing import ELSEWHERE, files_of, sums
from orchestrator.release.published import Release
from orchestrator.runtime import disk
from orchestrator.transfer import Credentials, Manners, Patience, Wanted, fetch
from orchestrator.transfer.answer import Line

# Ollama's archives unpack to twice their size; the sizes inside are known only on the way.
_UNPACKED = 3


def store(home: Home) -> Path:
    """Return where archives lie until the release is installed."""
    return home.cache / "releases"


def archives(
    release: Release,
    names: Sequence[str],
    home: Home,
    progress: Progress,
    manners: Manners,
    patience: Patience,
) -> list[Path]:
    """Return the files of those archives, each what the release's list of checksums names.

    `patience` is for that list, which shows whether the release can be had at all.

    Raises what orchestrator.release.install says of a download.
    """
    into = store(home) / f"v{release.version}"
    with disk.mapped(into):
        into.mkdir(parents=True, exist_ok=True)
    listed = sums(release, into, progress, patience)
    wanted = [_wanted(release, files, listed, into) for files in files_of(release, names, listed)]
    _check_disks(home, into, wanted)
    try:
        found = fetch(wanted, f"fetch {release}", progress, manners=manners)
    except PullFailed as e:
        own = type(e).remedy
        hint = ELSEWHERE if e.hint == own else e.hint
        raise type(e)(f"{release}: {e.what}", hint=hint, **e.details) from e
    return [each.path for each in found]


def _wanted(
    release: Release, files: Sequence[str], listed: Mapping[str, str], into: Path
) -> Wanted:
    """Return the first of the files that is there, with its size if it tells one."""
    for number, name in enumerate(files, 1):
        url, size = release.url(name), None
        try:
            size = _size_bytes(url)
        except ModelUnavailable as e:
            if number == len(files):
                what = f"{release.host} lists {name} of {release} and does not deliver it"
                raise ModelUnavailable(f"{what}: {e.what}", hint=ELSEWHERE) from e
            continue
        target = into / name
        return Wanted(url=url, target=target, what=name, size_bytes=size, digest=listed[name])
    raise AssertionError  # there is at least one, and the last returns or raises


def _size_bytes(url: str) -> int | None:
    """Return the size of the file at a URL; None: it cannot be had now, or a page answers."""
    try:
        with Line(Credentials(), Patience()).ask(url, 0) as answer:
            return None if answer.html else answer.total_bytes
    except (SourceBusy, SourceUnreachable):
        return None  # the download has the patience for it


def _check_disks(home: Home, into: Path, wanted: Sequence[Wanted]) -> None:
    """Check the disk of the archives and that of the runtimes, which most often are one."""
    sizes = [each.size_bytes or 0 for each in wanted]
    there = sum(min(size, _there(each)) for size, each in zip(sizes, wanted, strict=True))
    missing, unpacked = sum(sizes) - there, _UNPACKED * sum(sizes)
    devices = {disk.existing(folder).stat().st_dev for folder in (into, home.runtimes)}
    if len(devices) == 1:
        disk.check(home.runtimes, missing + unpacked)
    else:
        disk.check(into, missing)
        disk.check(home.runtimes, unpacked)


def _there(wanted: Wanted) -> int:
    beside = (wanted.target, wanted.target.with_name(f"{wanted.target.name}.part"))
    return next((path.stat().st_size for path in beside if path.is_file()), 0)
