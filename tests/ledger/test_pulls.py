"""The rate at which a source delivered here, as the ledger knows it."""

from pathlib import Path

from orchestrator.ledger import Ledger
from orchestrator.ledger.pulls import note_pull, rate_bytes_per_s

MB = 10**6


def _note(ledger: Ledger, fetched_bytes: int, seconds: float, source: str = "ollama") -> None:
    note_pull(
        ledger,
        host="http://127.0.0.1:11434",
        source=source,
        model="qwen3:8b",
        fetched_bytes=fetched_bytes,
        seconds=seconds,
    )


def test_a_rate_is_the_median_of_the_newest_pulls_from_that_source(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    assert rate_bytes_per_s(ledger, "ollama") is None
    for seconds in (1000.0, 10.0, 20.0, 10.0, 5.0, 10.0):  # the first is too long ago
        _note(ledger, 100 * MB, seconds)
    _note(ledger, 100 * MB, 1.0, source="hub")

    assert rate_bytes_per_s(ledger, "ollama") == 10 * MB
    assert rate_bytes_per_s(ledger, "hub") == 100 * MB


def test_what_was_over_in_a_moment_says_nothing_of_a_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    _note(ledger, 7 * MB, 0.001)
    _note(ledger, 100 * MB, 0.0)

    assert rate_bytes_per_s(ledger, "ollama") is None
