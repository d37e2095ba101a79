"""Ratios of measured to promised, by runs of the same kind."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.bench.result import promised_json
from orchestrator.deployment import planned as deployed
from orchestrator.estimate import Estimate
from orchestrator.fit import Fit
from orchestrator.grade import Deployed, Grade, Grades, Key, bucket, grade
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.machine import Machine
from orchestrator.machine_file import from_json
from orchestrator.order import Order, intend
from orchestrator.plan import Plan
from orchestrator.profile import Profile
from orchestrator.schema import load
from orchestrator.server import Server
from orchestrator.survey import Survey
from orchestrator.together import together
from orchestrator.units import GIB
from tests.bench.documents import document
from tests.conftest import RunDeploy
from tests.shapes import CATALOG, box, box_json

ROW: dict[str, Any] = {
    "id": 1,
    "machine": "0123456789abcdef",
    "server_version": "0.9.3",
    "architecture": "qwen2",
    "quantization": "Q4_K_M",
    "runtime": "embedded",
    "placement": "cpu",
    "context": 4096,
    "parallel": 1,
    "verdict": "passed",
    "noisy": False,
    "promised_resident_bytes": 1000,
    "promised_vram_bytes": None,
    "promised_decode_tps": 10.0,
    "resident_bytes": 1120,
    "vram_bytes": None,
    "decode_tps": 9.0,
}
ON_GPU = {"placement": "gpu", "promised_vram_bytes": 1000, "vram_bytes": 1050}


def rows(*changes: dict[str, Any], **common: Any) -> list[dict[str, Any]]:
    """Return runs, newest first, each with a number of its own."""
    return [{**ROW, **common, **c, "id": len(changes) - i} for i, c in enumerate(changes)]


def of(*changes: dict[str, Any], **common: Any) -> Grade | None:
    """Return the grade of the key of the first of these runs."""
    found = rows(*changes, **common)
    key = Key.of(found[0])
    assert key
    return grade(found).get(key)


def test_the_median_of_the_newest_ten_runs_grades_and_older_ones_do_not() -> None:
    newest = [{"resident_bytes": 1100 + i} for i in range(10)]
    found = of(*newest, *[{"resident_bytes": 2000}] * 30)
    assert found
    assert found.resident
    assert found.resident.median == pytest.approx(1.1045)
    assert found.resident.runs == 10
    assert (found.resident.least, found.resident.most) == (1.1, 1.109)


def test_one_run_grades_memory_and_two_grade_speed() -> None:
    once, twice = of({}), of({}, {"decode_tps": 8.0})
    assert once
    assert once.resident
    assert (once.resident.median, once.decode, once.runs) == (1.12, None, 1)
    assert "decode in 1 run only, 2 are asked" in once.basis
    assert twice
    assert twice.decode
    assert twice.decode.median == pytest.approx(0.85)
    assert twice.runs == 2


@pytest.mark.parametrize(
    "other",
    [
        {"machine": "fedcba9876543210"},
        {"server_version": "0.12.11"},
        {"architecture": "qwen3"},
        {"quantization": "Q8_0"},
        {"context": 8192},
        {"parallel": 2},
        {"placement": "split"},
        {"runtime": "release"},
    ],
    ids=str,
)
def test_a_run_of_another_kind_grades_nothing(other: dict[str, Any]) -> None:
    found = of({}, {**other, "resident_bytes": 2000, "decode_tps": 30.0})
    assert found
    assert found.runs == 1


@pytest.mark.parametrize("placement", ["gpu", "split"])
def test_where_gpus_compute_the_runtime_is_no_part_of_the_kind(placement: str) -> None:
    found = of({"runtime": "release"}, {"runtime": None}, **{**ON_GPU, "placement": placement})
    assert found
    assert found.runs == 2


@pytest.mark.parametrize("name", ["machine", "server_version", "context", "parallel", "runtime"])
def test_what_is_not_known_is_no_kind(name: str) -> None:
    assert grade(rows({name: None})) == {}
    assert grade(rows({"quantization": "unknown"})) == {}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"verdict": "inconclusive"}, id="inconclusive"),
        pytest.param({"resident_bytes": None, "decode_tps": None}, id="not-measured"),
        pytest.param(
            {"promised_resident_bytes": None, "promised_decode_tps": None}, id="not-promised"
        ),
    ],
)
def test_a_run_without_a_usable_measurement_grades_nothing(change: dict[str, Any]) -> None:
    assert of(*[change] * 3) is None


@pytest.mark.parametrize("noisy", [True, None])
def test_a_rate_of_a_box_that_was_not_quiet_grades_nothing_but_the_memory_counts(
    noisy: bool | None,
) -> None:
    found = of(*[{"noisy": noisy}] * 3)
    assert found
    assert found.decode is None
    assert found.resident
    assert found.resident.runs == 3


@pytest.mark.parametrize("resident", [199, 5001, 0])
def test_nonsense_grades_nothing_and_says_so(resident: int) -> None:
    found = of({"resident_bytes": resident, "decode_tps": None})
    assert found
    assert (found.memory, found.decode, found.runs) == (None, None, 0)
    assert "1 run left out: off by more than 5 times" in found.basis
    beside = of({"resident_bytes": resident}, {})
    assert beside
    assert beside.memory
    assert (beside.memory.median, beside.memory.runs) == (1.12, 1)


def test_memory_is_that_of_the_placement_and_a_split_keeps_both_apart() -> None:
    both = {"promised_vram_bytes": 1000, "vram_bytes": 1050}
    cpu, gpu, split = (of(both, placement=p) for p in ("cpu", "gpu", "split"))
    assert cpu
    assert gpu
    assert split
    assert (cpu.devices, gpu.resident) == (None, None)
    assert cpu.memory == cpu.resident == split.resident
    assert gpu.memory == gpu.devices == split.devices == split.memory
    assert split.more == (
        "measured 5 % above the estimate in 1 run on GPUs and "
        "12 % above the estimate in 1 run on the host"
    )


@pytest.mark.parametrize(
    ("measured", "said", "more"),
    [
        (1120, "12 % above the estimate in 3 runs", "measured 12 % above the estimate in 3 runs"),
        (900, "10 % below the estimate in 3 runs", ""),
        (1000, "as estimated in 3 runs", ""),
        (1004, "0.4 % above the estimate in 3 runs", "measured 0.4 % above the estimate in 3 runs"),
    ],
)
def test_a_ratio_is_said_in_words(measured: int, said: str, more: str) -> None:
    found = of(*[{"resident_bytes": measured}] * 3)
    assert found
    assert (str(found.memory), found.more) == (said, more)
    assert f"memory {said}; decode 10 % below the estimate in 3 runs" in found.basis
    assert "qwen2 Q4_K_M on the CPU (Ollama 0.9.3, embedded; 2049 to 4096 tokens" in found.basis


@given(st.integers(1, 10**7))
def test_a_bucket_reaches_up_to_a_power_of_two(tokens: int) -> None:
    found = bucket(tokens)
    assert found & (found - 1) == 0
    assert found // 2 < tokens <= found


@given(st.lists(st.floats(0.2, 5.0), min_size=2, max_size=30))
def test_a_grade_lies_within_what_was_seen(ratios: list[float]) -> None:
    found = of(*[{"decode_tps": 10 * r} for r in ratios])
    assert found
    assert found.decode
    newest = [r * 10 / 10.0 for r in ratios[:10]]
    assert found.decode.least == min(newest) <= found.decode.median <= max(newest)
    assert found.decode.most == max(newest)


@pytest.mark.parametrize("outcome", ["failed", "inconclusive", None])
def test_what_does_not_hold_or_is_deployed_elsewhere_has_no_privilege(outcome: str | None) -> None:
    machine = box(16)
    serves: dict[str, Any] = {
        "tag": "qwen3:8b", "placement": "cpu", "context": 4096, "parallel": 1,
        "machine": {"digest": machine.digest}, "verdict": {"outcome": "warned"},
    }  # fmt: skip
    good = Deployed(tag="qwen3:8b", placement="cpu", context=4096, parallel=1)
    assert Deployed.of(serves, machine) == good
    assert Deployed.of(serves, box(32)) is None
    assert Deployed.of(None, machine) is None
    bad = {**serves, "verdict": outcome and {"outcome": outcome}}
    assert Deployed.of(bad, machine) is None


def test_without_any_run_nothing_is_graded() -> None:
    assert Grades().of(ROW) is None
    assert Grades(by_key=grade([])).of(ROW) is None
    assert Grades(by_key=grade([ROW])).of({**ROW, "server_version": None}) is None


# --- with a real ledger --------------------------------------------------------------------------

TAGS = ("deepseek-r1:32b", "deepseek-r1:7b")
BOX = box_json(
    64, version="0.9.3", host={"physical_cores": 16},
    server={"runtime": "release", "host": "http://127.0.0.1:11434"},
)  # fmt: skip
MACHINE = from_json(BOX, source="test")


def order(home: Home, *tags: str, min_tps: float = 0.0, **more: Any) -> Order:
    profile = Profile(name="any", min_tps=min_tps, **more)
    return Order(profile=profile, catalog=CATALOG, home=home, environ={}, tags=tags)


def planned(home: Home, *tags: str, machine: Machine = MACHINE, **more: Any) -> Plan:
    seen = Survey(server=Server("http://127.0.0.1:11434"), answers=False, machine=machine)
    return intend(order(home, *tags, **more), seen)


def chosen(home: Home, *tags: str, **more: Any) -> Fit:
    found = planned(home, *tags, **more).chosen
    assert found
    return found


def bench_of(
    found: Estimate, machine: Machine = MACHINE, *, memory: float = 1.0, speed: float = 1.0
) -> dict[str, Any]:
    """Return the bench document of what was estimated, off by these factors."""
    assert found.speed
    assert found.resident_bytes
    bench = document(decode_tps=found.speed.decode_tps[1] * speed)
    return {
        **bench,
        "machine": {"name": machine.name, "digest": machine.digest},
        "runtime": machine.server.runtime,
        "context": found.load.run.context,
        "architecture": found.load.shape.name,
        "quantization": found.target.quantization,
        "promised": promised_json(found),
        "memory": {**bench["memory"], "resident_bytes": int(found.resident_bytes * memory)},
    }


def test_what_the_ledger_holds_of_a_machine_calibrates_its_next_plan(home: Home) -> None:
    ledger, before = Ledger(home.ledger), chosen(home, TAGS[1]).estimate
    for speed in (0.5, 0.6, 0.4):
        ledger.record_bench(bench_of(before, memory=1.1, speed=speed))
    after = chosen(home, TAGS[1]).estimate
    jsonschema.validate(after.to_json(), load("estimate"))
    seen = after.to_json()["calibrated"]
    assert (seen["runs"], seen["memory_ratio"]) == (3, 1.1)
    assert seen["speed_ratio"] == pytest.approx(0.5, rel=0.05)
    low, likely, high = seen["decode_tps"]
    assert low < likely < high
    assert likely == pytest.approx(
        seen["speed_ratio"] * before.to_json()["speed"]["decode_tps"][1], 0.01
    )
    # The raw figures stand beside it as they were.
    assert {**after.to_json(), "calibrated": None} == before.to_json()
    other = replace(MACHINE, memory=box(128).memory)
    assert chosen(home, TAGS[1], machine=other).estimate.calibrated is None


def test_a_calibration_is_not_calibrated_again(home: Home) -> None:
    """What a run was promised stays the raw estimate, however often the plan was corrected."""
    ledger = Ledger(home.ledger)
    for _ in range(4):
        found = chosen(home, TAGS[1]).estimate
        raw = replace(found, calibrated=None)
        bench = bench_of(raw, memory=1.2, speed=0.5)
        assert promised_json(found) == bench["promised"]
        assert deployed(found) == deployed(raw)
        ledger.record_bench({**bench, "promised": promised_json(found)})
    seen = chosen(home, TAGS[1]).estimate.to_json()["calibrated"]
    assert (seen["memory_ratio"], seen["runs"]) == (1.2, 4)
    assert seen["speed_ratio"] == pytest.approx(0.5, rel=0.05)


def test_what_the_ledger_says_is_deployed_stays_where_another_tag_would_not(home: Home) -> None:
    ledger, before = Ledger(home.ledger), chosen(home, *TAGS)
    assert before.estimate.speed
    floor = before.estimate.speed.decode_tps[1] * 0.8
    for _ in range(3):
        ledger.record_bench(bench_of(before.estimate, speed=0.5))
    assert chosen(home, *TAGS, min_tps=floor).candidate.tag == TAGS[1]
    serves = {
        "tag": TAGS[0], "model": "deploy/x", "digest": "x", "state": "current", "id": None,
        "alias": "deploy-current:latest", "server_host": "http://127.0.0.1:11434",
        "machine": {"name": "", "digest": MACHINE.digest}, "deployed_at": "2026-01-01T00:00:00Z",
        "placement": "cpu", "context": before.estimate.load.run.context, "parallel": 1,
        "verdict": {"outcome": "passed", "checks": []},
    }  # fmt: skip
    ledger.accept(ledger.begin(serves, {}), serves)
    found = planned(home, *TAGS, min_tps=floor)
    assert found.chosen
    assert found.chosen.candidate.tag == TAGS[0]
    assert any("it is deployed and holds, so it stays" in w for w in found.warnings)
    elsewhere = planned(home, *TAGS, min_tps=floor, alias="deploy-coding").chosen
    assert elsewhere
    assert elsewhere.candidate.tag == TAGS[1]


@pytest.fixture
def described(tmp_path: Path) -> Path:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(BOX))
    return path


@pytest.mark.parametrize("command", ["plan", "estimate"])
def test_the_commands_show_both_figures_side_by_side(
    run_deploy: RunDeploy, home: Home, described: Path, command: str
) -> None:
    before = chosen(home, TAGS[1]).estimate
    for _ in range(2):
        Ledger(home.ledger).record_bench(bench_of(before, memory=1.1, speed=1.3))
    words = (command, TAGS[1], "--machine", described)
    done = run_deploy(*words)
    assert (done.returncode, done.stderr) == (0, "")
    lines = {x.split()[0]: x for x in done.stdout.splitlines() if x.strip()}
    need = (before.total_bytes + 0.1 * (before.resident_bytes or 0)) / GIB
    assert f"memory    {before.total_bytes / GIB:.2f} GiB" in lines["memory"]
    assert f"measured  memory {need:.2f} GiB (resident" in lines["measured"]
    assert "memory 10 % above the estimate in 2 runs" in lines["measured"]
    answer = json.loads(run_deploy(*words, "--json").stdout)
    jsonschema.validate(answer, load(command))
    found = answer["chosen"]["estimate"] if command == "plan" else answer
    assert found["calibrated"]["memory"]["total_bytes"] == pytest.approx(need * GIB, abs=2)


def test_without_a_machine_an_estimate_is_raw(run_deploy: RunDeploy, home: Home) -> None:
    Ledger(home.ledger).record_bench(bench_of(chosen(home, TAGS[1]).estimate))
    answer = json.loads(run_deploy("estimate", TAGS[1], "--json").stdout)
    assert answer["calibrated"] is None


@pytest.mark.parametrize("command", ["plan", "estimate", "together"])
def test_a_torn_ledger_takes_no_answer_away(
    run_deploy: RunDeploy, home: Home, described: Path, command: str
) -> None:
    home.ledger.parent.mkdir(parents=True)
    home.ledger.write_bytes(b"no database " * 1000)
    words = ["plan", "--together", *TAGS] if command == "together" else [command, TAGS[1]]
    done = run_deploy(*words, "--machine", described, "--json")
    assert done.returncode == 0, done.stderr
    assert "cannot be used: " in done.stderr
    assert "nothing is calibrated" in done.stderr
    assert '"calibrated": null' in done.stdout


def test_a_model_that_is_loaded_beside_others_is_judged_by_what_was_measured(home: Home) -> None:
    before = chosen(home, TAGS[1]).estimate
    Ledger(home.ledger).record_bench(bench_of(before, memory=1.2))
    [loaded] = together([CATALOG.find(TAGS[1])], order(home).terms(MACHINE)).loaded
    assert loaded.fit.estimate.calibrated
    assert loaded.fit.estimate.needs.host_bytes > before.host_bytes
