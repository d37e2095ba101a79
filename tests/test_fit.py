"""What a server tries before it settles, and what it cannot run at all."""

import pytest

from orchestrator.budget import budget
from orchestrator.deployment import parameters
from orchestrator.fit import Fit, Rejection, Terms, judge
from orchestrator.machine import Machine
from orchestrator.profile import Profile
from orchestrator.settings import Wishes
from tests.shapes import CATALOG, box

RTX_4090 = ("NVIDIA GeForce RTX 4090", 24)


def judged(machine: Machine, tag: str) -> Fit | Rejection:
    allowed, wishes = budget(machine, None), Wishes(context=8192)
    terms = Terms(profile=Profile(name="any"), machine=machine, budget=allowed, wishes=wishes)
    return judge(CATALOG.find(tag), terms, "any")


def test_a_server_that_chooses_its_slots_prefers_one_card_to_more_slots() -> None:
    machine = box(64, RTX_4090, RTX_4090, server={"version": "0.9.3", "pid": 1})
    found = judged(machine, "deepseek-r1:32b")
    assert isinstance(found, Fit)
    assert (len(found.estimate.devices), found.estimate.load.run.parallel) == (1, 1)


def test_the_embedded_runtime_is_not_given_a_mixture_of_experts() -> None:
    found = judged(box(64, server={"version": "0.9.3", "runtime": "embedded"}), "qwen3:30b")
    assert isinstance(found, Rejection)
    assert (found.reason, "mixture" in found.detail) == ("server", True)


@pytest.mark.parametrize(("gib", "batch"), [(17.9, 512), (32.0, 2048)])
def test_a_batch_that_does_not_fit_gives_way_and_is_fixed(gib: float, batch: int) -> None:
    """On a CPU the newest server takes 2048 tokens a step for the context alone."""
    machine = box(gib, version="0.33.0")
    allowed, wishes = budget(machine, None), Wishes(context=40_000)
    terms = Terms(profile=Profile(name="any"), machine=machine, budget=allowed, wishes=wishes)
    found = judge(CATALOG.find("deepseek-r1:14b"), terms, "cpu")
    assert isinstance(found, Fit)
    assert found.estimate.load.run.num_batch == batch
    assert parameters(found, machine) == {"num_ctx": 40_000, "num_batch": batch}
