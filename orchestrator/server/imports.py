"""A create that is read to its end, whatever becomes of us.

Who leaves while the server converts leaves the whole unquantized model without a name: 15 GB for
7B parameters. Who leaves while it quantizes leaves it stuck, its temporary file open, until it is
restarted (0.9.3). So another thread reads.
"""

import queue
import threading
from contextlib import ExitStack
from typing import Any, NamedTuple

from orchestrator.errors import DeployError, Interrupted, ServerRefused, ServerUnreachable
from orchestrator.progress import Progress
from orchestrator.server.client import Server
from orchestrator.server.import_failures import create_failure

_SILENT_S = 12 * 3600.0  # a conversion says nothing between its start and its end
_LOOK_S = 20.0
_DEAF_LOOKS = 3
_DRAIN_S = 300.0
_GUESSED = "using autodetected template "


class _Step(NamedTuple):
    """One event; sizes are None where the server tells none."""

    status: str
    done_bytes: int | None
    total_bytes: int | None


def create(
    server: Server, name: str, progress: Progress, *, label: str, **fields: Any
) -> str | None:
    """Make the model `name`, and return which template the server guessed; None: none.

    `label` is what a person calls the model. fields: files or from_, quantize, template,
    parameters, license. Whatever ends this early waits for the server, up to 300 s.
    Raises InvalidInput, SourceCorrupt, DiskFull, ServerRefused, ServerUnreachable.
    """
    base = fields.get("from_")
    if base is not None and server.find(base) is None:
        # create would pull it, or make an empty model (0.9.3)
        raise ServerRefused(f"{base} is not on the server, so {label} cannot be made from it")
    creation = _Creation(server, name, label, fields)
    try:
        return _follow(creation, progress)
    except ServerUnreachable:
        raise
    except BaseException:
        creation.drain(progress)
        raise


class _Creation:
    """The stream of one create, read by a thread of its own."""

    def __init__(self, server: Server, name: str, label: str, fields: dict[str, Any]) -> None:
        self.server, self.label = server, label
        self._name, self._fields = name, fields
        self._events: queue.SimpleQueue[_Step | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, name="create", daemon=True)
        self._thread.start()

    def next(self) -> _Step | None:
        """Return the next event; None: the model is made. Raises what went wrong, queue.Empty."""
        event = self._events.get(timeout=_LOOK_S)
        if isinstance(event, BaseException):
            raise event
        return event

    def drain(self, progress: Progress) -> None:
        """Wait for the end of the stream; who is interrupted again leaves it."""
        if not self._thread.is_alive():
            return
        text = f"finishing the server's work on {self.label}, up to {_DRAIN_S:.0f} s"
        try:
            with progress.waiting(f"{text}; a second Ctrl-C leaves it"):
                self._thread.join(_DRAIN_S)
        except (KeyboardInterrupt, Interrupted):
            pass  # the first one is on its way already
        if self._thread.is_alive():
            left = "its temporary files stay until the server restarts"
            progress.say(f"left the server's work on {self.label}: {left}")

    def _read(self) -> None:
        step = None
        try:
            with self.server.mapped(), self.server.client(_SILENT_S) as client:
                for each in client.create(model=self._name, stream=True, **self._fields):
                    step = _Step(each.status or "", each.completed, each.total)
                    self._events.put(step)
            _check_success(step)
        except ServerRefused as e:
            self._events.put(create_failure(self.label, e.what))
        except ServerUnreachable as e:
            self._events.put(_lost(self.label, step, e))
        except BaseException as e:  # noqa: BLE001 - raised where it is waited for
            self._events.put(e)
        else:
            self._events.put(None)


def _check_success(last: _Step | None) -> None:
    status = "its beginning" if last is None else repr(last.status)
    if last is None or last.status != "success":
        raise ServerRefused(f"the stream ended before 'success', at {status}")


def _lost(label: str, step: _Step | None, error: ServerUnreachable) -> DeployError:
    if step is None:
        return error
    return ServerUnreachable(
        f"the server ended while it made {label}, at {step.status!r}: it was stopped, or one of "
        f"the files made it crash ({error.what})",
        hint="its log says which: `deploy runtime status`; then repeat the same command",
    )


def _follow(creation: _Creation, progress: Progress) -> str | None:
    guessed, deaf = None, 0
    with _Display(creation.label, progress) as display:
        while True:
            try:
                step = creation.next()
            except queue.Empty:
                deaf = _deaf_looks(creation.server, deaf)
                continue
            if step is None:
                return guessed
            deaf = 0
            if step.status.startswith(_GUESSED):
                guessed = step.status.removeprefix(_GUESSED)
            display.show(step)


def _deaf_looks(server: Server, before: int) -> int:
    """Return how often in a row the server did not answer. Raises ServerUnreachable: too often."""
    try:
        server.version()
    except ServerUnreachable:
        if before + 1 >= _DEAF_LOOKS:
            raise
        return before + 1
    return 0


class _Display(ExitStack):
    """Bytes where the server tells some; what it is at, and for how long, where it tells none."""

    def __init__(self, label: str, progress: Progress) -> None:
        super().__init__()
        self._label, self._progress = label, progress
        self._done_bytes, self._said = 0, ""

    def show(self, step: _Step) -> None:
        if not step.total_bytes:
            self._wait(self._at(step.status))
            return
        # Its digest of zeros is no digest; its bytes are those of the unquantized model, and go
        # back now and then, for several tensors are at work at once.
        self._done_bytes = max(self._done_bytes, step.done_bytes or 0)
        whole = self._done_bytes >= step.total_bytes
        self._wait(f"the server writes {self._label}" if whole else "")
        self._progress.advance(f"quantize {self._label}", self._done_bytes, step.total_bytes)

    def _at(self, status: str) -> str:
        if status.startswith(("converting", "parsing", "verifying", "validating")):
            return f"the server works on {self._label}: {status}"
        return f"the server writes {self._label}"

    def _wait(self, text: str) -> None:
        if text == self._said:
            return
        self.close()
        self._said = text
        if text:
            self.enter_context(self._progress.waiting(text))
