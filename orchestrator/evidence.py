"""What a bug report needs, in one archive: the machine, the checks, versions, history, logs.

Everything in it went through the redactor: no name of a person or a host, no address, no secret.
"""

import json
import os
import platform
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.errors import DiskFull, InvalidInput
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.redact import Redactor
from orchestrator.runtime.environment import shown_settings

# A variable of ours by its prefix may still be a secret of somebody's pipeline.
_SECRET = re.compile(r"token|key|pass|secret|auth|cred", re.IGNORECASE)
_LOG_BYTES = 200_000
_CRASHES, _RUNS = 5, 20
_PACKAGES = (
    "click", "filelock", "gguf", "httpx", "huggingface_hub", "numpy", "nvidia-ml-py", "ollama",
    "platformdirs", "psutil", "pynvml", "rich", "structlog", "tenacity",
)  # fmt: skip


def redactor(environ: Mapping[str, str]) -> Redactor:
    """Return the redactor of this account on this box."""
    import getpass

    user = environ.get("USER", "")
    with suppress(KeyError, OSError):  # a container's user without an account
        user = getpass.getuser()
    return Redactor(home=environ.get("HOME", ""), user=user, host=platform.node())


def bundle(
    path: Path,
    home: Home,
    environ: Mapping[str, str],
    *,
    machine: Mapping[str, Any],
    checks: Mapping[str, Any],
    server_log: str | None,
) -> None:
    """Write the archive. Raises InvalidInput and DiskFull: it cannot be written there."""
    clean = redactor(environ)
    parts: dict[str, str] = {
        "machine.json": _pretty(clean.document(machine)),
        "doctor.json": _pretty(clean.document(checks)),
        "versions.json": _pretty(_versions()),
        "environment.json": _pretty(clean.document(_settings(environ))),
        "history.json": _pretty(clean.document(_history(home))),
    }
    logs = sorted(home.state.glob("crash-*.txt"), key=_age)[-_CRASHES:]
    logs += [Path(server_log)] if server_log else []
    for log in logs:
        if text := _tail(log):
            parts[f"logs/{log.name}"] = clean.text(text)
    write(path, lambda target: _archive(target, parts))


def save(path: Path, machine: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Write a redacted machine file. Raises InvalidInput and DiskFull."""
    text = _pretty(redactor(environ).document(machine))
    write(path, lambda target: target.write_bytes(_bytes(text)))


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Make the file `path` in one step out of what `fill` writes: all of it is there, or nothing.

    Raises InvalidInput: no such folder, or not ours to write. DiskFull.
    """
    import errno

    if path.exists() and not path.is_file():  # a rename over /dev/null would take it away
        raise InvalidInput(f"{path} is no file", hint="name a file that may be written anew")
    staged: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=".deploy-", dir=path.parent)
        os.close(handle)
        staged = Path(name)
        fill(staged)
        staged.chmod(0o644)
        staged.replace(path)
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no space left for {path}", hint="name a file on another disk") from e
        why = f"{path} cannot be written: {e.strerror or e}"
        raise InvalidInput(why, hint="name a file in a folder that you may write") from e
    finally:
        if staged is not None:
            staged.unlink(missing_ok=True)


def _archive(target: Path, parts: Mapping[str, str]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, _bytes(text))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # a path may hold bytes that are no UTF-8


def _pretty(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {
        "deploy": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    for name in _PACKAGES:
        found[name] = None
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _settings(environ: Mapping[str, str]) -> dict[str, str | None]:
    from orchestrator.probe.settings import proxy_of  # the probe is not for those who only write

    ours = {k: v for k, v in environ.items() if k.startswith("DEPLOY_") and not _SECRET.search(k)}
    return {**shown_settings(environ), **ours, "proxy": proxy_of(environ)}


def _history(home: Home) -> dict[str, Any]:
    ledger = Ledger(home.ledger)
    try:
        return {"deployments": ledger.deployments(_RUNS), "bench_runs": ledger.bench_runs(_RUNS)}
    except DiskFull as e:
        return {"fault": e.what}


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
