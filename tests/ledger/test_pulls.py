"""The rate at which a source delivered here, as the ledger knows it."""

from pathlib import Path

from orchestrator.ledger import Ledger
from orchestrator.ledger.pulls import Pull, note_pull, origin_of, rate_bytes_per_s
from orchestrator.model import Origin

MB = 10**6
HOST = "http://127.0.0.1:11434"


def _note(
    ledger: Ledger,
    fetched_bytes: int,
    seconds: float,
    source: str = "ollama",
    *,
    digest: str = "a" * 64,
    origin: Origin | None = None,
) -> None:
    pull = Pull(
        host=HOST,
        source=source,
        model="qwen3:8b",
        digest=digest,
        fetched_bytes=fetched_bytes,
        seconds=seconds,
        origin=origin,
    )
    note_pull(ledger, pull)


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


def test_where_a_model_came_from_is_known_by_its_digest(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    first, second = Origin("hf:a/b", "one:Q4_K_M"), Origin("hf:a/b", "two:Q4_K_M")
    _note(ledger, MB, 1.0, origin=first)
    _note(ledger, MB, 1.0, digest="b" * 64, origin=second)
    _note(ledger, 0, 0.1)  # a pull by name says nothing of where it came from

    assert origin_of(ledger, HOST, "qwen3:8b", "a" * 64) == first
    assert origin_of(ledger, HOST, "qwen3:8b", "b" * 64) == second
    assert origin_of(ledger, HOST, "qwen3:8b", "c" * 64) is None
    assert origin_of(ledger, HOST, "qwen3:4b", "a" * 64) is None
