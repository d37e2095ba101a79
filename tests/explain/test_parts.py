"""The lines of the sum: their numbers multiply to what the estimate counts."""

import re
from dataclasses import replace
from fractions import Fraction
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.estimate import estimate
from orchestrator.explain.parts import cache_formula, parts, places
from orchestrator.fit import target_of
from orchestrator.memory import Run, kv_by_layer, kv_bytes_per_layer
from orchestrator.placement import everywhere
from orchestrator.units import gib
from tests.explain.cases import RTX_3060, RTX_4090, case
from tests.shapes import CATALOG, VERSIONS, box, load_of, run_of, runs


def value(formula: str) -> Fraction:
    """Return what the factors of a formula multiply to."""
    text, _, _ = formula.partition(", padded")
    factors = []
    for factor in text.split(" x "):
        if group := re.match(r"\(([\d +]+)\)", factor):
            factors.append(Fraction(sum(map(int, group[1].split(" + ")))))
        else:
            found = re.match(r"[\d/]+", factor)
            assert found, factor
            factors.append(Fraction(found[0]))
    return prod(factors, start=Fraction(1))


@pytest.mark.parametrize("kv", ["f16", "q8_0", "q4_0"])
@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("tag", ["deepseek-r1:7b", "qwen3:8b", "deepseek-r1:671b", "qwen3:30b"])
def test_the_factors_of_the_cache_multiply_to_it(tag: str, parallel: int, kv: str) -> None:
    shape = CATALOG.find(tag).architecture
    run = run_of("0.20.0", 8192, parallel=parallel, kv_cache_type=kv)
    size = sum(kv_by_layer(shape, run))
    formula = cache_formula(shape, run, size)
    assert formula
    assert value(formula) == size


@pytest.mark.parametrize("version", VERSIONS)
def test_the_factors_of_a_latent_cache_multiply_to_it(version: str) -> None:
    shape = replace(CATALOG.find("deepseek-r1:671b").architecture, mla_cache=True)
    run = run_of(version, 8192)
    size = sum(kv_by_layer(shape, run))
    formula = cache_formula(shape, run, size) or ""
    assert "latent values" in formula
    assert value(formula) == size


def test_padding_and_recurrent_state_are_named() -> None:
    shape = CATALOG.find("deepseek-r1:7b").architecture
    run = run_of("0.20.0", 1000)
    assert ", padded to 1024" in (cache_formula(shape, run, sum(kv_by_layer(shape, run))) or "")
    hybrid = CATALOG.find("qwen3-next:80b").architecture
    size = sum(kv_by_layer(hybrid, run))
    formula = cache_formula(hybrid, run, size) or ""
    assert formula.startswith(f"{hybrid.attention_layers} layers x ")
    cache = hybrid.attention_layers * kv_bytes_per_layer(hybrid, run)
    assert formula.endswith(f" + {gib(size - cache)} of recurrent state")


@given(runs())
@settings(deadline=None, max_examples=20)
def test_a_cache_by_another_rule_gets_no_false_formula(run: Run) -> None:
    shape = CATALOG.find("deepseek-r1:7b").architecture
    assert cache_formula(shape, run, sum(kv_by_layer(shape, run)) - 1) is None


@given(st.sampled_from(["qwen2.5:0.5b", "deepseek-r1:14b", "qwen3:30b"]), runs(), st.booleans())
@settings(deadline=None, max_examples=30)
def test_parts_and_places_sum_to_the_total(tag: str, run: Run, whole: bool) -> None:
    load = load_of(tag, str(run.version), min(run.context, 32768), parallel=run.parallel)
    placement = everywhere(load) if whole else everywhere(load, layers=5)
    found = estimate(target_of(CATALOG.find(tag), None), load, placement)
    lines = parts(found, found.to_json()["memory"]["basis"])
    assert sum(p.bytes for p in lines) == found.total_bytes
    lies = places(found, case(box(64, RTX_4090), tag).terms.budget)
    assert sum(p.bytes for p in lies) == found.total_bytes
    assert sum(p.layers for p in lies) == placement.total_layers


@pytest.mark.parametrize(
    ("tag", "version", "says"),
    [
        pytest.param("qwen3:4b", "0.20.0", "lies on both sides", id="tied-embeddings"),
        pytest.param("deepseek-r1:7b", "0.9.3", "heads", id="scores-without-flash-attention"),
        pytest.param("deepseek-r1:7b", "0.20.0", "no table of scores", id="flash-attention"),
        pytest.param("deepseek-r1:7b", "0.33.0", "tensors of the widest layer", id="llama-server"),
        pytest.param("deepseek-r1:32b", "0.20.0", "2 cards x", id="a-driver-context-a-card"),
    ],
)
def test_a_line_says_where_its_bytes_come_from(tag: str, version: str, says: str) -> None:
    found = case(box(64, RTX_3060, RTX_3060, version=version), tag).answer().fit.estimate
    lines = parts(found, found.to_json()["memory"]["basis"])
    assert any(says in p.formula for p in lines), [p.formula for p in lines]
