"""What it means that no source delivered."""

from orchestrator.errors import ModelUnavailable, SourceBusy, SourceCorrupt, SourceUnreachable
from orchestrator.pull.chain import gathered

AWAY = SourceUnreachable("no such host", hint="look at the network")
LACKS = ModelUnavailable("does not have it", hint="another tag")


def test_the_only_source_speaks_for_itself() -> None:
    assert gathered("a:1", [("ollama", AWAY)]) is AWAY


def test_several_are_told_in_their_order_with_the_hint_of_the_first() -> None:
    found = gathered("a:1", [("mirror", AWAY), ("hf.co", SourceBusy("429"))])
    assert type(found) is SourceUnreachable
    assert found.what == "no source delivers a:1: mirror: no such host; hf.co: 429"
    assert found.hint == "look at the network"
    assert found.details["tried"][1] == {"source": "hf.co", "failure": "429"}


def test_one_that_answers_and_has_it_not_makes_it_unavailable() -> None:
    for failure in (LACKS, SourceCorrupt("damaged")):
        assert type(gathered("a:1", [("a", AWAY), ("b", failure)])) is ModelUnavailable
