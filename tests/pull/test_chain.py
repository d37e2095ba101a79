"""What it means that no source delivered."""

from orchestrator.catalog import Catalog
from orchestrator.errors import (
    ModelUnavailable,
    SourceBusy,
    SourceCorrupt,
    SourceUnreachable,
    UnknownModel,
)
from orchestrator.pull.chain import Failures, first, gathered
from orchestrator.pull.registered import Registered
from orchestrator.server import Server
from orchestrator.source.registry import Registry
from tests.loop.heard import Heard

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


def test_where_no_source_is_set_none_is_reached() -> None:
    """A profile may name the starter model alone, which is no source of a tag."""
    found = gathered("a:1", [])
    assert type(found) is SourceUnreachable
    assert "sources = [...]" in found.hint


def test_what_one_sources_catalogue_does_not_know_is_asked_of_the_next() -> None:
    hub, ollama = (
        Registered(
            source=Registry(Server("http://h"), name=name),
            store_path=None,
            catalog=Catalog.bundled(),
        )
        for name in ("hub", "ollama")
    )

    def attempt(source: Registered, failures: Failures) -> str:
        if source is hub:
            raise UnknownModel("a:1 is not in the catalogue")
        return f"{source.name} after {failures[0][0]}"

    assert first([hub, ollama], "a:1", attempt, Heard()) == "ollama after hub"
