"""Events: fixed names `noun.verb`, values as keys; on stderr for -v and --log-format json, or
into the log of what cron runs.

structlog takes a fifth of a second to import, so it is loaded only when somebody listens.
"""

import sys
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

_listening = False


def listen(*, as_json: bool) -> None:
    """Send events to stderr from now on: key-values, or one JSON object a line."""
    import structlog

    renderer: Any = structlog.processors.JSONRenderer()
    if not as_json:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    _configure(structlog.PrintLoggerFactory(sys.stderr), renderer)


def keep(write: Callable[[str], object], **bound: Any) -> None:
    """Hand every event to `write` from now on, as a JSON object with `bound` in each."""
    import structlog

    # Not by context variables: what a thread of the stopwatch says is of this run too.
    def bind(_logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        return {**bound, **event}

    logger = SimpleNamespace(info=write)
    _configure(lambda: logger, bind, structlog.processors.JSONRenderer())


def _configure(factory: Callable[..., Any], *last: Any) -> None:
    global _listening  # noqa: PLW0603 - the one switch of the process
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        logger_factory=factory,
    )
    _listening = True


def event(name: str, **values: Any) -> None:
    """Record one event; nothing happens unless somebody listens."""
    if _listening:
        import structlog

        structlog.get_logger().info(name, **values)


@contextmanager
def stage(name: str, **values: Any) -> Iterator[None]:
    """Record begin and end of a stage with its duration in seconds."""
    event(f"{name}.begin", **values)
    started = time.monotonic()
    try:
        yield
    except BaseException as e:
        seconds = round(time.monotonic() - started, 3)
        event(f"{name}.failed", seconds=seconds, error=type(e).__name__)
        raise
    event(f"{name}.done", seconds=round(time.monotonic() - started, 3))
