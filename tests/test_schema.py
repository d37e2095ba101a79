"""The JSON Schemas are schemas, and every one can be had by name."""

import json

import pytest
from jsonschema import Draft202012Validator

from orchestrator.errors import InvalidInput
from orchestrator.schema import load, names
from tests.conftest import RunDeploy

OUTPUTS = (
    "bench", "catalog", "deployment", "env", "error", "estimate", "history", "machine", "plan",
    "pull", "pull-forecast", "receipt", "receipt-comparison", "report", "runbook", "runbooks",
    "runtime", "status", "verified", "verify",
)  # fmt: skip


def test_every_output_has_a_schema() -> None:
    assert set(OUTPUTS) <= set(names())


@pytest.mark.parametrize("name", names())
def test_a_schema_is_valid_itself(name: str) -> None:
    document = load(name)
    Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"] == name
    assert document["title"]
    assert document["description"]


@pytest.mark.parametrize("name", names())
def test_what_is_required_is_described_and_nothing_empty_passes(name: str) -> None:
    document = load(name)
    assert set(document.get("required", ())) <= set(document.get("properties", {}))
    assert not Draft202012Validator(document).is_valid({})
    assert not Draft202012Validator(document).is_valid([])


@pytest.mark.parametrize("name", ["moon", "", "../errors", "plan.json"])
def test_an_unknown_name_is_answered_with_those_that_exist(name: str) -> None:
    with pytest.raises(InvalidInput, match="there is no schema") as caught:
        load(name)
    assert "estimate" in caught.value.hint


def test_the_command_prints_one(run_deploy: RunDeploy) -> None:
    done = run_deploy("schema", "plan")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == load("plan")
    assert run_deploy("schema").stdout.split() == list(names())
    assert run_deploy("schema", "moon").returncode == 2
