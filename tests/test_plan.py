"""The pick, and why not something larger."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.budget import budget
from orchestrator.fit import Fit, Rejection, Terms, judge, predicted
from orchestrator.grade import Grades
from orchestrator.keep import as_planned
from orchestrator.machine import Accelerator, Machine
from orchestrator.model import Candidate
from orchestrator.order import nothing_fits
from orchestrator.placement import everywhere
from orchestrator.plan import Plan, choose, eligible, order
from orchestrator.plan import pick as pick_by
from orchestrator.profile import PlacementWish, Profile
from orchestrator.schema import load as load_schema
from orchestrator.settings import Wishes
from orchestrator.units import GIB
from tests.graded import graded_by, run_of
from tests.shapes import CATALOG, VERSIONS, box, made

DEFAULT = Profile(
    name="default",
    families=(("deepseek-r1", "qwen3", "qwen3-next", "qwq", "qwen2.5"),),
    quantizations=("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"),
)
RTX_4090 = ("NVIDIA GeForce RTX 4090", 24)
NVIDIA_UNKNOWN = ("NVIDIA Foo 9999", 6)


def plan(
    machine: Machine,
    *tags: str,
    profile: Profile = DEFAULT,
    candidates: Sequence[Candidate] | None = None,
    **options: Any,
) -> Plan:
    """Plan for named tags, for given candidates, or for the whole catalogue."""
    options.setdefault("wishes", Wishes(context=profile.context))
    files = candidates or [CATALOG.find(t) for t in tags] or CATALOG.candidates
    found = choose(profile, machine, files, named=bool(tags or candidates), **options)
    jsonschema.validate(found.to_json(), load_schema("plan"))
    return found


def pick(found: Plan) -> str | None:
    return found.chosen.candidate.tag if found.chosen else None


def reasons(found: Plan) -> dict[str, str]:
    return {r.tag: r.reason for r in found.rejected}


def default(**more: Any) -> Profile:
    return replace(DEFAULT, **more)


# --- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"family": "qwq"}, {"billions": 9}, id="family-before-size"),
        pytest.param({"billions": 9}, {"released": "2026-01-01"}, id="size-before-release"),
        pytest.param(
            {"released": "2026-01-02"}, {"quantization": "Q8_0"}, id="release-before-quantization"
        ),
        pytest.param({"released": "2025-04"}, {"released": "2025-03-30"}, id="a-bare-month-counts"),
        pytest.param({"released": "2025-04-01"}, {"released": ""}, id="an-unknown-date-comes-last"),
        pytest.param({"quantization": "Q8_0"}, {"quantization": "Q6_K"}, id="finest-quantization"),
        pytest.param(
            {"quantization": "Q5_K_M", "file_bytes": 5_400_000_000},
            {"quantization": "Q5_0", "file_bytes": 5_500_000_000},
            id="fineness-is-no-rounded-file-size",
        ),
        pytest.param({}, {"family": "other"}, id="an-unlisted-family-comes-last"),
    ],
)
def test_the_order(first: dict[str, Any], second: dict[str, Any]) -> None:
    profile = default(families=(("qwq",), ("deepseek-r1", "qwen3")))
    base = {"released": "2025-01-20", "billions": 8}
    one, two = (made(n, **{**base, **d}) for n, d in (("z:1", first), ("a:1", second)))
    assert order([two, one], profile) == order([one, two], profile) == [one, two]


def test_families_in_one_list_are_ranked_together() -> None:
    small, large = made("r1:8b", 8), made("qwen:9b", 9, family="qwen3")
    assert order([small, large], DEFAULT) == [large, small]


def test_default_candidates_are_text_chat_models_in_gguf() -> None:
    found = eligible(CATALOG.candidates, DEFAULT)
    assert {c.kind for c in found} == {"chat"}
    assert {c.format for c in found} == {"gguf"}
    assert {c.quantization for c in found} == set(DEFAULT.quantizations)
    assert {c.family for c in found} == {f for group in DEFAULT.families for f in group}


@given(st.permutations(eligible(CATALOG.candidates, DEFAULT)[:40]))
@settings(deadline=None, max_examples=10)
def test_the_order_of_candidates_does_not_matter(shuffled: list[Candidate]) -> None:
    assert order(shuffled, DEFAULT) == order(eligible(CATALOG.candidates, DEFAULT)[:40], DEFAULT)


# --- placement -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "tag", "kind"),
    [
        pytest.param(box(64, RTX_4090), "deepseek-r1:14b", "gpu", id="gpu-if-3b-fits"),
        pytest.param(box(64, (RTX_4090[0], 2)), "deepseek-r1:70b", "cpu", id="any-if-no-3b-fits"),
        pytest.param(box(64), "deepseek-r1:70b", "cpu", id="no-card"),
    ],
)
def test_the_default_placement(machine: Machine, tag: str, kind: str) -> None:
    tags = ("deepseek-r1:1.5b", "deepseek-r1:14b", "deepseek-r1:70b")
    found = plan(machine, *tags, profile=default(min_tps=0))
    assert found.chosen
    assert (pick(found), found.chosen.placement.kind) == (tag, kind)


def test_a_model_below_3b_is_not_worth_the_card() -> None:
    machine = box(64, (RTX_4090[0], 4))
    tags = ("deepseek-r1:1.5b", "deepseek-r1:7b")
    assert pick(plan(machine, *tags, profile=default(min_tps=0))) == "deepseek-r1:7b"


@pytest.mark.parametrize(
    ("wish", "kind", "tag"),
    [
        ("gpu", "gpu", "deepseek-r1:14b"),
        ("split", "split", "deepseek-r1:70b"),
        ("any", "split", "deepseek-r1:70b"),
        ("cpu", "cpu", "deepseek-r1:70b"),
    ],
)
def test_a_wished_placement_is_kept(wish: PlacementWish, kind: str, tag: str) -> None:
    tags = ("deepseek-r1:14b", "deepseek-r1:70b")
    found = plan(box(64, RTX_4090), *tags, profile=default(placement=wish, min_tps=0))
    assert found.chosen
    assert (pick(found), found.chosen.placement.kind) == (tag, kind)


@pytest.mark.parametrize("version", ["0.9.3", "0.12.11", "0.20.0"])
def test_before_0_30_fewer_layers_are_fixed_than_would_overfill_a_card(version: str) -> None:
    model, overfilled = CATALOG.find("qwen3:14b"), 0
    profile, wishes = default(placement="split", min_tps=0), Wishes(context=4096, parallel=1)
    for tenths in range(20, 100, 2):
        machine = box(64, (RTX_4090[0], tenths / 10), version=version)
        allowed = budget(machine, None)
        terms = Terms(profile=profile, machine=machine, budget=allowed, wishes=wishes)
        by_itself = judge(model, terms, "split")
        chosen = plan(machine, model.tag, profile=profile, wishes=wishes).chosen
        if isinstance(by_itself, Fit):
            assert chosen == by_itself
        elif "short by" in by_itself.detail:
            overfilled += 1
            assert chosen
            assert chosen.placement.kind == "split"
            assert chosen.estimate.devices[0].bytes <= allowed.cards[0].budget_bytes
    assert overfilled


def test_where_any_place_will_do_a_card_that_would_be_overfilled_is_left_out() -> None:
    """From 0.30 on the layers are the server's business, and no layer at all is what is left."""
    model = CATALOG.find("deepseek-r1:14b")
    machine = box(
        64, (RTX_4090[0], 8), version="0.33.0", server={"settings": {"fit_target_bytes": 0}}
    )
    split = plan(machine, model.tag, profile=default(placement="split", min_tps=0))
    assert reasons(split) == {model.tag: "memory"}
    chosen = plan(machine, model.tag, profile=default(placement="any", min_tps=0)).chosen
    assert chosen
    assert chosen.placement.kind == "cpu"


