"""`deploy explain` through the real command line."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.explain.changes import KEYS
from orchestrator.explain.topics import all_topics
from orchestrator.schema import load
from tests.conftest import RunDeploy
from tests.shapes import box_json

RTX_4090 = ("NVIDIA GeForce RTX 4090", 24)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(box_json(64, RTX_4090, version="0.20.0")))
    return path


@pytest.fixture
def explain(run_deploy: RunDeploy, machine: Path) -> Any:
    """Return `explain(words...)`: the document, checked by its schema."""

    def run(*words: str) -> dict[str, Any]:
        done = run_deploy("explain", *words, "--machine", machine, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        document: dict[str, Any] = json.loads(done.stdout)
        jsonschema.validate(document, load("explain"))
        return document

    return run


def test_the_pick_is_that_of_plan_and_its_sum_adds_up(
    explain: Any, run_deploy: RunDeploy, machine: Path
) -> None:
    document = explain()
    model = document["model"]
    planned = json.loads(run_deploy("plan", "--machine", machine, "--json").stdout)["chosen"]
    assert (document["about"], model["picked"], model["fits"]) == ("model", True, True)
    assert (model["tag"], model["why"]) == (planned["tag"], planned["why"])
    assert model["estimate"] == planned["estimate"]
    jsonschema.validate(model["estimate"], load("estimate"))
    total = model["estimate"]["memory"]["total_bytes"]
    assert sum(p["bytes"] for p in model["parts"]) == total
    assert sum(p["bytes"] for p in model["places"]) == total
    [larger] = [a for a in model["larger"] if a["relation"] == "more parameters"]
    assert (larger["reason"], larger["short_by_bytes"] > 0) == ("memory", True)


def test_a_tag_is_explained_whether_or_not_it_fits(explain: Any) -> None:
    fits = explain("Qwen3:8b")["model"]
    assert (fits["tag"], fits["picked"], fits["fits"]) == ("qwen3:8b", False, True)
    lacks = explain("deepseek-r1:671b")["model"]
    assert (lacks["fits"], lacks["rejection"]["reason"]) == (False, "memory")
    assert lacks["rejection"]["short_by_bytes"] > 0
    assert lacks["limits"]["context"]["most"] == 0


def test_the_words_of_the_issue_compare_before_and_after(explain: Any) -> None:
    asked = ("--what-if", "context=32768", "parallel=4", "kv=q8_0")
    found = explain(*asked)["what_if"]
    assert found["changes"] == {"context": 32768, "parallel": 4, "kv": "q8_0"}
    assert found["after"]["kv_cache_type"] == "q8_0" or "is not set" in found["notes"][0]
    found = explain(*asked, "flash=on")["what_if"]
    before, after = found["before"], found["after"]
    assert (before["context"], before["parallel"], before["kv_cache_type"]) == (8192, 1, "f16")
    assert (after["context"], after["parallel"], after["kv_cache_type"]) == (32768, 4, "q8_0")
    assert before["tag"] == after["tag"]
    cache = [side["memory"]["kv_cache_bytes"] for side in (before, after)]
    assert cache[1] * 64 == cache[0] * 16 * 34  # 16 times the tokens at 34/64 of the bytes
    assert (before["placement"], after["placement"]) == ("gpu", "split")
    assert "on GPU" in found["left_gpu"]
    assert found["plan_then"] != before["tag"]


def test_flags_and_changes_of_a_named_model(explain: Any) -> None:
    words = ("qwen3:8b", "--context", "4096", "--what-if", "quantize=q8_0", "min-tps=0", "flash=on")
    found = explain(*words)["what_if"]
    assert (found["before"]["tag"], found["after"]["tag"]) == ("qwen3:8b", "qwen3:8b-q8_0")
    assert found["before"]["context"] == found["after"]["context"] == 4096
    assert (found["after"]["fits"], found["plan_then"]) == (True, None)
    assert any("qwen3:8b-q8_0" in way for way in found["ways"])


def test_every_topic_is_listed_and_told(explain: Any) -> None:
    listed = explain("topics")["topics"]
    assert [t["name"] for t in listed] == [t.name for t in all_topics()]
    found = explain("half-byte")["topic"]
    assert found["claims"]
    assert any("in all here (gpu" in line for line in found["here"])


def test_people_read_formulas_with_numbers(run_deploy: RunDeploy, machine: Path) -> None:
    done = run_deploy("explain", "deepseek-r1:7b", "--context", "8192", "--machine", machine)
    assert done.returncode == 0
    sum_of_cache = "28 layers x 4 KV heads x (128 + 128) x 2 bytes x 8192 tokens"
    assert f"KV cache  0.44 GiB = {sum_of_cache}" in done.stdout
    assert re.search(r"context +at most 131072 tokens a slot; it was trained for", done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_people_read_both_sides_of_a_change_and_a_topic(
    run_deploy: RunDeploy, machine: Path
) -> None:
    words = ("explain", "--what-if", "context=32768", "parallel=4", "--machine", machine)
    text = run_deploy(*words).stdout
    assert re.search(r"^context +8192 +32768$", text, re.MULTILINE)
    assert "would then pick" in text
    assert "said " in run_deploy("explain", "what-7b-means", "--machine", machine).stdout


def test_it_answers_without_a_server(run_deploy: RunDeploy) -> None:
    for words in ((), ("deepseek-r1:1.5b",), ("kv-cache",), ("--what-if", "parallel=2")):
        done = run_deploy("explain", *words, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        jsonschema.validate(json.loads(done.stdout), load("explain"))


def test_a_topic_is_told_where_the_machine_cannot_be_looked_at(run_deploy: RunDeploy) -> None:
    elsewhere = {"OLLAMA_HOST": "http://192.0.2.1:9"}
    done = run_deploy("explain", "licences", "--json", env=elsewhere)
    assert (done.returncode, json.loads(done.stdout)["topic"]["here"]) == (0, [])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("--what-if",), "context, parallel, kv, flash", id="no-change"),
        pytest.param(("--what-if", "contxt=1"), "did you mean context?", id="unknown-key"),
        pytest.param(("--what-if", "context=0"), "a whole number from 1", id="zero"),
        pytest.param(("--what-if", "context=8k"), "a whole number from 1", id="no-number"),
        pytest.param(("--what-if", "parallel=-1"), "from 1 to 256", id="negative"),
        pytest.param(("--what-if", "parallel=257"), "from 1 to 256", id="too-many"),
        pytest.param(("--what-if", "context=" + "9" * 30), "a whole number", id="huge"),
        pytest.param(("--what-if", "kv=q5"), "one of f16, q8_0, q4_0", id="cache"),
        pytest.param(("--what-if", "flash=maybe"), "one of on, off", id="flash"),
        pytest.param(("--what-if", "quantize=Q9"), "Q4_K_M", id="quantization"),
        pytest.param(("--what-if", "min-tps=nan"), "tokens a second", id="floor"),
        pytest.param(("--what-if", "server-version=new"), "'new'", id="version"),
        pytest.param(("--what-if", "kv=q8_0", "flash=off"), "needs flash attention", id="both"),
        pytest.param(("--what-if", "context=1", "context=2"), "given twice", id="twice"),
        pytest.param(("--what-if", "kv-cache", "context=1"), "is a topic", id="topic"),
        pytest.param(("context=1",), "put --what-if before", id="without-the-flag"),
        pytest.param(("qwen3:8b", "slots"), "one tag or topic at a time", id="two"),
        pytest.param(("half-bytes",), "deploy explain half-byte", id="nearest-topic"),
        pytest.param(("deepseek-r1:67b",), "67B is DeepSeek-LLM", id="a-size-of-another-model"),
        pytest.param(("moon",), "deploy explain topics", id="neither"),
    ],
)
def test_a_mistake_is_one_clear_error(
    run_deploy: RunDeploy, machine: Path, words: tuple[str, ...], says: str
) -> None:
    done = run_deploy("explain", *words, "--machine", machine, "--json")
    document = json.loads(done.stdout)
    jsonschema.validate(document, load("error"))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert says in done.stderr


def test_nothing_that_fits_is_exit_3(run_deploy: RunDeploy, tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text(json.dumps(box_json(1)))
    done = run_deploy("explain", "--machine", path)
    assert (done.returncode, "nearest is" in done.stderr) == (3, True)


def test_the_help_names_every_key(run_deploy: RunDeploy) -> None:
    text = run_deploy("explain", "--help").stdout
    assert all(key in text for key in KEYS)
