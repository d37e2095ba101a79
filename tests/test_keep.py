"""When what serves still holds by the terms of today."""

from typing import Any

import pytest

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
