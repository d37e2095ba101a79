"""Laws of the plan over machines, settings and every era of servers; every tag; its cost."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidInput
from orchestrator.estimate import Estimate
from orchestrator.fit import SUPPORTED
from orchestrator.lone import estimated
from orchestrator.machine import Machine
from orchestrator.model import Candidate
from orchestrator.plan import Plan, choose, eligible, order
from orchestrator.profile import PlacementWish, Profile
from orchestrator.settings import Wishes
from orchestrator.units import GIB
from tests.shapes import CATALOG, box

ERAS = ("0.9.3", "0.12.11", "0.20.0", "0.33.0")
PROFILE = Profile(
    name="default", families=(("deepseek-r1", "qwen3"),), quantizations=("Q4_K_M",), min_tps=0
)
# Dense, tied, of experts, latent; grouped-query with heads of another width than E/H.
FILES = [
    CATALOG.find(tag)
    for tag in (
        "qwen3:0.6b", "deepseek-r1:1.5b", "qwen3:4b", "deepseek-r1:7b", "deepseek-r1:8b",
        "deepseek-r1:8b-llama-distill-q4_K_M", "deepseek-r1:14b", "qwen3:14b", "qwen3:30b",
        "deepseek-r1:32b", "deepseek-r1:70b", "deepseek-r1:671b",
    )
]  # fmt: skip
RANK = {c.tag: place for place, c in enumerate(order(FILES, PROFILE))}
LAW = settings(deadline=None, max_examples=100)
FEWER = settings(deadline=None, max_examples=40)

MEMORY = st.floats(1, 600).map(lambda gib: round(gib, 1))
CARDS = st.lists(st.floats(0.5, 90).map(lambda gib: round(gib, 1)), max_size=3)
VERSIONS = st.sampled_from(ERAS)
PLACEMENTS: st.SearchStrategy[PlacementWish] = st.sampled_from(["gpu", "split", "cpu", "any"])
CONTEXTS = st.integers(1, 140_000)
SLOTS = st.integers(1, 6)
MORE = st.floats(0, 90)


@dataclass(frozen=True)
class Box:
    """A machine, and what is wished of it; its card is near what one of the models needs."""

    ram: float
    card: float
    version: str
    context: int
    slots: int
    placement: PlacementWish


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Where a law breaks, it does at the edge: uniform sizes seldom come near one."""
    version, model = draw(VERSIONS), draw(st.sampled_from(FILES))
    context, slots = draw(st.sampled_from([2048, 4096, 8192, 32768])), draw(SLOTS)
    whole = estimated(model, Wishes(context=context, parallel=slots), None, version, None)
    card = whole.devices[0].bytes / GIB * draw(st.floats(0.7, 1.5))
    placements: list[PlacementWish] = ["gpu", "cpu"] if version == ERAS[-1] else ["gpu", "any"]
    placement = draw(st.sampled_from(placements))
    return Box(draw(MEMORY), round(card, 2), version, context, slots, placement)


def machine_of(ram: float, cards: Sequence[float], version: str) -> Machine:
    return box(ram, *[("NVIDIA A10", size) for size in cards], version=version)


def plan(
    machine: Machine, placement: PlacementWish = "any", context: int = 4096, parallel: int = 1
) -> Plan:
    profile = replace(PROFILE, placement=placement)
    wishes = Wishes(context=context, parallel=parallel)
    return choose(profile, machine, FILES, wishes=wishes, named=True)


def not_smaller(one: Plan, other: Plan) -> bool:
    """Whether the second plan's model ranks at least as high as the first's."""
    if one.chosen is None:
        return True
    if other.chosen is None:
        return False
    return RANK[other.chosen.candidate.tag] <= RANK[one.chosen.candidate.tag]


# --- machines ------------------------------------------------------------------------------------


@LAW
@given(MEMORY, CARDS, VERSIONS, PLACEMENTS, MORE)
def test_more_host_memory_never_means_a_smaller_model(
    ram: float, cards: list[float], version: str, placement: PlacementWish, more: float
) -> None:
    small, large = (machine_of(r, cards, version) for r in (ram, ram + more))
    assert not_smaller(plan(small, placement), plan(large, placement))


# The laws about a card hold of one card, and of models wholly on it; before 0.30 of splits as well,
# where any place will do. They are not stated of
# - splits from 0.30 on: the layers are the server's, and it may fill a card into what a plan leaves
#   alone; one more slot can stop it a layer earlier (deepseek-r1:70b at 32,768 tokens on 62.9 GiB:
#   4 slots fit, 3 are refused for 42 MiB);
# - several cards: servers choose badly among them. From 0.30 on a card that is large enough by four
#   fifths of Ollama's guess gets the model alone, though it does not fit there, and two smaller
#   ones held it (qwen3:4b at 32,768 tokens: 5.2 and 4.4 GiB hold it, 5.2 and 6.5 do not).


