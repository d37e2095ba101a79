"""Who decided a setting, what bounds the speed, what lies above, and what a change does."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.explain.case import Case
from orchestrator.explain.changes import changed, parse
from orchestrator.explain.decided import decisions
from orchestrator.explain.explanation import explained
from orchestrator.explain.larger import above
from orchestrator.explain.pace import pace
from orchestrator.explain.ways import ways
from orchestrator.explain.whatif import compared
from tests.explain.cases import DEFAULT, RTX_3060, RTX_4090, case
from tests.shapes import CATALOG, box


def settings_of(found: Case) -> dict[str, tuple[str, str, str | None]]:
    estimate = found.answer().fit.estimate
    return {d.setting: (d.value, d.by, d.change) for d in decisions(found, estimate)}


@pytest.mark.parametrize(
    ("version", "server", "setting", "value", "by", "change"),
    [
        pytest.param("0.20.0", {}, "slots", "1", "1 slot by default", "NUM_PARALLEL=N", id="slots"),
        pytest.param(
            "0.9.3", {"pid": 7}, "slots", "2", "2 slots where they fit", "NUM_PARALLEL=N",
            id="slots-by-the-server-itself",
        ),
        pytest.param(
            "0.20.0", {"settings": {"num_parallel": 3}, "pid": 7}, "slots", "3",
            "OLLAMA_NUM_PARALLEL=3 of the server", "restart the server", id="slots-set",
        ),
        pytest.param(
            "0.9.3", {}, "flash attention", "off", "off by default for qwen3",
            "OLLAMA_FLASH_ATTENTION=1", id="flash-before",
        ),
        pytest.param(
            "0.20.0", {}, "flash attention", "on", "on by default for qwen3",
            "OLLAMA_FLASH_ATTENTION=0", id="flash-since",
        ),
        pytest.param(
            "0.20.0", {"settings": {"flash_attention": False}}, "flash attention", "off",
            "OLLAMA_FLASH_ATTENTION=0 of the server", "OLLAMA_FLASH_ATTENTION=1", id="flash-set",
        ),
        pytest.param(
            "0.20.0", {"settings": {"kv_cache_type": "q8_0"}}, "KV cache type", "q8_0",
            "OLLAMA_KV_CACHE_TYPE=q8_0 of the server", "TYPE=f16", id="cache-set",
        ),
        pytest.param(
            "0.9.3", {"settings": {"kv_cache_type": "q8_0"}}, "KV cache type", "f16",
            "q8_0 asked for, ignored", "OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0",
            id="cache-ignored",
        ),
    ],
)  # fmt: skip
def test_who_decided(
    version: str, server: dict[str, Any], setting: str, value: str, by: str, change: str
) -> None:
    found = settings_of(case(box(64, RTX_4090, version=version, server=server), "qwen3:8b"))
    got = found[setting]
    assert got[0] == value
    assert by in got[1]
    assert change in (got[2] or "")


def test_on_a_cpu_of_old_no_setting_helps() -> None:
    found = settings_of(case(box(64, version="0.9.3"), "qwen3:8b"))
    assert found["flash attention"][2] is None
    assert found["KV cache type"][2] is None


def test_a_card_too_old_for_flash_attention_is_named() -> None:
    machine = box(64, ("NVIDIA Jetson AGX Xavier", 8), version="0.20.0")
    [card] = machine.accelerators
    machine = replace(machine, accelerators=(replace(card, compute_capability="7.2"),))
    found = settings_of(case(machine, "qwen3:1.7b"))
    assert (found["flash attention"][0], found["flash attention"][2]) == ("off", None)
    assert "GPU" in found["flash attention"][1]


@pytest.mark.parametrize(
    ("wishes", "profile", "by"),
    [
        pytest.param({}, DEFAULT, "profile default, context_gpu", id="profile"),
        pytest.param(
            {"context": 4096}, DEFAULT.override({"context": 4096}, "--context"), "--context",
            id="flag",
        ),
        pytest.param(
            {"context": 99999}, DEFAULT.override({"context": 99999}, "--context"),
            "asked for 99999; trained for 40960", id="clamped",
        ),
    ],
)  # fmt: skip
def test_who_decided_the_context(wishes: dict[str, Any], profile: Any, by: str) -> None:
    found = case(box(64, RTX_4090, version="0.20.0"), "qwen3:8b", **wishes)
    assert by in settings_of(replace(found, profile=profile))["context"][1]


@pytest.mark.parametrize(
    ("machine", "tag", "says", "ceiling"),
    [
        pytest.param(box(64, RTX_4090), "deepseek-r1:32b", "RTX 4090 bounds", True, id="gpu"),
        pytest.param(box(64, RTX_3060), "deepseek-r1:32b", "the GPU waits", False, id="split"),
        pytest.param(
            box(64, memory={"bandwidth_bytes_per_s": 38_400_000_000}), "qwen3:8b",
            "host's memory", True, id="cpu-with-a-measured-bandwidth",
        ),
    ],
)  # fmt: skip
def test_what_bounds_the_speed(machine: Any, tag: str, says: str, ceiling: bool) -> None:
    found = pace(case(machine, tag).answer().fit.estimate, machine)
    assert says in found.bound_by
    assert (found.ceiling_tps is not None) == ceiling
    if found.ceiling_tps and found.speed:
        assert found.speed.decode_tps[1] < found.ceiling_tps


def test_of_experts_only_those_in_use_are_read() -> None:
    machine = box(64, RTX_4090)
    [mixed, dense] = [
        pace(case(machine, tag).answer().fit.estimate, machine).read_bytes
        for tag in ("qwen3:30b", "deepseek-r1:32b")
    ]
    assert mixed * 6 < dense


def test_above_a_model_stand_the_next_larger_and_the_next_finer() -> None:
    found = case(box(64, RTX_4090, version="0.20.0"), "deepseek-r1:32b")
    larger, finer = above(found.held(found.answer()), CATALOG.candidates)
    assert (larger.tag, larger.relation, larger.reason) == (
        "deepseek-r1:70b",
        "more parameters",
        "memory",
    )
    assert "q8_0" in finer.tag
    assert (finer.relation, (finer.short_by_bytes or 0) > 0) == ("finer quantization", True)


def test_what_is_above_and_fits_is_said_to_fit() -> None:
    found = case(box(64, RTX_4090, version="0.20.0"), "deepseek-r1:1.5b")
    larger, _ = above(found, CATALOG.candidates)
    assert larger.tag != "qwen2.5:3b"  # no commercial use
    assert (larger.reason, larger.detail.startswith("fits too")) == (None, True)


def test_the_largest_has_nothing_above() -> None:
    found = case(box(64), "deepseek-r1:671b-fp16")
    assert above(found, CATALOG.candidates) == ()


def test_every_part_of_an_explanation_speaks_of_one_estimate() -> None:
    found = explained(case(box(64, RTX_4090, version="0.20.0"), "qwen3:8b"), CATALOG.candidates)
    model = found.to_json()["model"]
    assert model["why"].startswith("it was named, and fits: ")
    assert sum(p["bytes"] for p in model["parts"]) == found.answer.fit.estimate.total_bytes


def test_a_change_is_what_a_case_with_it_would_be() -> None:
    before = case(box(64, RTX_4090, version="0.9.3"), "qwen3:8b")
    changes = parse(["server-version=0.20.0", "parallel=2", "kv=q4_0", "quantize=Q8_0", "flash=on"])
    after = changed(before, changes, CATALOG)
    run = after.answer().fit.estimate.load.run
    assert (str(run.version), run.parallel, run.kv_cache_type) == ("0.20.0", 2, "q4_0")
    assert (after.candidate.tag, run.flash_attention) == ("qwen3:8b-q8_0", True)
    assert "install Ollama 0.20.0" in ways(changes, after, after.answer(), named=True)


def test_what_is_not_changed_stays_as_it_was() -> None:
    before = case(box(64, RTX_4090, version="0.20.0"), "qwen3:8b", flash_attention=False)
    after = changed(before, parse(["context=2048"]), CATALOG)
    assert after == before.at_context(2048)


def test_a_wish_that_the_server_ignores_is_a_note() -> None:
    before = case(box(64, version="0.9.3"), "qwen3:8b")
    changes = parse(["kv=q8_0"])
    found = compared(changes, before, changed(before, changes, CATALOG), ()).to_json()["what_if"]
    assert found["before"]["memory"] == found["after"]["memory"]
    assert found["notes"] == ["kv_cache_type q8_0 asked: ignored: CPU, 0.9.3"]


def test_what_flash_attention_would_make_of_a_wish_is_a_note() -> None:
    before = case(box(64, RTX_4090, version="0.9.3"), "qwen3:8b")
    changes = parse(["kv=q8_0"])
    found = compared(changes, before, changed(before, changes, CATALOG), ()).to_json()["what_if"]
    assert found["after"]["kv_cache_type"] == "f16"
    assert found["notes"][-1] == "with flash=on the cache would be q8_0"


def test_what_no_longer_fits_says_what_is_missing() -> None:
    before = case(box(16, version="0.9.3"), "deepseek-r1:7b")
    changes = parse(["context=131072", "parallel=4"])
    found = compared(changes, before, changed(before, changes, CATALOG), ()).to_json()["what_if"]
    after = found["after"]
    assert (found["before"]["fits"], after["fits"]) == (True, False)
    assert after["short_by_bytes"] > 0
    assert "short by" in after["missing"]
