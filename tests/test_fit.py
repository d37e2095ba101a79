"""What a server tries before it settles, and what it cannot run at all."""

from dataclasses import replace

import pytest

from orchestrator.budget import budget
from orchestrator.deployment import parameters
from orchestrator.fit import Fit, Rejection, Terms, judge
from orchestrator.machine import Machine
from orchestrator.profile import Profile
from orchestrator.settings import Wishes
from tests.graded import graded_by, run_of
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


def test_a_batch_that_does_not_fit_by_what_was_measured_gives_way_too() -> None:
    machine = box(20, version="0.33.0", server={"runtime": "release"})
    terms = Terms(
        profile=Profile(name="any"),
        machine=machine,
        budget=budget(machine, None),
        wishes=Wishes(context=40_000),
    )
    model = CATALOG.find("deepseek-r1:14b")
    raw = judge(model, terms, "cpu")
    assert isinstance(raw, Fit)
    assert raw.estimate.load.run.num_batch == 2048
    more = (terms.budget.host_bytes - raw.estimate.host_bytes + 2**20) / (
        raw.estimate.resident_bytes or 1
    )
    grades = graded_by(run_of(raw.estimate, machine, memory=1 + more))
    found = judge(model, replace(terms, grades=grades), "cpu")
    assert isinstance(found, Fit)
    assert found.estimate.load.run.num_batch == 512
    assert found.estimate.calibrated