@LAW
@given(boxes(), MORE)
def test_more_memory_on_the_card_never_means_a_smaller_model(box: Box, more: float) -> None:
    small, large = (
        machine_of(box.ram, [card], box.version) for card in (box.card, box.card + more)
    )
    assert not_smaller(*(plan(m, box.placement, box.context, box.slots) for m in (small, large)))


@LAW
@given(boxes(), MORE)
def test_a_first_card_never_means_a_smaller_model(box: Box, more: float) -> None:
    bare = machine_of(box.ram, [], box.version)
    for cards in ([box.card], [box.card, max(0.5, more)]):
        added = machine_of(box.ram, cards, box.version)
        assert not_smaller(*(plan(m, "any", box.context, box.slots) for m in (bare, added)))


@LAW
@given(boxes().filter(lambda box: box.version != "0.33.0"), st.floats(0.5, 90))
def test_before_0_30_a_second_card_never_means_a_smaller_model(box: Box, more: float) -> None:
    one, two = (machine_of(box.ram, c, box.version) for c in ([box.card], [box.card, more]))
    assert not_smaller(*(plan(m, "gpu", box.context, box.slots) for m in (one, two)))


# --- wishes --------------------------------------------------------------------------------------


@LAW
@given(boxes(), st.floats(0, 1))
def test_a_longer_context_never_means_a_larger_model(box: Box, part: float) -> None:
    machine = machine_of(box.ram, [box.card], box.version)
    short, long = (
        plan(machine, box.placement, c, box.slots)
        for c in (1 + int(part * box.context), box.context)
    )
    assert not_smaller(long, short)


@LAW
@given(boxes(), SLOTS)
def test_more_slots_never_mean_a_larger_model(box: Box, more: int) -> None:
    machine = machine_of(box.ram, [box.card], box.version)
    few, many = (
        plan(machine, box.placement, box.context, s) for s in (box.slots, box.slots + more)
    )
    assert not_smaller(many, few)


# --- the pick ------------------------------------------------------------------------------------

ANY_PLACEMENT: st.SearchStrategy[PlacementWish] = st.sampled_from(
    ["auto", "gpu", "split", "cpu", "any"]
)
SOME_FILES = st.lists(
    st.sampled_from([c for c in CATALOG.candidates if c.family in ("deepseek-r1", "qwen3")]),
    min_size=1, max_size=12, unique_by=lambda c: c.tag,
)  # fmt: skip


@FEWER
@given(MEMORY, CARDS, VERSIONS, SOME_FILES, ANY_PLACEMENT, st.sampled_from([0.0, 4.0, 50.0]))
def test_every_named_tag_is_chosen_or_rejected_exactly_once(
    ram: float,
    cards: list[float],
    version: str,
    files: list[Candidate],
    placement: PlacementWish,
    floor: float,
) -> None:
    profile = replace(PROFILE, placement=placement, min_tps=floor)
    found = choose(profile, machine_of(ram, cards, version), files, named=True)
    answered = [r.tag for r in found.rejected]
    answered += [found.chosen.candidate.tag] if found.chosen else []
    assert sorted(answered) == sorted(c.tag for c in files)
    assert all(
        (r.short_by_bytes or 0) > 0 for r in found.rejected if r.reason in ("memory", "disk")
    )


@FEWER
@given(MEMORY, CARDS, VERSIONS, ANY_PLACEMENT)
def test_a_pick_fits_each_card_and_the_host(
    ram: float, cards: list[float], version: str, placement: PlacementWish
) -> None:
    profile = replace(PROFILE, placement=placement)
    found = choose(profile, machine_of(ram, cards, version), CATALOG.candidates)
    if found.chosen is None:
        return
    free = {c.index: c.budget_bytes for c in found.budget.cards}
    assert all(d.bytes <= free[d.index] for d in found.chosen.estimate.devices)
    assert found.chosen.estimate.host_bytes <= found.budget.host_bytes
    kind = found.chosen.placement.kind
    assert placement in ("auto", "any", kind) or (placement, kind) == ("split", "gpu")


