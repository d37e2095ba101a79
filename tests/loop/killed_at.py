"""Run deploy and die by SIGKILL at one exact instant: `killed_at.py WHERE before|after N ARGS…`.

WHERE is a dotted function of the real program, N which of its calls. Nothing is replaced by a
fake: the call is made, or about to be made, when the process dies.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def _die() -> None:
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def arm(where: str, moment: str, number: int) -> None:
    """Wrap the function so that its call `number` is the last thing that happens."""
    module, owner, name = _found(where)
    true: Callable[..., Any] = getattr(owner or module, name)
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and moment == "before":
            _die()
        result = true(*args, **kwargs)
        if calls == number:
            _die()
        return result

    setattr(owner or module, name, wrapped)


def _found(where: str) -> tuple[Any, Any, str]:
    path, _, name = where.rpartition(".")
    try:
        return importlib.import_module(path), None, name
    except ModuleNotFoundError:
        module, _, owner = path.rpartition(".")
        found = importlib.import_module(module)
        return found, getattr(found, owner), name


if __name__ == "__main__":
    arm(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.argv = ["deploy", *sys.argv[4:]]
    from orchestrator.cli.main import main

    main()
