"""What a model may take: per card, on the host, and what is left aside."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.budget import Budget, beside, budget
from orchestrator.fit import Terms, predicted
from orchestrator.machine import Accelerator, Machine
from orchestrator.probe.numa import without_device_nodes
from orchestrator.profile import Profile
from orchestrator.settings import Wishes
from orchestrator.units import GIB, MIB
from tests.shapes import CATALOG, box

CARD = ("NVIDIA GeForce RTX 4090", 24)
MODEL = {"name": "other:1b", "digest": "sha256:0", "bytes": 2 * GIB}


def of(machine: Machine, cap: int | None = None) -> Budget:
    return budget(machine, cap)


@pytest.mark.parametrize(
    ("machine", "host"),
    [
        pytest.param(box(8), 6.5, id="small-box-keeps-1.5-gib"),
        pytest.param(box(64), 57.6, id="large-box-keeps-a-tenth"),
        pytest.param(box(1), 0, id="never-negative"),
        pytest.param(box(64, memory={"available_bytes": 20 * GIB}), 13.6, id="what-is-available"),
        pytest.param(box(64, memory={"limit_bytes": 16 * GIB}), 14.4, id="a-limit-is-all-there-is"),
        pytest.param(box(512, memory={"limit_bytes": 4 * GIB}), 2.5, id="small-limit-on-a-big-box"),
        pytest.param(box(16, memory={"limit_bytes": 64 * GIB}), 14.4, id="limit-above-the-box"),
    ],
)
def test_the_host_s_part(machine: Machine, host: float) -> None:
    found = of(machine)
    assert found.host_bytes / GIB == pytest.approx(host, abs=1e-6)
    assert found.bytes == found.host_bytes
    assert "kept for the system" in found.basis


def test_a_card_keeps_a_percent_aside_and_at_least_64_mib() -> None:
    found = of(box(64, CARD, ("NVIDIA GeForce RTX 3050", 4)))
    assert [c.budget_bytes for c in found.cards] == [int(24 * GIB * 0.99) + 1, 4 * GIB - 64 * MIB]
    assert found.bytes == sum(c.budget_bytes for c in found.cards)
    assert found.reserve_bytes == 28 * GIB - found.bytes
    assert found.basis == "memory free now on 2 GPUs"


def test_only_usable_cards_count() -> None:
    found = of(box(64, ("NVIDIA GeForce GT 710", 2), ("Huawei Ascend 310", 8)))
    assert found.cards == ()
    assert found.bytes == found.host_bytes == pytest.approx(57.6 * GIB)


def test_the_cap_is_shown_where_it_binds() -> None:
    assert of(box(64, CARD), 8 * GIB).bytes == 8 * GIB
    assert of(box(64, CARD), 80 * GIB).bytes < 24 * GIB


def test_a_full_card_shows_no_budget_of_the_host() -> None:
    machine = box(64, CARD)
    full = replace(machine.accelerators[0], memory_free_bytes=0)
    assert of(replace(machine, accelerators=(full,))).bytes == 0


def with_free(machine: Machine, free: int) -> Machine:
    cards = tuple(replace(a, memory_free_bytes=free) for a in machine.accelerators)
    return replace(machine, accelerators=cards)


def test_what_the_server_itself_has_loaded_counts_as_free() -> None:
    server: dict[str, Any] = {"loaded": [MODEL]}
    memory = {"available_bytes": 10 * GIB}
    held, other = box(16, memory=memory, server=server), box(16, memory=memory)
    assert of(held).host_bytes - of(other).host_bytes == 2 * GIB
    held, other = with_free(box(16, CARD, server=server), GIB), with_free(box(16, CARD), GIB)
    assert of(held).cards[0].free_bytes - of(other).cards[0].free_bytes == 2 * GIB
    assert of(held).host_bytes == of(other).host_bytes


def test_loaded_models_never_make_more_than_there_is() -> None:
    server: dict[str, Any] = {"loaded": [{**MODEL, "bytes": 900 * GIB}]}
    assert of(box(16, server=server)).host_bytes == of(box(16)).host_bytes
    assert of(box(16, CARD, server=server)).cards == of(box(16, CARD)).cards


def apple(total_gib: float | None) -> Machine:
    granted = None if total_gib is None else int(total_gib * GIB)
    gpu = Accelerator(
        vendor="apple",
        name="Apple M2 Max",
        index=0,
        memory_total_bytes=granted,
        memory_free_bytes=None,
        unified_memory=True,
    )
    return replace(box(64), accelerators=(gpu,))


@pytest.mark.parametrize(
    ("granted", "free"),
    [
        pytest.param(48, 48, id="what-metal-grants"),
        pytest.param(None, 58.88, id="unknown-grant-is-the-pool"),
        pytest.param(64, 58.88, id="the-system-keeps-8-percent"),
    ],
)
def test_unified_memory_is_one_pool_with_the_host(granted: float | None, free: float) -> None:
    found = of(apple(granted))
    [card] = found.cards
    assert card.budget_bytes / GIB == pytest.approx(free, abs=1e-6)
    assert (card.metal, card.unified) == (True, True)
    assert found.host_bytes / GIB == pytest.approx(58.88, abs=1e-6)


@settings(deadline=None, max_examples=80)
@given(st.floats(0.1, 1024), st.floats(0, 1), st.floats(0.01, 1024), st.floats(0, 200))
def test_a_budget_is_within_what_is_there(
    ram: float, share: float, limit: float, loaded: float
) -> None:
    memory = {"available_bytes": int(ram * GIB * share), "limit_bytes": int(limit * GIB)}
    server = {"loaded": [{**MODEL, "bytes": int(loaded * GIB)}]}
    found = of(box(ram, CARD, memory=memory, server=server))
    assert 0 <= found.host_bytes <= int(ram * GIB)
    assert all(0 <= c.free_bytes <= 24 * GIB for c in found.cards)


def loaded_beside(machine: Machine, model: str = "qwen3:8b") -> bool:
    found = predicted(CATALOG.find(model), Terms(
        profile=Profile(name="x"),
        machine=machine,
        budget=budget(machine, None),
        wishes=Wishes(context=4096),
    ))  # fmt: skip
    return beside(machine, found.estimate)


@pytest.mark.parametrize(
    ("machine", "fits"),
    [
        pytest.param(box(64, server={"loaded": [MODEL]}), True, id="room-for-both"),
        pytest.param(
            box(64, memory={"available_bytes": 4 * GIB}, server={"loaded": [MODEL]}),
            False,
            id="only-in-its-place",
        ),
        pytest.param(
            box(64, server={"settings": {"max_loaded_models": 1}}), False, id="the-server-holds-one"
        ),
        pytest.param(box(64, CARD), True, id="a-free-card"),
    ],
)
def test_whether_a_model_fits_beside_what_is_loaded(machine: Machine, fits: bool) -> None:
    assert loaded_beside(machine) is fits


def test_a_card_that_another_model_fills_takes_none_beside_it() -> None:
    full = box(64, CARD, server={"loaded": [MODEL]})
    card = replace(full.accelerators[0], memory_free_bytes=3 * GIB)
    assert not loaded_beside(replace(full, accelerators=(card,)))


def test_hbm_that_the_kernel_uses_too_is_promised_once() -> None:
    node = {"index": 1, "total_bytes": 94 * GIB, "free_bytes": 93 * GIB}
    grace = box(
        596,
        ("NVIDIA GH200 480GB", 95.6),
        memory={"available_bytes": 573 * GIB},
        host={"arch": "aarch64", "numa": [node]},
    )
    own = without_device_nodes(grace.memory, grace.host, grace.accelerators)
    found = of(replace(grace, memory=own))
    assert found.host_bytes / GIB == pytest.approx(480 - 50.2, abs=1e-6)
    assert sum(c.free_bytes for c in found.cards) / GIB == pytest.approx(95.6)
