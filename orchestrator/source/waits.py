"""After a pull that failed: whether waiting can cure it, and how long."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.errors import PullFailed, SourceBusy, SourceUnreachable
from orchestrator.progress import Progress
from orchestrator.source.download import Download
from orchestrator.units import duration

if TYPE_CHECKING:
    import tenacity

_LONGEST_WAIT_S = 120.0
_UNTOLD_S, _TOLD_S = 60.0, 300.0
"""All waits together: where nobody says when to come back, and where the registry does."""
_BREAKS = 8
_UNBEGUN = 3  # breaks before the first file was spoken of: a line may break there as anywhere


class Waits:
    """Repeats the tries of one download.

    A registry that is busy is asked again when it wishes (`told_s` finds that out, None: it does
    not say). A line that broke is taken up again as long as each try brings the download further;
    a name that is not known, a proxy, a certificate or a model that is not there stay so.
    """

    def __init__(
        self, download: Download, progress: Progress, told_s: Callable[[], float | None]
    ) -> None:
        self._download, self._progress, self._ask = download, progress, told_s
        self._told_s: float | None = None
        self._breaks, self._unbegun = 0, 0

    def retrying(self) -> "tenacity.Retrying":
        """Return what calls a try again and again."""
        import tenacity

        self._backoff = tenacity.wait_random_exponential(multiplier=1, max=15)
        return tenacity.Retrying(
            retry=self._curable,
            wait=self._wait_s,
            stop=self._enough,
            before_sleep=self._say,
            reraise=True,
        )

    def _curable(self, state: "tenacity.RetryCallState") -> bool:
        failure = _failure(state)
        if isinstance(failure, SourceBusy):
            return True
        broke = isinstance(failure, SourceUnreachable) and failure.details.get("cause") == "line"
        self._breaks += broke
        if broke and not self._download.begun:
            self._unbegun += 1
            return self._unbegun <= _UNBEGUN
        return broke and self._download.gained_bytes > 0 and self._breaks <= _BREAKS

    def _wait_s(self, state: "tenacity.RetryCallState") -> float:
        failure = _failure(state)
        self._told_s = None
        if isinstance(failure, SourceBusy) and failure.details.get("cause") == "busy":
            self._told_s = self._ask()
        if self._told_s is None or failure is None:
            return self._backoff(state)
        failure.details["retry_after_s"] = self._told_s
        return min(self._told_s, _LONGEST_WAIT_S)

    def _enough(self, state: "tenacity.RetryCallState") -> bool:
        # Only the waits count: the download before a refusal may have taken hours.
        if self._told_s is None:
            return state.idle_for >= _UNTOLD_S
        return state.idle_for + state.upcoming_sleep > _TOLD_S

    def _say(self, state: "tenacity.RetryCallState") -> None:
        asked = "" if self._told_s is None else f", it asks for {duration(self._told_s)}"
        self._progress.say(f"{_failure(state)}{asked}; again in {duration(state.upcoming_sleep)}")


def _failure(state: "tenacity.RetryCallState") -> PullFailed | None:
    failure = state.outcome.exception() if state.outcome else None
    return failure if isinstance(failure, PullFailed) else None
