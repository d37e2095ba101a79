"""`deploy estimate` through the real command line."""

import json
from pathlib import Path
from typing import Any

import gguf
import jsonschema
import numpy as np
import pytest

from orchestrator.schema import load
from orchestrator.units import GIB, MIB
from tests.conftest import RunDeploy
from tests.shapes import box_json

RTX_4090 = ("NVIDIA GeForce RTX 4090", 24)


@pytest.fixture
def estimate(run_deploy: RunDeploy, tmp_path: Path) -> Any:
    """Return `estimate(words..., machine=document)`: the document, checked by its schema."""

    def run(*words: str | Path, machine: dict[str, Any] | None = None) -> dict[str, Any]:
        more: tuple[str | Path, ...] = ()
        if machine is not None:
            path = tmp_path / "machine.json"
            path.write_text(json.dumps(machine))
            more = ("--machine", path)
        done = run_deploy("estimate", *words, *more, "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        jsonschema.validate(document, load("estimate"))
        document["stderr"] = done.stderr
        return document

    return run


def test_without_a_machine_one_card_takes_all_by_the_newest_rules(estimate: Any) -> None:
    found = estimate("deepseek-r1:1.5b")
    memory = found["memory"]
    assert found["speed"] is found["server_version"] is None
    assert (found["flash_attention"], found["context"], found["parallel"]) == (True, 4096, 1)
    assert memory["weights_bytes"] / MIB == pytest.approx(1059.89, abs=0.01)
    assert memory["kv_cache_bytes"] == 112 * MIB
    assert [d["index"] for d in memory["devices"]] == [0]
    assert memory["devices"][0]["bytes"] + memory["host_bytes"] == memory["total_bytes"]
    assert len(memory["per_layer"]) == memory["layers"] == 29
    assert "0.33.0" in memory["basis"]["compute"]
    assert (found["requested"], found["stderr"]) == ({}, "")


def test_a_cpu_box_of_the_embedded_server_is_the_log_to_the_digit(estimate: Any) -> None:
    machine = box_json(8, version="0.9.3", server={"settings": {"num_parallel": 1}})
    found = estimate("deepseek-r1:1.5b", machine=machine)
    memory = found["memory"]
    assert memory["compute_bytes"] / MIB == pytest.approx(299.75 + 0.59, abs=0.01)
    assert (memory["overhead_bytes"], memory["devices"]) == (0, [])
    assert memory["resident_bytes"] / MIB == pytest.approx(1300, rel=0.01)
    assert found["flash_attention"] is False
    assert found["speed"]["decode_tps"][1] > 0


def test_a_context_beyond_training_is_clamped_warned_of_and_kept_as_a_wish(estimate: Any) -> None:
    found = estimate("qwen3:8b", "--context", "999999")
    assert found["context"] == 40960
    assert found["requested"]["context"] == {"asked": 999999, "reason": "trained for 40960"}
    assert found["stderr"] == (
        "warning: context 999999 asked: trained for 40960, so 40960 is taken\n"
    )


def test_flash_attention_on_an_old_cpu_is_ignored_with_the_reason(estimate: Any) -> None:
    words = ("qwen3:8b", "--flash-attention", "on", "--kv-cache-type", "q8_0")
    found = estimate(*words, machine=box_json(16, version="0.9.3"))
    assert (found["flash_attention"], found["kv_cache_type"]) == (False, "f16")
    assert found["requested"]["flash_attention"]["reason"] == "ignored: CPU, 0.9.3"
    assert found["requested"]["kv_cache_type"]["asked"] == "q8_0"


@pytest.mark.parametrize(
    ("tag", "wish", "model", "basis"),
    [
        pytest.param(
            "qwen2.5:7b", "q8_0", "qwen2.5:7b-instruct-q8_0", "layout", id="instruct-not-base"
        ),
        pytest.param("deepseek-r1:7b", "Q4_k_m", "deepseek-r1:7b", "exact", id="case-blind-itself"),
        pytest.param(
            "qwen:7b-text-v1.5-q4_0",
            "Q8_0",
            "qwen:7b-text-v1.5-q8_0",
            "layout",
            id="the-most-alike",
        ),
        pytest.param("qwen3:8b", "Q6_K", "qwen3:8b", "layout", id="laid-out-where-no-tag-has-it"),
    ],
)
def test_a_wished_quantization_is_the_library_s_file_of_it_or_laid_out(
    estimate: Any, tag: str, wish: str, model: str, basis: str
) -> None:
    found = estimate(tag, "--quantize", wish)
    assert (found["model"], found["quantization"]) == (model, wish.upper())
    assert found["memory"]["basis"]["weights"] == basis


def test_layers_by_order_go_to_the_first_usable_card(estimate: Any) -> None:
    machine = box_json(64, ("NVIDIA GeForce GT 710", 2), RTX_4090, version="0.33.0")
    for layers in (0, 10, 29, 99):
        found = estimate("deepseek-r1:7b", "--gpu-layers", str(layers), machine=machine)
        assert [d["index"] for d in found["memory"]["devices"]] == ([1] if layers else [])
        assert found["speed"]["basis"].startswith("NVIDIA" if layers else "CPU")
        assert (found["memory"]["resident_bytes"] is None) == bool(layers)


def test_the_server_s_settings_bear_on_placement_as_in_a_plan(estimate: Any) -> None:
    cards = [("NVIDIA A10", 12), ("NVIDIA A10", 12)]
    plain = estimate("deepseek-r1:7b", machine=box_json(64, *cards, version="0.20.0"))
    spread = {"settings": {"sched_spread": True}}
    wide = box_json(64, *cards, version="0.20.0", server=spread)
    assert len(plain["memory"]["devices"]) == 1
    assert len(estimate("deepseek-r1:7b", machine=wide)["memory"]["devices"]) == 2


def test_a_version_flag_beats_the_machine_s(estimate: Any) -> None:
    machine = box_json(64, RTX_4090, version="0.9.3")
    found = estimate("deepseek-r1:7b", "--server-version", "0.20.0", machine=machine)
    assert (found["server_version"], found["flash_attention"]) == ("0.20.0", True)


def write_gguf(path: Path, architecture: str = "qwen2") -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_context_length(2048)
    writer.add_file_type(0)
    writer.add_tensor("token_embd.weight", np.zeros((256, 64), dtype=np.float32))
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((64, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_file_s_own_header_counts(estimate: Any, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "own.gguf")
    found = estimate(path, "--gpu-layers", "0")
    assert (found["model"], found["quantization"]) == ("own.gguf", "F32")
    assert found["file_bytes"] == path.stat().st_size
    assert found["memory"]["weights_bytes"] == 4 * (256 * 64 + 64 * 64)
    assert found["memory"]["basis"]["weights"] == "header"
    assert found["context"] == 2048


def failure(run_deploy: RunDeploy, *words: str | Path) -> dict[str, Any]:
    """Return the error of a run that must fail cleanly: exit 2, one document, no traceback."""
    done = run_deploy("estimate", *words, "--json")
    assert done.returncode == 2, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(document, load("error"))
    error: dict[str, Any] = document["error"]
    assert error["code"] == 2
    assert "Traceback" not in done.stderr
    assert done.stderr == f"error: {error['message']}\nhint: {error['hint']}\n"
    return error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("deepseek-r1:67b",), "distills (1.5b, 7b, 8b, 14b", id="no-such-r1"),
        pytest.param(("qwen3:8b", "--context", "0"), "--context 0", id="context"),
        pytest.param(("qwen3:8b", "--context", "many"), "many", id="no-number"),
        pytest.param(("qwen3:8b", "--parallel", "-3"), "--parallel -3", id="parallel"),
        pytest.param(("qwen3:8b", "--parallel", "9" * 400), "--parallel", id="huge"),
        pytest.param(("qwen3:8b", "--num-batch", "0"), "--num-batch 0", id="batch"),
        pytest.param(("qwen3:8b", "--gpu-layers", "-1"), "--gpu-layers -1", id="layers"),
        pytest.param(("qwen3:8b", "--kv-cache-type", "q5_1"), "q5_1", id="cache-type"),
        pytest.param(
            ("qwen3:8b", "--kv-cache-type", "q8_0", "--flash-attention", "off"),
            "needs flash attention", id="quantized-cache-without-flash",
        ),
        pytest.param(("qwen3:8b", "--quantize", "Q9"), "--quantize Q9", id="quantization"),
        pytest.param(("qwen3:8b", "--server-version", "new"), "'new'", id="version"),
        pytest.param(("qwen3:8b", "--machine", "none.json"), "none.json", id="no-machine-file"),
        pytest.param(("none.gguf",), "none.gguf: No such file", id="no-file"),
        pytest.param((), "Missing argument", id="no-model"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_error(
    run_deploy: RunDeploy, words: tuple[str, ...], says: str
) -> None:
    assert says in failure(run_deploy, *words)["message"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("{", "machine.json", id="no-json"),
        pytest.param("[" * 100_000, "machine.json", id="nested-beyond-reason"),
        pytest.param("[]", "$: [] is not an object", id="no-object"),
        pytest.param("{}", "$.memory: is missing", id="empty"),
        pytest.param('{"memory": {"total_bytes": -1}}', "$.memory.total_bytes", id="negative"),
        pytest.param(
            '{"memory": {"total_bytes": 1' + "0" * 400 + "}}", "is out of range", id="huge"
        ),
    ],
)
def test_a_bad_machine_file_is_told_with_its_path(
    run_deploy: RunDeploy, tmp_path: Path, content: str, says: str
) -> None:
    path = tmp_path / "machine.json"
    path.write_text(content)
    error = failure(run_deploy, "qwen3:8b", "--machine", path)
    assert says in error["message"]


def test_layers_on_a_box_without_a_usable_gpu_are_refused(
    run_deploy: RunDeploy, tmp_path: Path
) -> None:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(box_json(64, ("NVIDIA GeForce GT 710", 2))))
    error = failure(run_deploy, "qwen3:8b", "--machine", path, "--gpu-layers", "5")
    assert "no usable GPU" in error["message"]


def test_an_unknown_architecture_is_refused_not_guessed(
    run_deploy: RunDeploy, tmp_path: Path
) -> None:
    error = failure(run_deploy, write_gguf(tmp_path / "a.gguf", "mamba"))
    assert "architecture mamba is unknown, and not guessed" in error["message"]


def test_a_broken_file_is_told(run_deploy: RunDeploy, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(write_gguf(tmp_path / "b.gguf").read_bytes()[:100])
    assert "the file ends at byte" in failure(run_deploy, path)["message"]


def test_people_read_the_sum_of_the_parts(run_deploy: RunDeploy) -> None:
    done = run_deploy("estimate", "deepseek-r1:7b")
    assert "memory    5.17 GiB = weights 4.36 GiB + KV cache 0.22 GiB" in done.stdout
    total = 4.36 + 0.22 + 0.15 + 0.45
    assert total * GIB == pytest.approx(5.17 * GIB, rel=0.01)


def test_what_does_not_fit_the_machine_is_said(run_deploy: RunDeploy, tmp_path: Path) -> None:
    machine = tmp_path / "box.json"
    card = {"vendor": "nvidia", "name": "NVIDIA RTX", "index": 0, "memory_total_bytes": 12 * 2**30}
    document = {"memory": {"total_bytes": 32 * 2**30}, "accelerators": [card]}
    machine.write_text(json.dumps(document))
    found = run_deploy("estimate", "deepseek-r1:671b", "--machine", machine)
    assert found.returncode == 0
    assert "warning: it does not fit: short by" in found.stderr
    assert "not fit" not in run_deploy("estimate", "qwen3:4b", "--machine", machine).stderr
