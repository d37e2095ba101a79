"""When what serves still holds by the terms of today."""

from typing import Any

import pytest

from orchestrator.budget import budget
from orchestrator.deployment import Names, learnt, parameters, suffixed
from orchestrator.fit import Fit, Terms, judge
from orchestrator.keep import as_planned, holds
from orchestrator.machine import Machine
from orchestrator.profile import Profile
from orchestrator.settings import Wishes
from tests.shapes import CATALOG, box

DEPLOYED: dict[str, Any] = {
    "placement": "cpu",
    "requested": {"min_tps": 4.0},
    "verdict": {
        "checks": [
            {"name": "memory", "error": -0.12, "measured": 90, "outcome": "warned"},
            {"name": "decode speed", "error": 0.1, "measured": 3.0, "outcome": "passed"},
        ]
    },
}


@pytest.mark.parametrize(
    ("terms", "placement", "outcome", "stays"),
    [
        pytest.param({}, "cpu", "passed", True, id="the-same-terms-never-turn-it-out"),
        pytest.param({"memory_warn": 0.1}, "cpu", "passed", False, id="a-tighter-tolerance"),
        pytest.param({"min_tps": 5.0}, "cpu", "passed", False, id="a-higher-floor"),
        pytest.param({"min_tps": 2.0}, "cpu", "passed", True, id="a-lower-floor"),
        pytest.param({"min_tps": 5.0}, "gpu", "passed", True, id="no-floor-on-a-gpu"),
        pytest.param({"min_tps": 5.0}, "cpu", "unverified", True, id="noise-decides-nothing"),
    ],
)
def test_what_serves_holds_by_the_terms_of_today(
    terms: dict[str, Any], placement: str, outcome: str, stays: bool
) -> None:
    memory, speed = DEPLOYED["verdict"]["checks"]
    checks = {"checks": [memory, speed | {"outcome": outcome}]}
    serves = DEPLOYED | {"placement": placement, "verdict": checks}
    assert holds(serves, Profile(name="x", **terms)) is stays


RTX_4090 = ("NVIDIA GeForce RTX 4090", 24)
ALL: dict[str, Any] = {"threads": 16, "box_cores": 16}
CPUSET: dict[str, Any] = {"threads": 4, "box_cores": 64}
QUOTA: dict[str, Any] = {"threads": 2, "box_cores": 16, "cpu_quota": 2500}


def on(machine: Machine, tag: str = "deepseek-r1:7b") -> Fit:
    terms = Terms(
        profile=Profile(name="any", min_tps=0.01),
        machine=machine,
        budget=budget(machine, None),
        wishes=Wishes(context=4096),
    )
    found = judge(CATALOG.find(tag), terms, "any")
    assert isinstance(found, Fit)
    return found


@pytest.mark.parametrize(
    ("host", "told"),
    [
        pytest.param(QUOTA, 2, id="a-quota"),
        pytest.param(CPUSET, 4, id="a-cpuset-without-a-quota"),
        pytest.param(ALL | {"cpu_quota": 64_000}, None, id="a-quota-above-the-box"),
        pytest.param(ALL, None, id="all-of-the-box"),
        pytest.param({"threads": 4}, None, id="a-box-that-does-not-tell"),
    ],
)
def test_threads_are_fixed_where_a_server_would_start_too_many(
    host: dict[str, Any], told: int | None
) -> None:
    machine = box(64, host=host)
    assert parameters(on(machine), machine).get("num_thread") == told


def test_threads_are_fixed_only_where_the_cpu_computes() -> None:
    whole, split = box(64, RTX_4090, host=CPUSET), box(128, RTX_4090, host=CPUSET)
    assert "num_thread" not in parameters(on(whole), whole)
    found = on(split, "deepseek-r1:70b")
    assert found.placement.kind == "split"
    assert parameters(found, split)["num_thread"] == 4


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        pytest.param({"num_thread": 2}, QUOTA, True, id="the-quota-of-that-day"),
        pytest.param({"num_thread": 4}, QUOTA, False, id="another-quota"),
        pytest.param({}, QUOTA, False, id="a-quota-that-is-new"),
        pytest.param({}, CPUSET, False, id="a-cpuset-that-is-new"),
        pytest.param({"num_thread": 2}, ALL, False, id="a-quota-that-is-gone"),
        pytest.param({"num_thread": 16}, ALL, True, id="told-what-it-would-do-by-itself"),
        pytest.param({}, ALL, True, id="never-told"),
    ],
)
def test_what_serves_with_other_threads_is_not_what_is_planned(
    then: dict[str, int], now: dict[str, Any], *, same: bool
) -> None:
    machine = box(64, host=now)
    serves = {
        "tag": "deepseek-r1:7b", "context": 4096, "parallel": 1, "placement": "cpu",
        "settings": {"num_ctx": 4096} | then,
    }  # fmt: skip
    assert as_planned(serves, on(machine), machine) is same
    assert not as_planned({**serves, "context": 8192}, on(machine), machine)


def test_a_rollback_rules_out_what_it_went_away_from_until_somebody_names_it() -> None:
    left = {"tag": "qwen3:14b", "model": "deploy/qwen3:14b-ctx4096", "at": "2026-01-01T00:00:00Z"}
    serves = {
        "tag": "qwen3:8b",
        "deployed_at": "2025-01-01T00:00:00Z",
        "rolled_back_from": left,
        "rejected": [{"tag": "x", "reason": "memory", "learnt": True}],
    }
    [rejection] = learnt(serves, named=False).values()
    assert (rejection.tag, rejection.reason) == ("qwen3:14b", "policy")
    assert "`deploy auto qwen3:14b`" in rejection.detail
    assert learnt(serves, named=True) == {}
    assert learnt({**serves, "tag": "qwen3:14b"}, named=False) == {}  # back to another context
    assert learnt({**serves, "rolled_back_from": None}, named=False) == {}


def test_names_of_one_tag_with_other_contents_are_told_apart_and_the_same_are_the_same() -> None:
    plain = Names.of("deepseek-r1:14b", 8192, "deploy-current")
    assert plain == Names(alias="deploy-current:latest", model="deploy/deepseek-r1:14b-ctx8192")
    first = suffixed(plain, "1", {"num_ctx": 8192})
    assert first == suffixed(plain, "1", {"num_ctx": 8192})
    others = [
        suffixed(plain, "2", {"num_ctx": 8192}),
        suffixed(plain, "1", {"num_ctx": 8192, "num_gpu": 9}),
    ]
    assert len({first.model, *(o.model for o in others), plain.model}) == 4
    assert first.model.startswith(f"{plain.model}-")
    assert first.alias == plain.alias
