"""The folder manifests/: HOST/NAMESPACE/MODEL/TAG, and which file a name is."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from orchestrator.store.name import Name

_DEPTH = 4


def files(
    root: Path, unreadable: Callable[[OSError], None] = lambda _: None, depth: int = _DEPTH
) -> Iterator[Path]:
    """Yield the files that the server takes for manifests; it follows links, and so do we.

    `unreadable` is told of folders that we cannot read, and may raise.
    """
    try:
        if depth == 0:
            if root.is_file() or root.is_symlink():
                yield root
            return
        with os.scandir(root) as found:
            entries = sorted(entry.path for entry in found)
    except (FileNotFoundError, NotADirectoryError):
        return  # the server takes empty folders away at any time
    except OSError as e:
        unreadable(e)
        return
    for path in entries:
        yield from files(Path(path), unreadable, depth - 1)


def locate(root: Path, name: Name) -> Path:
    """Return the manifest file of that name, or where it belongs.

    The server spells every part of a name as any model that it has does. Beside `Team/x`, a new
    folder `team` would make it look for either of the two, by chance.
    """
    folder = root
    for part in name:
        folder /= _spelt(folder, part)
    return folder


def _spelt(folder: Path, part: str) -> str:
    """Return the part as what is in the folder is spelt; spelt exactly wins."""
    with suppress(OSError):
        present = sorted(entry.name for entry in folder.iterdir())
        if part not in present:
            return next((each for each in present if each.lower() == part.lower()), part)
    return part
