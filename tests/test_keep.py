"""When what serves still holds by the terms of today."""

from typing import Any

import pytest

from orchestrator.deployment import Names, learnt, suffixed
from orchestrator.keep import holds
from orchestrator.profile import Profile

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
