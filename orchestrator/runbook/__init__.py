"""What cron runs: each holds the lock, keeps a deadline, says nothing unless it fails."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Runbook:
    """`module` is in this room and has run(order, progress), which returns what it did.

    After `deadline_s` seconds it is ended.
    """

    module: str
    summary: str
    deadline_s: float


# A load may take minutes, a download hours.
RUNBOOKS = {
    "watchdog": Runbook(
        module="watchdog",
        summary="See that what is deployed answers as deployed; put right what does not.",
        deadline_s=900,
    ),
    "nightly-bench": Runbook(
        module="nightly_bench",
        summary="Measure what is deployed, and hold it against its promise.",
        deadline_s=3600,
    ),
    "refresh": Runbook(
        module="refresh",
        summary="Pull the deployed tag again, and run the loop with the same order.",
        deadline_s=6 * 3600,
    ),
}