@FEWER
@given(MEMORY, CARDS, VERSIONS)
def test_everything_that_ranks_above_the_pick_is_rejected(
    ram: float, cards: list[float], version: str
) -> None:
    found = choose(PROFILE, machine_of(ram, cards, version), CATALOG.candidates)
    ranked = [c.tag for c in order(eligible(CATALOG.candidates, PROFILE), PROFILE)]
    above = ranked[: ranked.index(found.chosen.candidate.tag)] if found.chosen else ranked
    assert set(above) == {r.tag for r in found.rejected}


# --- the document --------------------------------------------------------------------------------


@LAW
@given(MEMORY, CARDS, VERSIONS, PLACEMENTS, st.permutations(FILES))
def test_the_same_input_gives_the_same_bytes(
    ram: float,
    cards: list[float],
    version: str,
    placement: PlacementWish,
    shuffled: list[Candidate],
) -> None:
    profile = replace(PROFILE, placement=placement)
    one, two = (
        choose(profile, machine_of(ram, cards, version), files, named=True).to_json()
        for files in (FILES, shuffled)
    )
    assert json.dumps(one) == json.dumps(two)


@LAW
@given(MEMORY, CARDS, VERSIONS, st.sampled_from(FILES), CONTEXTS, SLOTS)
def test_parts_sum_to_the_total(
    ram: float, cards: list[float], version: str, model: Candidate, context: int, slots: int
) -> None:
    wishes = Wishes(context=context, parallel=slots)
    found = estimated(model, wishes, machine_of(ram, cards, version), None, None)
    sums_up(found)


def sums_up(found: Estimate) -> None:
    memory, weights = found.to_json()["memory"], found.load.weights
    parts = ("weights_bytes", "kv_cache_bytes", "compute_bytes", "overhead_bytes")
    assert memory["total_bytes"] == sum(memory[part] for part in parts)
    places = sum(d["bytes"] for d in memory["devices"]) + memory["host_bytes"]
    assert memory["total_bytes"] == places
    layers = memory["per_layer"]
    assert len(layers) == found.load.shape.block_count + 1 == memory["layers"]
    assert memory["kv_cache_bytes"] == sum(each["kv_cache_bytes"] for each in layers)
    # The output matrix of tied embeddings lies on the host, and on a card once more.
    twice = weights.embedding_bytes if found.load.shape.tied_embeddings else 0
    held = memory["weights_bytes"] - (twice if any(s.output for s in found.placement.shares) else 0)
    assert held == weights.total_bytes
    beside = weights.embedding_bytes + weights.vision_bytes + weights.draft_bytes
    rest = held - beside - sum(each["weights_bytes"] for each in layers)
    assert 0 <= rest < found.load.shape.block_count  # what a split by rule leaves over


# --- every tag -----------------------------------------------------------------------------------

FULL = 2**31 - 1  # clamped to what the model was trained for


@pytest.mark.parametrize("context", [4096, 32768, FULL], ids=["4k", "32k", "full"])
def test_every_tag_estimates_or_says_why_not(context: int) -> None:
    wishes = Wishes(context=context)
    known = 0
    for candidate in CATALOG.candidates:
        if candidate.format != "gguf" or candidate.architecture.name not in SUPPORTED:
            with pytest.raises(InvalidInput):
                estimated(candidate, wishes, None, None, None)
            continue
        found = estimated(candidate, wishes, None, None, None)
        known += len(candidate.tags)
        trained = candidate.architecture.context_length
        assert found.load.run.context == min(context, trained), candidate.tag
        assert found.total_bytes > found.weights_bytes > 0.9 * candidate.file_bytes, candidate.tag
        sums_up(found)
    tags = sum(len(c.tags) for c in CATALOG.candidates if c.format == "gguf")
    assert known == tags, "a GGUF of the catalogue has an architecture that is not known"


def test_every_tag_is_found_under_its_name() -> None:
    for candidate in CATALOG.candidates:
        assert all(CATALOG.find(tag) is candidate for tag in candidate.tags)


# --- cost ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ERAS)
def test_sixty_four_cards_cost_hardly_more_than_one(version: str) -> None:
    """The command starts in 0.17 s, so this keeps a plan for 64 below twice that for one."""
    sizes = (24.0,) if version in ("0.12.11", "0.20.0") else (24.0, 1.2)
    for size in sizes:
        one, many = (seconds(machine_of(512, [size] * n, version)) for n in (1, 64))
        assert many - one < 0.15


def seconds(machine: Machine) -> float:
    best = 9.0
    for _ in range(3):
        began = time.process_time()
        choose(replace(PROFILE, placement="auto", min_tps=4), machine, CATALOG.candidates)
        best = min(best, time.process_time() - began)
    return best
