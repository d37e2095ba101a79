"""Machines side by side."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.compare import compare, next_larger
from orchestrator.plan import choose
from orchestrator.profile import Profile
from orchestrator.settings import Wishes
from orchestrator.units import GIB
from tests.shapes import CATALOG, box, made

PROFILE = Profile(
    name="default", families=(("deepseek-r1", "qwen3"),), quantizations=("Q4_K_M", "Q8_0")
)
RTX_4090 = ("NVIDIA GeForce RTX 4090", 24)
TAGS = ("deepseek-r1:1.5b", "deepseek-r1:7b", "deepseek-r1:14b", "deepseek-r1:32b")
FILES = [CATALOG.find(tag) for tag in TAGS]


def test_each_machine_gets_the_plan_that_it_would_get_alone() -> None:
    machines = {"b.json": box(64, RTX_4090), "a.json": box(8)}
    wishes = Wishes(context=4096)
    found = compare(PROFILE, machines, FILES, wishes=wishes, named=True)
    assert [each.source for each in found] == ["b.json", "a.json"]
    for each in found:
        alone = choose(PROFILE, machines[each.source], FILES, wishes=wishes, named=True)
        assert each.plan == alone
        assert each.to_json()["plan"] == alone.to_json()


@pytest.mark.parametrize(
    ("ram", "chosen", "larger"),
    [
        pytest.param(6.5, "deepseek-r1:7b", "deepseek-r1:14b", id="the-next-and-not-the-largest"),
        pytest.param(64, "deepseek-r1:32b", None, id="the-largest-has-none"),
        pytest.param(1, None, "deepseek-r1:1.5b", id="without-a-pick-the-smallest"),
    ],
)
def test_the_next_larger(ram: float, chosen: str | None, larger: str | None) -> None:
    plan = choose(replace(PROFILE, min_tps=0), box(ram), FILES, named=True)
    assert (plan.chosen.candidate.tag if plan.chosen else None) == chosen
    found = next_larger(plan, FILES)
    assert (found.tag if found else None) == larger
    if found:
        assert found.reason == "memory"
        assert (found.short_by_bytes or 0) > 0


def test_another_file_of_the_chosen_model_is_not_larger() -> None:
    files = [CATALOG.find(t) for t in ("deepseek-r1:7b", "deepseek-r1:7b-qwen-distill-q8_0")]
    plan = choose(PROFILE, box(7.5), files, named=True)
    assert plan.chosen
    assert [r.reason for r in plan.rejected] == ["memory"]
    assert next_larger(plan, files) is None


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        pytest.param({"commercial_use": False}, False, id="a-licence-no-box-can-buy"),
        pytest.param({"min_server_version": "0.30.0"}, False, id="nor-a-server"),
        pytest.param({"file_bytes": 10**12}, True, id="a-disk-it-can"),
    ],
)
def test_only_what_hardware_cures_is_next_larger(more: dict[str, Any], counts: bool) -> None:
    files = [made("small:7b", 7), made("larger:9b", 9, **more)]
    machine = box(64, version="0.20.0", disk={"free_bytes": 90 * GIB})
    plan = choose(replace(PROFILE, min_tps=0), machine, files, named=True)
    found = next_larger(plan, files)
    assert (found is not None) == counts


def test_speed_is_a_reason_to_buy_another_box() -> None:
    plan = choose(PROFILE, box(64, host={"physical_cores": 8}), FILES, named=True)
    found = next_larger(plan, FILES)
    assert found
    assert (found.reason, found.short_by_bytes) == ("speed", None)
