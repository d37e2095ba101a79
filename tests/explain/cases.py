"""Cases that the tests of the explanations share."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from orchestrator.explain.case import Case
from orchestrator.machine import Machine
from orchestrator.profile import Profile, parse
from orchestrator.settings import Wishes
from tests.shapes import CATALOG, VERSIONS, box

_PROFILES = Path(__file__).parents[2] / "profiles"
DEFAULT: Profile = parse((_PROFILES / "default.toml").read_text("utf-8"), "default")
RTX_4090, RTX_3060 = ("NVIDIA GeForce RTX 4090", 24.0), ("NVIDIA GeForce RTX 3060", 12.0)
TAGS = (
    "qwen2.5:0.5b", "deepseek-r1:1.5b", "deepseek-r1:7b", "deepseek-r1:8b-llama-distill-q4_K_M",
    "qwen3:8b", "qwen3:30b", "deepseek-r1:32b",
)  # fmt: skip


def case(machine: Machine, tag: str, **wishes: Any) -> Case:
    """Return the case of a tag under the default profile."""
    return Case(
        profile=DEFAULT,
        machine=machine,
        candidate=CATALOG.find(tag),
        wishes=Wishes(**wishes),
    )


def trained_for(found: Case, tokens: int) -> Case:
    """Return the case of the same model with a shorter window: a search over it is short."""
    shape = replace(found.candidate.architecture, context_length=tokens)
    return replace(found, candidate=replace(found.candidate, architecture=shape))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return any model on any box: with no card, one or two, of every era."""
    cards = [
        ("NVIDIA GeForce RTX 3060", draw(st.floats(3, 26))) for _ in range(draw(st.integers(0, 2)))
    ]
    machine = box(
        draw(st.floats(6, 96)), *cards, version=draw(st.sampled_from(VERSIONS)),
        host={"physical_cores": 8},
    )  # fmt: skip
    found = case(machine, draw(st.sampled_from(TAGS)), context=draw(st.integers(256, 16384)))
    return trained_for(found, draw(st.sampled_from([8192, 16384, 20000, 32768])))
