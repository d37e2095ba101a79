"""Events on stderr for -v and --log-format json: fixed names `noun.verb`, values as keys.

structlog takes a fifth of a second to import, so it is loaded only when somebody listens.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_listening = False


def listen(*, as_json: bool) -> None:
    """Send events to stderr from now on: key-values, or one JSON object a line."""
    global _listening  # noqa: PLW0603 - the one switch of the process
    import structlog

    renderer: Any = structlog.processors.JSONRenderer()
    if not as_json:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
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
