"""`deploy plan` through the real command line, on the boxes that articles and readers name."""

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.machine_file import from_json
from orchestrator.plan import choose
from orchestrator.profile import parse
from orchestrator.schema import load
from orchestrator.settings import Wishes
from orchestrator.units import GIB
from tests.conftest import RunDeploy
from tests.shapes import CATALOG, VERSIONS, box_json

TERABYTE = 10**12
GT_710, A10 = ("NVIDIA GeForce GT 710", 2), ("NVIDIA A10", 24)
A100_40, A100_80 = ("NVIDIA A100-PCIE-40GB", 40), ("NVIDIA A100-SXM4-80GB", 80)
CARDS = {
    "RTX 4090": 24, "RTX 4080": 16, "RTX 4070 Ti": 12, "RTX 4070": 12, "RTX 3060 Ti": 8,
    "RTX 3060": 12, "RTX 3050": 8, "RTX 2080 Ti": 11, "RTX 2080 SUPER": 8, "RTX 2070 SUPER": 8,
    "RTX 2060 SUPER": 8,
}  # fmt: skip


@pytest.fixture
def plan(run_deploy: RunDeploy, tmp_path: Path) -> Any:
    """Return `plan(machine, words..., code=0)`: the document, checked by its schema."""

    def run(machine: dict[str, Any], *words: str, code: int = 0) -> dict[str, Any]:
        path = tmp_path / "machine.json"
        path.write_text(json.dumps(machine))
        done = run_deploy("plan", "--machine", path, *words, "--json")
        assert done.returncode == code, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        jsonschema.validate(document, load("plan"))
        document["stderr"] = done.stderr
        return document

    return run


def box_with(cores: int, ram: int, disk: int, *cards: tuple[str, float]) -> dict[str, Any]:
    return box_json(
        ram, *cards, disk={"free_bytes": disk}, host={"physical_cores": cores}, version="0.20.0"
    )


