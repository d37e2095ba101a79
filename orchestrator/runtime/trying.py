"""Whether a program of a runtime runs on this box at all."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import PullFailed

_LIMIT_S = 60.0
_NO_PROGRAMS = "set DEPLOY_HOME to a folder on a disk that may run programs"


def said_by(command: Sequence[Path | str], scratch: Path, *, hint: str, **more: str) -> str:
    """Return what a program prints; it is given an empty home. `more` are environment variables.

    Raises PullFailed: it does not run, or fails, with its last words.
    """
    name = Path(command[0]).name
    # It is asked for nothing, so port 1 will do: no server need answer.
    env = {"HOME": str(scratch), "OLLAMA_HOST": "127.0.0.1:1", "PATH": os.defpath, **more}
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT_S,
            check=False,
            text=True,
            errors="replace",
        )
    except PermissionError as e:
        raise PullFailed(f"no program may run below {scratch.parent}", hint=_NO_PROGRAMS) from e
    except OSError as e:  # made for another processor, or for another C library
        raise PullFailed(f"{name} does not run here: {e.strerror}", hint=hint) from e
    except subprocess.TimeoutExpired as e:
        raise PullFailed(f"{name} did not end in {_LIMIT_S:.0f} s", hint=hint) from e
    if done.returncode != 0:
        said = done.stdout.strip()[-300:] or "nothing"
        raise PullFailed(f"{name} does not run here ({done.returncode}): it said {said}", hint=hint)
    return done.stdout


def try_out(program: Path, scratch: Path, *, hint: str, **more: str) -> None:
    """Run `ollama --version`. Raises PullFailed: it does not run, with its last words."""
    said = said_by([program, "--version"], scratch, hint=hint, **more)
    if "version is" not in said:
        what = f"the runtime does not run here: it said {said.strip()[-300:] or 'nothing'}"
        raise PullFailed(what, hint=hint)