def test_why_says_what_a_card_costs() -> None:
    assert "faster than a larger model" in plan(box(64, RTX_4090)).why
    assert "faster" not in plan(box(64)).why


def test_why_counts_against_the_memory_that_is_used() -> None:
    found = plan(box(64, (RTX_4090[0], 2)), "deepseek-r1:70b", profile=default(min_tps=0))
    assert "of 57.60 GiB (host memory; the GPUs are too small for it)" in found.why


def test_context_is_8192_on_gpus_and_4096_on_a_cpu() -> None:
    for machine, context in ((box(64, RTX_4090), 8192), (box(64), 4096)):
        chosen = plan(machine).chosen
        assert chosen
        assert chosen.estimate.load.run.context == context


@pytest.mark.parametrize(
    ("tag", "free", "slots", "kind"),
    [
        pytest.param("deepseek-r1:7b", 12, 2, "gpu", id="two-where-they-fit"),
        pytest.param("deepseek-r1:14b", 12, 1, "gpu", id="one-where-two-do-not"),
        pytest.param("deepseek-r1:32b", 12, 1, "split", id="a-split-has-one"),
        pytest.param("deepseek-r1:7b", 0.5, 2, "cpu", id="a-cpu-has-two"),
    ],
)
def test_an_old_server_chooses_its_slots(tag: str, free: float, slots: int, kind: str) -> None:
    machine = box(64, (RTX_4090[0], free), version="0.9.3")
    machine = replace(machine, server=replace(machine.server, pid=7))
    found = plan(machine, tag, profile=default(min_tps=0, placement="any")).chosen
    assert found
    assert (found.estimate.load.run.parallel, found.placement.kind) == (slots, kind)


