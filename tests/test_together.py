"""Several models loaded at once: places, rules of the server, and what is missing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.budget import budget
from orchestrator.fit import Fit, Terms
from orchestrator.machine import Machine
from orchestrator.model import Candidate
from orchestrator.offload import offloaded
from orchestrator.placement import server_bytes
from orchestrator.profile import Profile
from orchestrator.schema import load as load_schema
from orchestrator.settings import Wishes
from orchestrator.together import Together, most_loaded, together
from orchestrator.units import GIB
from tests.shapes import CATALOG, VERSIONS, box, made

PROFILE = Profile(name="default", families=(("deepseek-r1", "qwen3"),), quantizations=("Q4_K_M",))
A10 = ("NVIDIA A10", 24)

H100 = "NVIDIA H100 80GB HBM3"


def terms_of(machine: Machine, **more: Any) -> Terms:
    profile = replace(PROFILE, **more.pop("profile", {}))
    allowed = budget(machine, profile.max_memory_bytes)
    wishes = Wishes(context=4096, parallel=1, num_batch=more.pop("num_batch", None))
    return Terms(profile=profile, machine=machine, budget=allowed, wishes=wishes, **more)


def all_of(machine: Machine, *tags: str, files: Sequence[Candidate] = (), **more: Any) -> Together:
    found = together(files or [CATALOG.find(t) for t in tags], terms_of(machine, **more))
    document = found.to_json()
    jsonschema.validate(document, load_schema("together"))
    for each in document["loaded"]:
        jsonschema.validate(each["estimate"], load_schema("estimate"))
    return found


def loaded(found: Together) -> list[str]:
    return [each.fit.candidate.tag for each in found.loaded]


def missing(found: Together) -> dict[str, str]:
    return {r.tag: r.reason for r in found.missing}


# --- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_the_largest_is_loaded_first_and_the_next_into_what_it_left(version: str) -> None:
    machine = box(64, A10, version=version)
    found = all_of(machine, "deepseek-r1:7b", "deepseek-r1:14b")
    assert loaded(found) == ["deepseek-r1:14b", "deepseek-r1:7b"]
    before = budget(machine, None)
    for each in found.loaded:
        took = each.fit.estimate
        assert each.left.cards[0].free_bytes == before.cards[0].free_bytes - took.devices[0].bytes
        assert each.left.host_bytes == before.host_bytes - took.host_bytes
        before = each.left


@pytest.mark.parametrize("version", VERSIONS)
def test_what_fits_alone_may_find_no_place_beside_another(version: str) -> None:
    machine = box(64, A10, version=version)
    tags = ("deepseek-r1:14b", "deepseek-r1:32b")
    assert all(loaded(all_of(machine, tag)) == [tag] for tag in tags)
    found = all_of(machine, *tags, profile={"placement": "gpu"})
    assert (loaded(found), missing(found)) == (["deepseek-r1:32b"], {"deepseek-r1:14b": "memory"})
    assert (found.missing[0].short_by_bytes or 0) > 0


def test_one_that_finds_no_place_takes_none() -> None:
    machine = box(14, version="0.9.3")
    found = all_of(machine, "deepseek-r1:70b", "deepseek-r1:7b", "deepseek-r1:1.5b")
    assert loaded(found) == ["deepseek-r1:7b", "deepseek-r1:1.5b"]
    assert missing(found) == {"deepseek-r1:70b": "memory"}


def test_each_card_is_counted_by_itself() -> None:
    machine = box(64, A10, A10, version="0.20.0")
    found = all_of(machine, "deepseek-r1:32b", "deepseek-r1:14b")
    assert [len(each.fit.estimate.devices) for each in found.loaded] == [1, 1]
    first, second = (each.fit.estimate.devices[0].index for each in found.loaded)
    assert first != second


def test_unified_memory_is_taken_once() -> None:
    machine = box(32, ("NVIDIA GB10", 32), version="0.20.0")
    assert machine.usable[0].unified_memory
    [each] = all_of(machine, "deepseek-r1:14b").loaded
    took = each.fit.estimate
    whole = budget(machine, None).host_bytes
    assert each.left.host_bytes == whole - took.host_bytes - took.devices[0].bytes
    assert each.left.cards[0].free_bytes <= each.left.host_bytes


def test_the_cap_binds_the_sum() -> None:
    tags = ("deepseek-r1:7b", "deepseek-r1:1.5b")
    machine = box(64, A10)
    assert not all_of(machine, *tags, profile={"max_memory_bytes": 10 * GIB}).missing
    found = all_of(machine, *tags, profile={"max_memory_bytes": 6 * GIB})
    assert missing(found) == {"deepseek-r1:1.5b": "memory"}


def test_all_downloads_share_the_disk() -> None:
    files = [made("x:7b", 7), made("y:7b", 7)]
    machine = box(64, disk={"free_bytes": int(7 * GIB)})
    found = all_of(machine, files=files)
    assert (loaded(found), missing(found)) == (["x:7b"], {"y:7b": "disk"})
    assert not all_of(machine, files=files, installed={"x:7b"}).missing


# --- the server's own rules ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cards", "setting", "allowed"),
    [
        pytest.param(0, None, 3, id="a-cpu-counts-as-one-card"),
        pytest.param(1, None, 3, id="three-a-card"),
        pytest.param(2, None, 6, id="two-cards"),
        pytest.param(2, 1, 1, id="the-setting-binds"),
        pytest.param(2, 0, 6, id="nought-is-the-default"),
    ],
)
def test_how_many_models_a_server_keeps(cards: int, setting: int | None, allowed: int) -> None:
    machine = box(64, *[A10] * cards, server={"settings": {"max_loaded_models": setting}})
    assert most_loaded(machine)[0] == allowed


def test_more_than_the_server_keeps_are_missing() -> None:
    machine = box(64, A10, server={"settings": {"max_loaded_models": 1}})
    found = all_of(machine, "deepseek-r1:1.5b", "deepseek-r1:7b")
    assert missing(found) == {"deepseek-r1:1.5b": "server"}
    assert "OLLAMA_MAX_LOADED_MODELS" in found.missing[0].detail


@pytest.mark.parametrize("version", ["0.9.3", "0.20.0"])
def test_before_0_30_a_second_model_has_to_fit_wholly_on_gpus(version: str) -> None:
    machine = box(64, A10, version=version)
    found = all_of(machine, "deepseek-r1:32b", "deepseek-r1:14b")
    assert missing(found) == {"deepseek-r1:14b": "memory"}
    assert "loads only what fits wholly on GPUs" in found.missing[0].detail
    assert (found.missing[0].short_by_bytes or 0) > 2 * GIB
    first = all_of(machine, "deepseek-r1:70b", "deepseek-r1:1.5b")
    assert first.loaded[0].fit.placement.kind == "split"
    by_wish = all_of(machine, "deepseek-r1:7b", "deepseek-r1:1.5b", profile={"placement": "cpu"})
    assert not by_wish.missing
    assert not all_of(box(64, version=version), "deepseek-r1:7b", "deepseek-r1:1.5b").missing


@pytest.mark.parametrize("holds", [True, False])
def test_from_0_30_on_a_second_model_may_fill_four_fifths_of_what_gpus_have_left(
    *, holds: bool
) -> None:
    tags = ("deepseek-r1:32b", "deepseek-r1:14b")
    roomy = box(64, (H100, 80), version="0.33.0")
    first, second = (e.fit.estimate for e in all_of(roomy, *tags, num_batch=512).loaded)
    least = server_bytes(second.load) / 0.8
    left = least * (1.002 if holds else 0.998)
    card = (first.devices[0].bytes + left) / GIB
    found = all_of(box(64, (H100, card), version="0.33.0"), *tags, num_batch=512)
    assert missing(found) == ({} if holds else {tags[1]: "server"})
    assert holds or "80%" in found.missing[0].detail


@pytest.mark.parametrize(("batch", "holds"), [(512, True), (1024, False), (2048, False)])
def test_from_0_30_on_long_prefill_steps_are_counted_with_a_surcharge(
    batch: int, *, holds: bool
) -> None:
    tags = ("deepseek-r1:32b", "deepseek-r1:14b")
    roomy = box(64, (H100, 80), version="0.33.0")
    first, second = (e.fit.estimate for e in all_of(roomy, *tags, num_batch=batch).loaded)
    left = server_bytes(second.load) / 0.8 + 0.5 * GIB
    card = (first.devices[0].bytes + left) / GIB
    found = all_of(box(64, (H100, card), version="0.33.0"), *tags, num_batch=batch)
    assert found.to_json()["holds"] == holds


def test_without_gpus_the_newest_server_gives_nothing_up() -> None:
    found = all_of(box(36, version="0.33.0"), "deepseek-r1:32b", "deepseek-r1:14b")
    assert not any(r.reason == "server" for r in found.missing)


# --- laws ----------------------------------------------------------------------------------------

FILES = st.lists(
    st.sampled_from([
        CATALOG.find(f"deepseek-r1:{size}") for size in ("1.5b", "7b", "8b", "14b", "32b", "70b")
    ]),
    min_size=1, max_size=5, unique_by=lambda c: c.tag,
)  # fmt: skip
BOXES = st.builds(
    lambda ram, cards, version: box(ram, *[("NVIDIA A10", c) for c in cards], version=version),
    st.floats(2, 256), st.lists(st.floats(1, 80), max_size=3), st.sampled_from(VERSIONS),
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(BOXES, FILES)
def test_no_card_and_no_host_gives_more_than_it_has(
    machine: Machine, files: list[Candidate]
) -> None:
    found = all_of(machine, files=files)
    whole = budget(machine, None)
    for card in whole.cards:
        on_it = [d for each in found.loaded for d in each.fit.estimate.devices]
        assert sum(d.bytes for d in on_it if d.index == card.index) <= card.budget_bytes
    assert sum(each.fit.estimate.host_bytes for each in found.loaded) <= whole.host_bytes
    assert sorted([*loaded(found), *missing(found)]) == sorted(c.tag for c in files)
    assert len(found.loaded) <= most_loaded(machine)[0]


@settings(deadline=None, max_examples=20)
@given(BOXES, FILES)
def test_the_first_is_placed_as_it_is_alone(machine: Machine, files: list[Candidate]) -> None:
    first = max(files, key=lambda c: (c.file_bytes, c.tag))
    alone = offloaded(first, terms_of(machine), "any")
    found = all_of(machine, files=files)
    assert isinstance(alone, Fit) == (first.tag in loaded(found))
    if isinstance(alone, Fit):
        assert found.loaded[0].fit == alone


@settings(deadline=None, max_examples=10)
@given(BOXES, FILES)
def test_the_order_of_tags_does_not_matter(machine: Machine, files: list[Candidate]) -> None:
    assert all_of(machine, files=files) == all_of(machine, files=files[::-1])
