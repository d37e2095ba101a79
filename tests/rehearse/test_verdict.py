"""What a rehearsal's verdict means for its candidate, and how the document reads."""

import pytest

from orchestrator.bench.verdict import Check, Outcome, Verdict
from orchestrator.budget import budget
from orchestrator.cli.render_rehearsal import rehearsal as render
from orchestrator.fit import Fit, Reason, Terms, judge
from orchestrator.rehearse import Rehearsal
from orchestrator.settings import Wishes
from orchestrator.standin import Written
from tests.shapes import CATALOG, box
from tests.test_plan import DEFAULT

_TAG = "deepseek-r1:7b"


def fitting() -> Fit:
    machine = box(32, version="0.9.3")
    terms = Terms(
        profile=DEFAULT, machine=machine, budget=budget(machine, None), wishes=Wishes(context=4096)
    )
    found = judge(CATALOG.find(_TAG), terms, "cpu")
    assert isinstance(found, Fit)
    return found


def rehearsal(*checks: tuple[str, Outcome], refusal: Reason | None = None) -> Rehearsal:
    order: tuple[Outcome, ...] = ("inconclusive", "failed", "warned", "passed")
    worst = min((outcome for _, outcome in checks), key=order.index)
    found = tuple(
        Check(name=n, estimated=8 * 2**30, measured=9 * 2**30, error=0.11, outcome=o, detail="why")
        for n, o in checks
    )
    return Rehearsal(
        fit=fitting(),
        settings={"num_ctx": 4096},
        written=Written(digest="sha256:0", file_bytes=4_683_000_000),
        weights_bytes=4_677_000_000,
        write_s=12.34,
        verdict=Verdict(outcome=worst, checks=found),
        refusal=refusal,
        at="2026-11-26T12:00:00Z",
    )


@pytest.mark.parametrize(
    ("checks", "refusal", "reason"),
    [
        pytest.param([("memory", "passed"), ("decode speed", "passed")], None, None, id="passed"),
        pytest.param([("memory", "warned")], None, None, id="warned"),
        pytest.param([("memory", "failed")], None, "memory", id="memory"),
        pytest.param([("placement", "failed")], None, "memory", id="spilled"),
        pytest.param([("decode speed", "failed")], None, "speed", id="slow"),
        pytest.param([("memory", "failed"), ("decode speed", "failed")], None, "memory", id="both"),
        pytest.param([("load", "failed")], "memory", "memory", id="out-of-memory"),
        pytest.param([("load", "failed")], "server", "server", id="runner-died"),
    ],
)
def test_what_does_not_hold_rejects_the_candidate_with_its_reason(
    checks: list[tuple[str, Outcome]], refusal: Reason | None, reason: Reason | None
) -> None:
    found = rehearsal(*checks, refusal=refusal)
    assert not found.inconclusive
    if reason is None:
        assert found.rejection is None
        return
    assert found.rejection
    assert (found.rejection.tag, found.rejection.reason) == (_TAG, reason)
    assert found.rejection.detail.startswith("rehearsed: ")
    assert "why" in found.rejection.detail


def test_company_on_the_server_is_inconclusive() -> None:
    assert rehearsal(("alone on the server", "inconclusive")).inconclusive


def test_a_person_reads_signed_errors_and_a_difference_in_weights() -> None:
    text = render(rehearsal(("memory", "warned")).to_json() | {"measured": _measured()})
    assert "rehearsed deepseek-r1:7b, as a stand-in at 2026-11-26T12:00:00Z: 4.68 GB" in text
    assert "promised 8.00 GiB, measured 9.00 GiB (+11.0 %)" in text
    assert "the stand-in has 4.36 GiB" in text
    assert "prefill   " in text
    assert "verdict   warned (memory: why)" in text


def test_one_that_did_not_load_says_so_in_place_of_figures() -> None:
    text = render(rehearsal(("load", "failed"), refusal="server").to_json())
    assert "decode" not in text
    assert "verdict   failed (load: why)" in text


def _measured() -> dict[str, float]:
    return {"decode_tps": 2.0, "prefill_tps": 4.0, "load_s": 3.0}
