"""Topics: what they say is computed, and they never stand in a model's way."""

import pytest

from docs.generate_claims import PAGE, main, page
from orchestrator.errors import UnknownModel
from orchestrator.explain.topics import Topic, all_topics, find, nearest
from orchestrator.explain.topics.here import here
from tests.explain.cases import RTX_4090, case
from tests.shapes import CATALOG, box

TOPICS = {t.name: t for t in all_topics()}
# Whatever the claims say of these must be on the page.
FACTS = {
    "distills": ("DeepSeek-V2-Lite", "DeepSeek-LLM", "1.5B, 7B, 8B, 14B, 32B, 70B"),
    "what-7b-means": ("7.62", "4.68 GB"),
    "half-byte": ("4.36 GiB", "56 KiB", "376.65 GiB"),
    "quantization": ("6.56",),
    "file-sizes": ("19.9 GB", "42.5 GB", "1.12 GB"),
    "moved-tags": ("5.23 GB", "0528"),
    "modality": ("Qwen2.5-VL", "Janus-Pro"),
    "context": ("32,768", "163,840", "131,072"),
    "licences": ("MIT", "3B: LicenseRef-Qwen-Research", "Apache-2.0"),
    "old-cards": ("3.5", "5.0"),
    "gpu-split": ("1,008 GB/s",),
    "full-r1": ("404.4 GB",),
}


@pytest.mark.parametrize("name", TOPICS)
def test_no_topic_has_the_name_of_a_model(name: str) -> None:
    with pytest.raises(UnknownModel):
        CATALOG.find(name)
    assert name == name.lower()
    assert name != "topics"


@pytest.mark.parametrize("topic", TOPICS.values(), ids=TOPICS)
def test_a_topic_is_short_and_names_its_sources(topic: Topic) -> None:
    assert 1 <= len(topic.claims) <= 3
    for claim in topic.claims:
        assert claim.said
        assert claim.source
        assert len(claim.fact) < 420


@pytest.mark.parametrize("name", FACTS)
def test_the_facts_stand_in_their_topic(name: str) -> None:
    text = " ".join(c.fact for c in TOPICS[name].claims)
    for fact in FACTS[name]:
        assert fact in text


def test_a_topic_is_found_as_people_write_it() -> None:
    assert find("What 7B means") == TOPICS["what-7b-means"]
    assert find("moon") is None
    assert nearest("half-a-byte") == "half-byte"
    assert nearest("xyzzy") is None


@pytest.mark.parametrize("name", TOPICS)
@pytest.mark.parametrize("cards", [(), (RTX_4090,), (("NVIDIA GeForce GT 710", 2.0),)])
def test_what_it_means_here_is_said_of_any_machine(
    name: str, cards: tuple[tuple[str, float], ...]
) -> None:
    machine = box(64, *cards, version="0.20.0")
    lines = here(name, machine, case(machine, "deepseek-r1:7b"))
    assert all(line and "{" not in line for line in lines)
    assert not here(name, machine, None) or name in (
        "several-gpus", "unified-memory", "old-cards", "ascend",
    )  # fmt: skip


def test_what_it_means_here_has_this_machine_s_numbers() -> None:
    machine = box(64, RTX_4090, ("NVIDIA GeForce GT 710", 2.0), version="0.20.0")
    pick = case(machine, "deepseek-r1:7b")
    [line] = here("half-byte", machine, pick)
    assert line.startswith("deepseek-r1:7b: 3.55 GiB by that rule, ")
    cards = here("old-cards", machine, pick)
    assert any("usable" in each for each in cards)
    assert any("GT 710" in each and "below 5.0" in each for each in cards)
    fast, slow = here("gpu-split", machine, pick)
    assert ("(gpu)" in fast, "(cpu)" in slow) == (True, True)


def test_the_page_of_claims_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "run python docs/generate_claims.py"
    assert main(["--check"]) == 0