@pytest.mark.parametrize(
    ("machine", "placement", "least", "most"),
    [
        pytest.param(box_with(16, 64, 9 * TERABYTE // 10, GT_710), "cpu", 14, 110, id="gt-710"),
        pytest.param(box_with(8, 32, TERABYTE // 20, A10), "gpu", 30, 33, id="a10"),
        pytest.param(box_with(16, 64, TERABYTE // 10, A100_40, A100_40), "gpu", 70, 112, id="a100"),
        pytest.param(
            box_with(16, 64, TERABYTE // 10, ("NVIDIA H100", 80)), "gpu", 70, 112, id="h100"
        ),
        pytest.param(box_with(32, 128, TERABYTE, *[A100_80] * 8), "gpu", 671, 672, id="8-a100"),
        pytest.param(box_with(4, 8, TERABYTE), "cpu", 1.5, 8.2, id="8-gb-of-ram"),
        pytest.param(box_with(4, 16, TERABYTE), "cpu", 7, 31, id="16-gb-of-ram"),
        pytest.param(
            box_with(64, 512, TERABYTE, ("Huawei Ascend 310", 8)), "cpu", 100, 672, id="ascend"
        ),
    ],
)
def test_the_pick_on_a_box_of_the_articles_is_plausible(
    plan: Any, machine: dict[str, Any], placement: str, least: float, most: float
) -> None:
    found = plan(machine)
    chosen = found["chosen"]
    parameters = CATALOG.find(chosen["tag"]).parameters_total / 1e9
    assert least <= parameters <= most, chosen["tag"]
    assert chosen["placement"] == placement
    assert chosen["context"] == (4096 if placement == "cpu" else 8192)
    assert chosen["estimate"]["speed"]["decode_tps"][1] >= 4
    assert chosen["why"]
    larger = [r for r in found["rejected"] if r["reason"] in ("memory", "disk")]
    assert all(r["short_by_bytes"] > 0 for r in larger)
    assert larger or parameters > 600


@pytest.mark.parametrize(("name", "size"), CARDS.items(), ids=CARDS)
@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_each_card_of_the_tables_is_used_whole(name: str, size: int, version: str | None) -> None:
    document = box_json(32, (f"NVIDIA GeForce {name}", size), version=version)
    found = choose(parse_default(), from_json(document, source="x"), CATALOG.candidates)
    assert found.chosen
    assert found.chosen.placement.kind == "gpu"
    billions = found.chosen.candidate.parameters_total / 1e9
    least = {8: 7, 11: 8, 12: 14, 16: 14, 24: 30}[size]
    assert least <= billions < size * 1.5
    [card] = found.chosen.estimate.devices
    assert card.bytes > 0.55 * size * GIB  # no card is left half empty


def parse_default() -> Any:
    path = Path(__file__).parents[2] / "profiles" / "default.toml"
    return parse(path.read_text("utf-8"), "default")


@pytest.mark.parametrize(
    ("tag", "size"),
    [("7b", 8), ("14b", 12), ("32b", 24), ("70b", 48)],
)
def test_what_an_article_denies_fits(plan: Any, tag: str, size: int) -> None:
    found = plan(box_json(32, ("NVIDIA Foo", size)), f"deepseek-r1:{tag}", "--context", "4096")
    assert found["chosen"]["placement"] == "gpu"


@pytest.mark.parametrize("version", ["0.9.3", "0.20.0", "0.33.0"])
def test_planning_the_whole_catalogue_takes_no_time(version: str) -> None:
    profile = parse_default()
    machine = from_json(box_json(64, ("NVIDIA Foo", 3), version=version), source="x")
    best = 9.0
    for _ in range(5):
        began = time.process_time()
        choose(profile, machine, CATALOG.candidates, wishes=Wishes())
        best = min(best, time.process_time() - began)
    assert best < 0.1


def test_named_tags_are_each_chosen_or_rejected(plan: Any) -> None:
    tags = ["deepseek-r1:671b", "deepseek-r1:1.5b", "qwen3:8b", "deepseek-r1:14b", "qwen3:8b-fp16"]
    found = plan(box_json(64, A10, version="0.20.0"), *tags)
    answered = [found["chosen"]["tag"], *(r["tag"] for r in found["rejected"])]
    assert sorted(answered) == sorted(tags)
    reasons = {r["tag"]: r["reason"] for r in found["rejected"]}
    assert found["chosen"]["tag"] == "deepseek-r1:14b"
    assert reasons["deepseek-r1:671b"] == "memory"
    assert reasons["deepseek-r1:1.5b"] == "policy"


def test_the_order_of_tags_is_no_preference_and_twice_is_once(plan: Any) -> None:
    machine = box_json(64, A10)
    one = plan(machine, "deepseek-r1:7b", "deepseek-r1:14b")
    two = plan(machine, "deepseek-r1:14b", "deepseek-r1:7b", "DeepSeek-R1:7b-qwen-distill-q4_K_M")
    assert one == two


def test_nothing_fits_is_exit_3_with_the_plan_printed(plan: Any, run_deploy: RunDeploy) -> None:
    found = plan(box_json(2), "deepseek-r1:7b", "deepseek-r1:14b", code=3)
    assert found["chosen"] is None
    assert {r["reason"] for r in found["rejected"]} == {"memory"}
    error, hint = found["stderr"].splitlines()
    assert error.startswith("error: nothing fits in 0.50 GiB")
    assert "nearest is deepseek-r1:7b" in error
    assert hint.startswith("hint: ")
    done = run_deploy("plan", "--machine", "/dev/stdin", "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (2, 2)


def test_flags_shape_the_plan(plan: Any) -> None:
    machine = box_json(64, A10, version="0.33.0")
    found = plan(machine, "--context", "2048", "--parallel", "3", "--max-memory", "6GiB")
    chosen = found["chosen"]
    assert (chosen["context"], chosen["parallel"]) == (2048, 3)
    assert chosen["estimate"]["memory"]["total_bytes"] <= found["budget"]["bytes"] == 6 * GIB
    cpu = plan(machine, "--placement", "cpu", "--min-tps", "0")["chosen"]
    assert (cpu["placement"], cpu["gpu_layers"]) == ("cpu", 0)


def test_a_context_beyond_training_is_clamped_with_a_warning(plan: Any) -> None:
    found = plan(box_json(64, A10), "qwen3:8b", "--context", "90000")
    assert found["chosen"]["context"] == 40960
    assert found["chosen"]["estimate"]["requested"]["context"]["asked"] == 90000
    assert "warning: context 90000 asked: trained for 40960" in found["stderr"]


def test_an_old_server_rejects_what_needs_a_later_one(plan: Any) -> None:
    found = plan(box_json(256, version="0.9.3"), "qwen3-next:80b", "qwen3:8b")
    assert [r["reason"] for r in found["rejected"]] == ["server"]
    assert "0.9.3" in found["rejected"][0]["detail"]
    newer = plan(
        box_json(256, version="0.9.3"), "qwen3-next:80b", "--server-version", "0.20.0",
        "--min-tps", "0",
    )  # fmt: skip
    assert (newer["server_version"], newer["chosen"]["tag"]) == ("0.20.0", "qwen3-next:80b")


def test_a_licence_against_commerce_is_left_out_unless_allowed(plan: Any) -> None:
    tag = "qwen2.5:3b"
    found = plan(box_json(16), tag, code=3)
    assert [r["reason"] for r in found["rejected"]] == ["licence"]
    assert plan(box_json(16), tag, "--allow-licence")["chosen"]["tag"] == tag


def failure(
    run_deploy: RunDeploy, *words: str | Path, env: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the error of a run that must fail cleanly: exit 2, one document, no traceback."""
    done = run_deploy("plan", *words, "--json", env=env or {})
    assert done.returncode == 2, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(document, load("error"))
    error: dict[str, Any] = document["error"]
    assert "Traceback" not in done.stderr
    assert done.stderr == f"error: {error['message']}\nhint: {error['hint']}\n"
    return error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("deepseek-r1:67b",), "67B is DeepSeek-LLM", id="a-size-of-another-model"),
        pytest.param(("deepseek-r1:16b",), "16B is DeepSeek-V2-Lite", id="16b"),
        pytest.param(("--context", "0"), "--context: context = 0", id="context"),
        pytest.param(("--context", "9" * 30), "--context", id="huge"),
        pytest.param(("--parallel", "0"), "--parallel", id="parallel"),
        pytest.param(("--min-tps", "-1"), "--min-tps", id="speed"),
        pytest.param(("--min-tps", "nan"), "--min-tps", id="no-number"),
        pytest.param(("--max-memory", "lots"), "'lots' is not a size", id="size"),
        pytest.param(("--placement", "moon"), "moon", id="placement"),
        pytest.param(("--profile", "moon"), "there is no profile 'moon'", id="profile"),
        pytest.param(("--profile", "none.toml"), "none.toml", id="no-profile-file"),
        pytest.param(("--server-version", "new"), "'new'", id="version"),
        pytest.param(("--moon",), "--moon", id="flag"),
    ],
)
def test_a_mistake_is_one_clear_error(
    run_deploy: RunDeploy, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(box_json(64)))
    error = failure(run_deploy, *words, "--machine", path)
    assert says in error["message"]
    assert error["hint"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("contxt = 1", "unknown key 'contxt'", id="unknown-key"),
        pytest.param("context = 'x'", "has the wrong type", id="type"),
        pytest.param("context =", "mine.toml:1: Invalid value", id="no-toml"),
        pytest.param("\n\ncontext = 0", "mine.toml:3: context = 0; at least 1", id="line"),
    ],
)
def test_a_bad_profile_is_told(
    run_deploy: RunDeploy, tmp_path: Path, content: str, says: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    error = failure(run_deploy, "--profile", path)
    assert (error["name"], says in error["message"]) == ("ProfileInvalid", True)


def test_a_bad_variable_is_told_by_its_name(run_deploy: RunDeploy) -> None:
    error = failure(run_deploy, env={"DEPLOY_MIN_TPS": "fast"})
    assert "DEPLOY_MIN_TPS=fast" in error["message"]


def test_a_bad_machine_file_is_told_with_its_path(run_deploy: RunDeploy, tmp_path: Path) -> None:
    machine = box_json(64, A10, A10)
    machine["accelerators"][1]["index"] = machine["accelerators"][0]["index"] = 0
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(machine))
    error = failure(run_deploy, "--machine", path)
    assert error["name"] == "MachineInvalid"
    assert "$.accelerators[1].index" in error["message"]


def test_people_read_the_pick_and_what_larger_ones_are_short_of(
    run_deploy: RunDeploy, tmp_path: Path
) -> None:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(box_json(64, A10, version="0.20.0")))
    done = run_deploy("plan", "--machine", path, "deepseek-r1:14b", "deepseek-r1:70b")
    assert done.returncode == 0
    assert "chosen    deepseek-r1:14b" in done.stdout
    [larger] = [line for line in done.stdout.splitlines() if "deepseek-r1:70b" in line]
    assert "needs" in larger
    assert done.stderr == ""


# --- several machines ----------------------------------------------------------------------------


@pytest.fixture
def machines(tmp_path: Path) -> dict[str, str]:
    """Machine files by name: a card, a bare box, and one for which everything is too large."""
    boxes = {"card": box_json(64, A10), "bare": box_json(64), "tiny": box_json(1.5)}
    for name, document in boxes.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    return {name: str(tmp_path / f"{name}.json") for name in boxes}


def test_compare_is_a_plan_a_machine_in_one_document(
    run_deploy: RunDeploy, machines: dict[str, str]
) -> None:
    words = ("deepseek-r1:14b", "deepseek-r1:70b", "--server-version", "0.20.0", "--min-tps", "0")
    done = run_deploy("plan", "--compare", *machines.values(), *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    jsonschema.validate(document, load("compare"))
    assert [each["file"] for each in document["plans"]] == list(machines.values())
    for each in document["plans"]:
        jsonschema.validate(each["plan"], load("plan"))
        alone = run_deploy("plan", "--machine", each["file"], *words, "--json")
        assert json.loads(alone.stdout) == each["plan"]
    picks = [p["plan"]["chosen"] and p["plan"]["chosen"]["tag"] for p in document["plans"]]
    assert picks == ["deepseek-r1:14b", "deepseek-r1:70b", None]
    larger = [p["next_larger"] and p["next_larger"]["tag"] for p in document["plans"]]
    assert larger == ["deepseek-r1:70b", None, "deepseek-r1:14b"]


def test_compare_is_one_table_with_a_column_a_machine(
    run_deploy: RunDeploy, machines: dict[str, str]
) -> None:
    tags = ("deepseek-r1:14b", "deepseek-r1:70b")
    done = run_deploy("plan", "--compare", machines["card"], *tags, machines["bare"])
    rows = {line[:11].strip(): line for line in done.stdout.splitlines()}
    assert rows["file"].split() == ["file", "card.json", "bare.json"]
    assert "1 x NVIDIA A10" in rows["machine"]
    assert rows["chosen"].split()[1:] == ["deepseek-r1:14b", "deepseek-r1:14b"]
    assert "GiB of memory" in rows["short of"]
    assert "the floor is 4" in rows["short of"]


def test_compare_ends_with_3_where_no_machine_holds_anything(
    run_deploy: RunDeploy, machines: dict[str, str]
) -> None:
    done = run_deploy("plan", "--compare", machines["tiny"], "deepseek-r1:70b")
    assert done.returncode == 3
    assert "nothing fits" in done.stdout
    assert f"error: no machine holds any of these models; {machines['tiny']}: " in done.stderr


# --- several models ------------------------------------------------------------------------------


def test_together_says_what_each_gets(run_deploy: RunDeploy, machines: dict[str, str]) -> None:
    words = ("--machine", machines["card"], "--server-version", "0.20.0", "--context", "4096")
    tags = ("deepseek-r1:7b", "deepseek-r1:14b")
    done = run_deploy("plan", "--together", *tags, *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    jsonschema.validate(document, load("together"))
    assert document["holds"]
    assert [each["tag"] for each in document["loaded"]] == ["deepseek-r1:14b", "deepseek-r1:7b"]
    shown = run_deploy("plan", "--together", *tags, *words).stdout
    assert "answer    yes: 2 of 2 are loaded at once; largest file first" in shown
    assert "keeps 3 models loaded (Ollama's default: 3 a GPU)" in shown


def test_together_ends_with_3_and_says_what_is_missing(
    run_deploy: RunDeploy, machines: dict[str, str]
) -> None:
    words = ("--machine", machines["card"], "--server-version", "0.20.0")
    tags = ("deepseek-r1:32b", "deepseek-r1:14b")
    done = run_deploy("plan", "--together", *tags, *words, "--json")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    jsonschema.validate(document, load("together"))
    assert [r["tag"] for r in document["missing"]] == ["deepseek-r1:14b"]
    assert "error: 1 of 2 models find no place beside the others; deepseek-r1:14b" in done.stderr
    shown = run_deploy("plan", "--together", *tags, *words).stdout
    assert "answer    no: 1 of 2" in shown
    assert "missing   deepseek-r1:14b: " in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("--compare",), "--compare needs machine files", id="no-files"),
        pytest.param(("--compare", "none.json"), "none.json: No such file", id="no-such-file"),
        pytest.param(("box.json",), "box.json is a machine file", id="a-file-alone"),
        pytest.param(("--together", "deepseek-r1:7b"), "two different models", id="one-model"),
        pytest.param(
            ("--together", "deepseek-r1:7b", "deepseek-r1:7b-qwen-distill-q4_K_M"),
            "two different models", id="one-model-by-two-names",
        ),
        pytest.param(("--together", "moon:7b"), "moon:7b", id="unknown-model"),
        pytest.param(
            ("--compare", "--together", "a.json"), "--compare and --together exclude", id="both"
        ),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_meant(
    run_deploy: RunDeploy, machines: dict[str, str], words: tuple[str, ...], says: str
) -> None:
    more = () if "--compare" in words else ("--machine", machines["bare"])
    assert says in failure(run_deploy, *words, *more)["message"]


def test_compare_and_machine_exclude_each_other(
    run_deploy: RunDeploy, machines: dict[str, str]
) -> None:
    words = ("--compare", machines["bare"], "--machine", machines["bare"])
    assert "--compare and --machine exclude" in failure(run_deploy, *words)["message"]
