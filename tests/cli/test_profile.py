"""`deploy profile list|show|check` through the real command line."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.schema import load
from tests.conftest import RunDeploy

BUNDLED = Path(__file__).parents[2] / "profiles"
WRONG = 'schema = 1\ncontxt = 3\nplacement = "moon"\nsummary = """\nalias = 1\n"""\nalias = "a/b"\n'


def document(text: str, schema: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    jsonschema.validate(found, load(schema))
    return found


def test_list_names_every_bundled_profile(run_deploy: RunDeploy) -> None:
    done = run_deploy("profile", "list", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    profiles = document(done.stdout, "profiles")["profiles"]
    assert {p["name"] for p in profiles} == {path.stem for path in BUNDLED.glob("*.toml")}
    assert all(Path(p["file"]).is_file() for p in profiles)
    shown = run_deploy("profile", "list").stdout
    assert all(p["name"] in shown and p["summary"] in shown for p in profiles)


def test_show_says_who_set_each_value(run_deploy: RunDeploy) -> None:
    done = run_deploy("profile", "show", "coding", "--json", env={"DEPLOY_CONTEXT": "2048"})
    assert (done.returncode, done.stderr) == (0, "")
    found = document(done.stdout, "profile")
    assert found["name"] == "coding"
    values = found["values"]
    assert values["context"] == {"value": 2048, "origin": "DEPLOY_CONTEXT"}
    assert values["alias"] == {"value": "deploy-coding", "origin": "profile coding"}
    assert values["min_tps"] == {"value": 4.0, "origin": "profile default"}
    assert values["registry"] == {"value": None, "origin": "built in"}


def test_show_is_read_by_people(run_deploy: RunDeploy) -> None:
    lines = run_deploy("profile", "show", "reasoning").stdout.splitlines()
    assert lines[0] == "reasoning: DeepSeek-R1 first, then Qwen3"
    rows = {line.split()[0]: line for line in lines[2:]}
    assert "deepseek-r1 > qwen3" in rows["families"]
    assert rows["families"].endswith("profile reasoning")
    assert rows["allow_licence"].split()[1] == "false"
    assert rows["catalog"].split()[1] == "-"


def test_show_without_a_name_is_the_one_in_force(run_deploy: RunDeploy) -> None:
    assert run_deploy("profile", "show").stdout.startswith("default: ")
    chat = run_deploy("profile", "show", env={"DEPLOY_PROFILE": "chat"})
    assert chat.stdout.startswith("chat: ")


def test_show_reads_a_file(run_deploy: RunDeploy, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('catalog = "models.json"\n')
    values = document(run_deploy("profile", "show", path, "--json").stdout, "profile")["values"]
    assert values["catalog"]["value"] == str(tmp_path / "models.json")


@pytest.mark.parametrize(
    ("name", "says", "hint"),
    [
        pytest.param("codin", "there is no profile 'codin'", "did you mean 'coding'?", id="typo"),
        pytest.param(
            "moon", "there is no profile 'moon'", "one of: chat, china, coding", id="unknown"
        ),
        pytest.param("none.toml", "none.toml: No such file", "deploy profile list", id="no-file"),
    ],
)
def test_an_unknown_profile_is_one_clear_error(
    run_deploy: RunDeploy, name: str, says: str, hint: str
) -> None:
    done = run_deploy("profile", "show", name, "--json")
    error = document(done.stdout, "error")["error"]
    assert (done.returncode, error["name"]) == (2, "ProfileInvalid")
    assert says in error["message"]
    assert hint in error["hint"]


def test_check_passes_what_is_good_by_name_or_file(run_deploy: RunDeploy) -> None:
    path = BUNDLED / "chat.toml"
    done = run_deploy("profile", "check", "coding", path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    files = document(done.stdout, "profile-check")["files"]
    assert files == [{"file": f, "valid": True, "mistakes": []} for f in ("coding", str(path))]
    assert run_deploy("profile", "check", "coding").stdout == "coding: good\n"


def test_check_lists_every_mistake_with_file_line_and_key(
    run_deploy: RunDeploy, tmp_path: Path
) -> None:
    path, absent = tmp_path / "mine.toml", tmp_path / "none.toml"
    path.write_text(WRONG)
    done = run_deploy("profile", "check", path, absent, "coding")
    assert (done.returncode, done.stdout) == (2, "coding: good\n")
    assert done.stderr.splitlines() == [
        f"error: {path}:2: unknown key 'contxt'; did you mean 'context'?",
        f"error: {path}:3: placement = 'moon'; one of auto, gpu, split, cpu, any",
        f"error: {path}:7: alias = 'a/b'; a plain name, or /v1/models/NAME cannot find it",
        f"error: {absent}: No such file or directory",
        "hint: `deploy profile show` prints every key with its value",
    ]


def test_check_answers_with_a_document_where_mistakes_are(
    run_deploy: RunDeploy, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(WRONG)
    done = run_deploy("profile", "check", path, "--json")
    assert done.returncode == 2
    [file] = document(done.stdout, "profile-check")["files"]
    assert not file["valid"]
    assert [(m["line"], m["key"]) for m in file["mistakes"]] == [
        (2, "contxt"), (3, "placement"), (7, "alias"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"\xff", "not UTF-8 at byte 0", id="bytes"),
        pytest.param(b"a = [1,", ":1: Invalid value", id="no-toml"),
    ],
)
def test_check_tells_what_is_no_text(
    run_deploy: RunDeploy, tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    done = run_deploy("profile", "check", path)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_plan_names_file_line_and_key(run_deploy: RunDeploy, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(WRONG)
    done = run_deploy("plan", "--profile", path)
    assert done.returncode == 2
    assert f"error: {path}:2: unknown key 'contxt'; did you mean 'context'?" in done.stderr
    assert "lists all 3" in done.stderr
