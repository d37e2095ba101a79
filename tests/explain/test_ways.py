"""How a change is made: no command that the server, a licence or the library would refuse."""

from dataclasses import replace

import pytest

from orchestrator.explain.changes import changed, parse
from orchestrator.explain.whatif import Comparison, compared
from tests.explain.cases import RTX_4090, case
from tests.shapes import CATALOG, box

CARD = box(64, RTX_4090, version="0.20.0")
OLD_CPU = box(32, version="0.9.3", host={"physical_cores": 8})


def asked(machine: object, tag: str, words: str, *, named: bool = True) -> Comparison:
    before = case(machine, tag)  # type: ignore[arg-type]  # a box of one of the constants
    changes = parse(words.split())
    others = () if named else CATALOG.candidates
    return compared(changes, before, changed(before, changes, CATALOG), others)


@pytest.mark.parametrize(
    ("machine", "tag", "words", "ways"),
    [
        pytest.param(
            CARD, "qwen3:8b", "context=32768", ["deploy auto qwen3:8b --context 32768"], id="tag"
        ),
        pytest.param(
            CARD, "qwen3:8b", "context=99999", ["deploy auto qwen3:8b --context 40960"], id="clamp"
        ),
        pytest.param(CARD, "deepseek-r1:32b", "context=131072 parallel=64", [], id="does-not-fit"),
        pytest.param(CARD, "qwen2.5:3b", "context=8192", [], id="licence"),
        pytest.param(OLD_CPU, "qwen3:8b", "kv=q8_0", [], id="ignored-on-an-old-cpu"),
        pytest.param(OLD_CPU, "qwen3:8b", "flash=on", [], id="no-flash-on-an-old-cpu"),
        pytest.param(
            box(64, RTX_4090, version="0.9.3"),
            "qwen3:8b",
            "kv=q8_0",
            ["start the server with OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0"],
            id="flash-must-be-asked-for-too",
        ),
        pytest.param(
            CARD, "qwen3:8b", "quantize=q8_0", ["deploy auto qwen3:8b-q8_0"], id="a-tag-of-it"
        ),
        pytest.param(CARD, "qwen3:8b", "quantize=q6_K", [], id="the-library-has-none"),
    ],
)
def test_a_way_is_a_command_that_works(
    machine: object, tag: str, words: str, ways: list[str]
) -> None:
    assert asked(machine, tag, words).to_json()["what_if"]["ways"] == ways


def test_a_quantization_that_the_library_has_not_is_a_note() -> None:
    notes = asked(CARD, "qwen3:8b", "quantize=q6_K").to_json()["what_if"]["notes"]
    assert notes == ["the library has no qwen3:8b at Q6_K: these are the numbers of its layout"]


def test_an_allowed_licence_stands_in_the_command() -> None:
    before = case(CARD, "qwen2.5:3b")
    before = replace(before, profile=replace(before.profile, allow_licence=True))
    changes = parse(["context=16384"])
    found = compared(changes, before, before.at_context(16384), ()).to_json()["what_if"]
    assert found["ways"] == ["deploy auto qwen2.5:3b --context 16384 --allow-licence"]


def test_a_quantization_is_of_one_model_and_no_plan_contradicts_it() -> None:
    found = asked(CARD, "deepseek-r1:32b", "quantize=q8_0", named=False).to_json()["what_if"]
    assert found["plan_then"] is None
    assert found["ways"] == [f"deploy auto {found['after']['tag']}"]


def test_the_tag_is_named_where_a_plan_would_pick_another() -> None:
    found = asked(CARD, "qwen3:8b", "context=16384", named=False).to_json()["what_if"]
    assert found["plan_then"] != "qwen3:8b"
    assert found["ways"] == ["deploy auto qwen3:8b --context 16384"]
