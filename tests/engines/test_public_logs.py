"""The estimate against what real servers logged in public: `python scripts/judge_memory.py`."""

import json
from typing import Any

import pytest

from scripts.judge_memory import EVIDENCE, Judgement, judge, judged, summary

RUNS: list[dict[str, Any]] = json.loads(EVIDENCE.read_text())["runs"]
CLEAN = [run for run in RUNS if "deviates" not in run]


def named(run: dict[str, Any]) -> str:
    return f"{run['version']}-{run['model']}-{run['context_total']}".replace(" ", "-")


@pytest.fixture(scope="module")
def found() -> list[Judgement]:
    return list(judged())


def test_all_runs_together_meet_the_goal(found: list[Judgement]) -> None:
    figures = summary(found)
    assert figures["runs"] >= 90
    assert figures["total_median"] <= 0.0005
    assert figures["total_p90"] <= 0.01
    assert figures["placed"] >= 30
    assert figures["layers_within_one"] >= 0.95


def test_the_page_states_these_figures(found: list[Judgement]) -> None:
    figures = summary(found)
    page = (EVIDENCE.parents[2] / "docs" / "estimating-memory.md").read_text()
    assert f"| total, median error | {100 * figures['total_median']:.3f} % |" in page
    assert f"| total, 90th percentile | {100 * figures['total_p90']:.2f} % |" in page
    exact = round(figures["layers_exact"] * figures["placed"])
    assert f"of {figures['placed']} runs that tell what was free | {exact} exact" in page


@pytest.mark.parametrize("run", CLEAN, ids=map(named, CLEAN))
def test_weights_and_cache_are_exact_and_the_total_never_far_too_low(run: dict[str, Any]) -> None:
    each = judge(run)
    assert each.weights is None or abs(each.weights) < 0.001
    assert abs(each.cache) < 0.001
    assert -0.03 < each.total < 0.03


def test_every_run_names_its_source_and_what_deviates_says_why() -> None:
    assert all(run["source"].startswith("https://") for run in RUNS)
    assert [run["model"] for run in RUNS if "deviates" in run] == [
        "TinyLlama", "Qwen2.5 3B Instruct", "Llama 3.2 3B Instruct"
    ]  # fmt: skip
