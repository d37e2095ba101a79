"""What a server tries before it settles, and what it cannot run at all."""

from orchestrator.budget import budget
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