# --- rejections ----------------------------------------------------------------------------------

SMALL = made("small:7b", 7)
LARGE = replace(CATALOG.find("deepseek-r1:70b"), tags=("x:70b",))


@pytest.mark.parametrize(
    ("candidate", "machine", "reason"),
    [
        pytest.param(LARGE, box(16), "memory", id="memory"),
        pytest.param(LARGE, box(64, disk={"free_bytes": 9 * GIB}), "disk", id="disk"),
        pytest.param(made("x:9b", 9, commercial_use=False), box(64), "licence", id="licence"),
        pytest.param(
            made("x:9b", 9, min_server_version="0.13.0"), box(64, version="0.9.3"), "server",
            id="server",
        ),
        pytest.param(made("x:9b", 9, format="mlx"), box(64), "unsupported", id="format"),
        pytest.param(
            made("x:9b", 9, architecture=replace(SMALL.architecture, name="mamba")), box(64),
            "unsupported", id="architecture",
        ),
        pytest.param(LARGE, box(64), "speed", id="speed"),
    ],
)  # fmt: skip
def test_each_reason(candidate: Candidate, machine: Machine, reason: str) -> None:
    found = plan(machine, candidates=[candidate, SMALL])
    assert pick(found) == SMALL.tag
    assert reasons(found) == {candidate.tag: reason}
    [rejection] = found.rejected
    assert ((rejection.short_by_bytes or 0) > 0) == (reason in ("memory", "disk"))
    assert rejection.detail


def test_an_unknown_server_version_is_held_against_nobody() -> None:
    assert pick(plan(box(64), candidates=[made("x:9b", 9, min_server_version="0.13.0")])) == "x:9b"


def test_a_licence_may_be_allowed() -> None:
    files = [made("x:9b", 9, commercial_use=False), SMALL]
    profile = default(allow_licence=True, min_tps=0)
    assert pick(plan(box(64), candidates=files, profile=profile)) == "x:9b"


def test_what_is_installed_needs_no_disk() -> None:
    machine = box(64, disk={"free_bytes": GIB})
    assert pick(plan(machine, candidates=[SMALL])) is None
    assert pick(plan(machine, candidates=[SMALL], installed={"small:7b"})) == "small:7b"


