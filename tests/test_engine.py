"""Which engine runs what, release by release, and what it does unasked."""

from dataclasses import replace

import pytest

from orchestrator.engine import (
    Engine,
    card_decides,
    card_without_flash,
    engine_of,
    flash_by_default,
    no_flash,
    one_slot_only,
    placed_by,
    quantized_cache_needs_asking,
)
from orchestrator.era import Era, ServerVersion
from orchestrator.model import Architecture
from tests.shapes import TINY, shape_of


def named(architecture: str) -> Architecture:
    vocabulary = 129_280 if architecture == "deepseek2" else TINY.vocab_size
    return replace(TINY, name=architecture, vocab_size=vocabulary)


RUNNER, OWN, SERVER = Engine.LLAMA_RUNNER, Engine.OLLAMA, Engine.LLAMA_SERVER


@pytest.mark.parametrize(
    ("architecture", "version", "engine"),
    [
        ("qwen2", "0.9.3", RUNNER), ("qwen2", "0.24.0", RUNNER), ("qwen2", "0.30.0", SERVER),
        ("llama", "0.20.0", RUNNER), ("qwen3", "0.11.11", RUNNER), ("qwen3", "0.12.0", OWN),
        ("qwen3", "0.12.5", RUNNER), ("qwen3", "0.12.6", OWN), ("qwen3moe", "0.12.1", RUNNER),
        ("qwen3moe", "0.12.2", OWN), ("deepseek2", "0.12.11", RUNNER), ("deepseek2", "0.13.0", OWN),
        ("qwen3next", "0.15.4", RUNNER), ("qwen3next", "0.15.5", OWN), ("qwen35", "0.17.1", OWN),
        ("qwen25vl", "0.6.8", RUNNER), ("qwen25vl", "0.7.0", OWN), ("qwen35moe", "0.33.0", SERVER),
    ],
)  # fmt: skip
def test_ollama_s_engine_took_over_one_architecture_after_the_other(
    architecture: str, version: str, engine: Engine
) -> None:
    assert engine_of(named(architecture), ServerVersion.parse(version)) is engine


@pytest.mark.parametrize(
    ("architecture", "version", "era"),
    [
        ("qwen2", "0.12.10", Era.ESTIMATE), ("qwen2", "0.12.11", Era.MEASURED),
        ("qwen3", "0.12.10", Era.MEASURED), ("qwen25vl", "0.9.3", Era.ESTIMATE),
        ("qwen25vl", "0.11.11", Era.MEASURED), ("qwen3", "0.30.0", Era.LLAMA_SERVER),
    ],
)  # fmt: skip
def test_what_ollama_s_engine_runs_was_measured_first(
    architecture: str, version: str, era: Era
) -> None:
    assert placed_by(named(architecture), ServerVersion.parse(version)) is era


@pytest.mark.parametrize(
    ("architecture", "version", "on"),
    [
        ("qwen2", "0.13.3", False), ("qwen2", "0.13.4", True), ("llama", "0.20.0", True),
        ("qwen3", "0.12.3", False), ("qwen3", "0.12.4", True), ("qwen3moe", "0.12.5", True),
        ("qwen3vl", "0.12.7", False), ("qwen3vl", "0.12.8", True), ("deepseek2", "0.20.0", False),
        ("deepseek2", "0.33.0", True), ("qwen25vl", "0.20.0", False), ("qwen35", "0.17.1", True),
    ],
)  # fmt: skip
def test_flash_attention_unasked(architecture: str, version: str, on: bool) -> None:
    assert flash_by_default(named(architecture), ServerVersion.parse(version)) is on


def test_why_there_is_never_flash_attention() -> None:
    old, newer, newest = (ServerVersion.parse(v) for v in ("0.9.3", "0.20.0", "0.33.0"))
    unlike = shape_of("deepseek-r1:671b")
    assert no_flash(TINY, old, on_cpu=True) == "CPU"
    assert no_flash(TINY, newer, on_cpu=True) == ""
    assert "unlike length" in no_flash(unlike, newer, on_cpu=False)
    assert no_flash(unlike, newest, on_cpu=False) == ""


def test_a_quantized_cache_and_slots_have_rules_of_their_own() -> None:
    newer, newest = ServerVersion.parse("0.20.0"), ServerVersion.parse("0.33.0")
    assert quantized_cache_needs_asking(TINY, newer)
    assert not quantized_cache_needs_asking(named("qwen3"), newer)
    assert not quantized_cache_needs_asking(TINY, newest)
    assert one_slot_only(named("qwen35"), newest)
    assert not one_slot_only(TINY, newest)


def test_only_v3_s_tokenizer_runs_on_ollama_s_deepseek2() -> None:
    newer = ServerVersion.parse("0.20.0")
    assert engine_of(shape_of("deepseek-r1:671b"), newer) is OWN
    assert engine_of(shape_of("deepseek-coder-v2:16b"), newer) is RUNNER


@pytest.mark.parametrize(
    ("capability", "version", "without"),
    [
        ((5, 2), "0.9.3", False), ((5, 2), "0.20.0", False), ((7, 2), "0.20.0", True),
        ((7, 2), "0.9.3", False), ((6, 1), "0.30.0", True), ((6, 1), "0.31.1", True),
        ((6, 1), "0.31.2", False), ((5, 2), "0.33.0", True), ((7, 2), "0.33.0", True),
        ((7, 5), "0.30.0", False),
    ],
)  # fmt: skip
def test_which_cards_have_flash_attention(
    capability: tuple[int, int], version: str, without: bool
) -> None:
    assert card_without_flash(capability, ServerVersion.parse(version)) is without


def test_when_an_old_card_decides() -> None:
    old, runner, newest = (ServerVersion.parse(v) for v in ("0.9.3", "0.20.0", "0.33.0"))
    assert card_decides(TINY, old, by_hand=True)
    assert not card_decides(TINY, runner, by_hand=False)
    assert card_decides(named("qwen3"), runner, by_hand=False)
    assert card_decides(TINY, newest, by_hand=False)
    assert not card_decides(TINY, newest, by_hand=True)