def test_what_an_interrupted_download_has_fetched_is_not_asked_of_the_disk_again() -> None:
    """Else a run that was killed at 90 % would step down for want of the room that it filled."""
    machine, whole = box(64, disk={"free_bytes": 2 * GIB}), SMALL.file_bytes
    assert pick(plan(machine, candidates=[SMALL])) is None
    most = whole - GIB // 2
    assert pick(plan(machine, candidates=[SMALL], partials=[(whole, most)])) == SMALL.tag
    other_model = [(whole // 2, whole // 2), (2 * whole, whole)]
    assert pick(plan(machine, candidates=[SMALL], partials=other_model)) is None


def test_disk_is_short_by_the_download_its_margin_and_a_gib() -> None:
    found = plan(box(64, disk={"free_bytes": 2 * GIB}), candidates=[SMALL])
    assert found.rejected[0].short_by_bytes == int(SMALL.file_bytes * 1.02) - GIB
    assert "4.27 GB" in found.rejected[0].detail


def test_a_context_that_the_profile_demands_is_a_reason_a_wish_is_clamped() -> None:
    short = made("x:9b", 9, architecture=replace(SMALL.architecture, context_length=2048))
    found = plan(box(64), candidates=[short, SMALL], profile=default(min_context=4096))
    assert reasons(found) == {"x:9b": "context"}
    found = plan(box(64), candidates=[short])
    assert found.chosen
    assert found.chosen.estimate.load.run.context == 2048
    assert found.chosen.estimate.requested["context"]["asked"] == 4096
    assert any("context 4096 asked" in w for w in found.warnings)


def test_the_cap_binds_although_the_card_has_more() -> None:
    found = plan(box(64, RTX_4090), "deepseek-r1:14b", profile=default(max_memory_bytes=8 * GIB))
    assert pick(found) is None
    assert "of --max-memory" in found.rejected[0].detail


def test_without_a_usable_gpu_all_of_it_is_short() -> None:
    found = plan(box(64), "deepseek-r1:7b", profile=default(placement="gpu"))
    assert "there is no usable GPU" in found.rejected[0].detail
    assert (found.rejected[0].short_by_bytes or 0) > 4 * GIB


@pytest.mark.parametrize("cards", [1, 2])
@pytest.mark.parametrize("version", VERSIONS)
def test_with_what_it_is_short_of_a_model_would_fit(version: str, cards: int) -> None:
    size = {1: 20.5, 2: 10.6}[cards]
    machine = box(64, *[("NVIDIA A10", size)] * cards, version=version)
    profile = default(placement="gpu")
    wishes = Wishes(parallel=1)
    [missing] = plan(machine, "deepseek-r1:32b", profile=profile, wishes=wishes).rejected
    assert missing.short_by_bytes
    assert missing.short_by_bytes > 2**20
    each = size + 0.1 + missing.short_by_bytes / GIB / cards + 2.2
    roomier = box(64, *[("NVIDIA A10", each)] * cards, version=version)
    found = plan(roomier, "deepseek-r1:32b", profile=profile, wishes=wishes)
    assert pick(found) == "deepseek-r1:32b"


def test_unified_memory_is_counted_once() -> None:
    gpu = Accelerator(
        vendor="nvidia", name="NVIDIA GB10", index=0, memory_total_bytes=None,
        memory_free_bytes=None, unified_memory=True, bandwidth_bytes_per_s=273 * 10**9,
    )  # fmt: skip
    server = {"settings": {"fit_target_bytes": 0}}
    machine = replace(box(14.25, server=server), accelerators=(gpu,))
    terms = Terms(profile=DEFAULT, machine=machine, budget=budget(machine, None), wishes=Wishes())
    model = CATALOG.find("deepseek-r1:14b")
    needs = predicted(model, terms).estimate
    assert needs.placement.kind == "gpu"
    assert needs.devices[0].bytes < terms.budget.host_bytes < needs.total_bytes
    assert isinstance(judge(model, terms, "any"), Rejection)
    machine = replace(machine, memory=box(15).memory)
    assert isinstance(judge(model, replace(terms, budget=budget(machine, None)), "any"), Fit)


# --- speed ---------------------------------------------------------------------------------------


def test_a_slow_model_yields_to_a_smaller_one() -> None:
    found = plan(box(64, host={"physical_cores": 8}), "deepseek-r1:70b", "deepseek-r1:1.5b")
    assert pick(found) == "deepseek-r1:1.5b"
    assert reasons(found) == {"deepseek-r1:70b": "speed"}
    assert not found.warnings


def test_the_floor_may_be_turned_off() -> None:
    tags = ("deepseek-r1:70b", "deepseek-r1:1.5b")
    assert pick(plan(box(64), *tags, profile=default(min_tps=0))) == tags[0]


def test_a_gpu_is_never_refused_for_speed() -> None:
    tags = ("deepseek-r1:14b", "deepseek-r1:1.5b")
    found = plan(box(64, RTX_4090), *tags, profile=default(min_tps=10_000))
    assert (pick(found), reasons(found)) == (tags[0], {tags[1]: "policy"})
    assert not found.warnings


@pytest.mark.parametrize("tags", [("deepseek-r1:70b",), ("deepseek-r1:70b", "deepseek-r1:32b")])
def test_the_last_one_left_is_not_refused_for_speed_alone(tags: tuple[str, ...]) -> None:
    found = plan(box(64), *tags, profile=default(min_tps=500))
    assert pick(found) == tags[-1]
    assert reasons(found) == dict.fromkeys(tags[:-1], "speed")
    assert any("floor of 500" in w for w in found.warnings)
    assert "smallest that fits" in found.why


def test_an_unknown_bandwidth_refuses_a_split_unless_it_is_the_last() -> None:
    machine = box(64, NVIDIA_UNKNOWN)
    profile = default(placement="split")
    tags = ("deepseek-r1:32b", "deepseek-r1:1.5b")
    found = plan(machine, *tags, profile=profile)
    assert (pick(found), reasons(found)) == (tags[1], {tags[0]: "speed_unknown"})
    alone = plan(machine, tags[0], profile=profile)
    assert pick(alone) == tags[0]
    assert any("unknown" in w for w in alone.warnings)


# --- what the loop has learnt --------------------------------------------------------------------


def test_what_was_ruled_out_is_passed_over_with_its_reason() -> None:
    learnt = Rejection(tag="deepseek-r1:14b", reason="unavailable", detail="no source has it")
    tags = ("deepseek-r1:14b", "deepseek-r1:7b")
    found = plan(box(64, RTX_4090), *tags, ruled_out={learnt.tag: learnt})
    assert (pick(found), found.rejected) == ("deepseek-r1:7b", (learnt,))


def test_nothing_fits_names_the_nearest_and_its_shortfall() -> None:
    found = plan(box(2), "deepseek-r1:7b", "deepseek-r1:14b")
    failure = nothing_fits(found)
    assert found.to_json()["chosen"] is None
    assert "nearest is deepseek-r1:7b: needs" in failure.what
    assert failure.details["plan"] == found.to_json()


def test_a_fit_in_the_whole_is_the_estimate_of_all_layers() -> None:
    found = plan(box(64, RTX_4090), "deepseek-r1:14b").chosen
    assert found
    assert found.placement == everywhere(found.estimate.load, 0)


# --- what was measured ---------------------------------------------------------------------------

ON_CPU = box(64, version="0.9.3", server={"runtime": "release"}, host={"physical_cores": 16})
TAGS = ("deepseek-r1:32b", "deepseek-r1:7b")


def graded(
    machine: Machine, *tags: str, grades: Grades, profile: Profile = DEFAULT, **wishes: Any
) -> Plan:
    """Plan for named tags by what was measured on the machine."""
    terms = Terms(
        profile=profile,
        machine=machine,
        budget=budget(machine, profile.max_memory_bytes),
        wishes=Wishes(context=profile.context, **wishes),
        grades=grades,
    )
    found = pick_by([CATALOG.find(t) for t in tags], terms, named=True)
    jsonschema.validate(found.to_json(), load_schema("plan"))
    return found


def raw(machine: Machine, tag: str, **more: Any) -> Fit:
    """Return the fit by estimates alone, with no floor in speed."""
    found = plan(machine, tag, profile=default(min_tps=0, **more)).chosen
    assert found
    return found


def rate(fit: Fit) -> float:
    assert fit.estimate.speed
    return fit.estimate.speed.decode_tps[1]


def tight(tag: str, spare_gib: float) -> Machine:
    """Return a box where the model has so much to spare by its raw estimate."""
    need = raw(ON_CPU, tag).estimate.host_bytes / GIB + spare_gib
    ram = need / 0.9 if need > 13.5 else need + 1.5
    machine = box(ram, version="0.9.3", server={"runtime": "release"})
    assert budget(machine, None).host_bytes / GIB == pytest.approx(need, abs=0.01)
    return machine


def test_memory_that_was_measured_above_the_estimate_decides_and_the_detail_says_so() -> None:
    machine = tight("deepseek-r1:14b", 0.5)
    found = raw(machine, "deepseek-r1:14b").estimate
    seen = graded_by(*[run_of(found, machine, memory=1.12)] * 3)
    profile = default(min_tps=0)
    after = graded(machine, "deepseek-r1:14b", "deepseek-r1:1.5b", grades=seen, profile=profile)
    assert pick(after) == "deepseek-r1:1.5b"
    [rejection] = after.rejected
    assert rejection.reason == "memory"
    assert "measured 12 % above the estimate in 3 runs; short by" in rejection.detail
    assert found.resident_bytes
    missing = found.host_bytes + 0.12 * found.resident_bytes - budget(machine, None).host_bytes
    assert rejection.short_by_bytes == pytest.approx(missing, abs=2)


def test_a_memory_ratio_below_one_never_lowers_what_is_needed() -> None:
    machine = tight("deepseek-r1:14b", -0.5)
    roomy = raw(ON_CPU, "deepseek-r1:14b").estimate
    less = run_of(roomy, machine, memory=0.5)
    found = graded(machine, "deepseek-r1:14b", grades=graded_by(less), profile=default(min_tps=0))
    assert reasons(found) == {"deepseek-r1:14b": "memory"}
    assert "measured" not in found.rejected[0].detail
    seen = graded(
        ON_CPU, "deepseek-r1:14b", grades=graded_by(run_of(roomy, ON_CPU, memory=0.5)),
        profile=default(min_tps=0),
    ).chosen  # fmt: skip
    assert seen
    calibrated = seen.estimate.calibrated
    assert calibrated
    assert calibrated.needs
    assert calibrated.needs.total_bytes < seen.estimate.needs.total_bytes == roomy.total_bytes


@pytest.mark.parametrize("beyond", [1, -1])
def test_on_gpus_each_device_is_judged_by_the_larger_figure(beyond: int) -> None:
    """By a ratio that makes it a little more, or less, than the card has to spare."""
    tag, profile = "deepseek-r1:14b", default(placement="gpu")
    machine = box(64, (RTX_4090[0], 13), version="0.9.3")
    fit = raw(machine, tag, placement="gpu")
    [device], [card] = fit.estimate.devices, budget(machine, None).cards
    ratio = (card.budget_bytes + beyond * 2**20) / device.bytes
    assert ratio > 1.05
    seen = graded_by(run_of(fit.estimate, machine, memory=ratio))
    found = graded(machine, tag, grades=seen, profile=profile)
    assert (pick(found) == tag) is (beyond < 0)
    if beyond > 0:
        detail = found.rejected[0].detail
        assert f"measured {100 * (ratio - 1):.0f} % above the estimate in 1 run; short" in detail
        assert "on GPU 0" in detail
        assert found.rejected[0].short_by_bytes == pytest.approx(2**20, abs=2)


def test_the_cap_holds_for_what_was_measured() -> None:
    found = raw(ON_CPU, "deepseek-r1:7b").estimate
    profile = default(min_tps=0, max_memory_bytes=found.total_bytes + 2**20)
    seen = graded_by(run_of(found, ON_CPU, memory=1.1))
    after = graded(ON_CPU, "deepseek-r1:7b", grades=seen, profile=profile)
    assert "of --max-memory" in after.rejected[0].detail


@pytest.mark.parametrize(("ratio", "tag"), [(2.0, TAGS[0]), (0.4, TAGS[1])])
def test_the_measured_speed_decides_on_the_floor(ratio: float, tag: str) -> None:
    """Raw the larger is above the floor (below it), and by measurement below it (above it)."""
    large = raw(ON_CPU, TAGS[0])
    floor = rate(large) * (1.5 if ratio > 1 else 0.8)
    seen = graded_by(*[run_of(large.estimate, ON_CPU, speed=ratio)] * 2)
    by_estimate = plan(ON_CPU, *TAGS, profile=default(min_tps=floor))
    assert pick(by_estimate) != tag
    found = graded(ON_CPU, *TAGS, grades=seen, profile=default(min_tps=floor))
    # Both have one architecture and quantization: their runs grade each other.
    small = rate(raw(ON_CPU, TAGS[1])) * ratio
    assert small > floor
    assert pick(found) == tag
    if ratio < 1:
        assert "tokens/s, measured 60 % below the estimate in 2 runs" in found.rejected[0].detail


def test_a_gpu_is_not_refused_for_a_measured_speed_either() -> None:
    machine = box(64, RTX_4090, version="0.9.3")
    fit = raw(machine, "deepseek-r1:14b")
    seen = graded_by(*[run_of(fit.estimate, machine, speed=0.21)] * 3)
    found = graded(machine, "deepseek-r1:14b", grades=seen, profile=default(min_tps=10_000))
    assert pick(found) == "deepseek-r1:14b"
    assert not found.warnings


def test_what_is_deployed_and_holds_is_never_refused_for_speed_by_calibration() -> None:
    large = raw(ON_CPU, TAGS[0])
    floor = rate(large) * 0.8
    slow = [run_of(large.estimate, ON_CPU, speed=0.5)] * 5
    profile = default(min_tps=floor)
    assert pick(graded(ON_CPU, *TAGS, grades=graded_by(*slow), profile=profile)) == TAGS[1]
    seen = graded_by(*slow, deployed=large)
    found = graded(ON_CPU, *TAGS, grades=seen, profile=profile)
    assert pick(found) == TAGS[0]
    assert any("it is deployed and holds, so it stays" in w for w in found.warnings)
    # Its raw estimate refuses it as it does any other.
    found = graded(ON_CPU, *TAGS, grades=seen, profile=default(min_tps=rate(large) * 1.1))
    assert reasons(found)[TAGS[0]] == "speed"


SPEEDS = st.lists(st.floats(0.3, 1.1), min_size=2, max_size=4)
MEMORIES = st.lists(st.floats(0.97, 1.2), min_size=1, max_size=4)


@given(SPEEDS, MEMORIES)
@settings(deadline=None, max_examples=20)
def test_noise_in_what_was_measured_of_it_does_not_turn_a_deployment_out(
    speeds: list[float], memories: list[float]
) -> None:
    """Night after night another run is the newest: the plan is what serves, placed as it is."""
    tag = "deepseek-r1:7b"
    machine = tight(tag, 0.2)
    serves = raw(machine, tag)
    profile = default(min_tps=rate(serves) * 0.99, placement="any")
    runs = [run_of(serves.estimate, machine, speed=s) for s in speeds]
    runs += [run_of(serves.estimate, machine, memory=m, decode_tps=None) for m in memories]
    for night in range(len(runs)):
        seen = graded_by(*runs[night:], deployed=serves)
        found = graded(machine, tag, "deepseek-r1:1.5b", grades=seen, profile=profile)
        assert found.chosen
        deployed = {
            "tag": tag,
            "context": serves.estimate.load.run.context,
            "parallel": serves.estimate.load.run.parallel,
            "placement": serves.placement.kind,
            "settings": {},
        }
        assert as_planned(deployed, found.chosen, machine)
        assert not found.slow


def test_a_deployment_that_takes_far_more_than_it_promised_is_judged_by_that() -> None:
    """Within the tolerance of its verdict it holds; beyond it, the larger figure decides."""
    machine = tight("deepseek-r1:7b", 0.2)
    serves = raw(machine, "deepseek-r1:7b")
    for memory, tag in ((1.2, "deepseek-r1:7b"), (1.5, "deepseek-r1:1.5b")):
        seen = graded_by(run_of(serves.estimate, machine, memory=memory), deployed=serves)
        found = graded(
            machine, "deepseek-r1:7b", "deepseek-r1:1.5b", grades=seen, profile=default(min_tps=0)
        )
        assert pick(found) == tag
        assert any("so it stays" in w for w in found.warnings) is (memory < 1.25)


def test_a_ledger_that_cannot_be_read_is_said_and_takes_no_plan_away() -> None:
    found = graded(ON_CPU, *TAGS, grades=Grades(fault="the ledger is torn"))
    assert pick(found) == pick(plan(ON_CPU, *TAGS))
    assert "the ledger is torn" in found.warnings
