"""The text file is what its readers' parser and promtool's rules accept, and invents nothing."""

import os
import re
import stat
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.errors import InvalidInput
from orchestrator.report.prometheus import MOST_MODELS, write_textfile

AT_S = 1764126000
DEPLOYMENT = {
    "model": "deploy/qwen3:8b-ctx4096", "tag": "qwen3:8b", "alias": "deploy-current:latest",
    "quantization": "Q4_K_M", "architecture": "qwen3", "server_version": "0.9.3", "runtime": None,
    "placement": "cpu", "context": 4096, "parallel": 1,
}  # fmt: skip
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def row(model: str = "qwen3:8b", **changes: Any) -> dict[str, Any]:
    return {
        "id": 7, "at": "2025-11-26T03:00:00Z", "model": model, "decode_tps": 40.5,
        "prefill_tps": 400.0, "ttft_s": 0.25, "load_s": 2.5, "resident_bytes": 5 * 2**30,
        "vram_bytes": None, "promised_resident_bytes": 4 * 2**30, "promised_vram_bytes": None,
        "verdict": "passed", "comparison": "same", "noisy": False, **changes,
    }  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deploy.prom"


def series(path: Path) -> Series:
    """Return the samples by name and labels; a series that is there twice fails."""
    found: Series = {}
    for family in text_string_to_metric_families(path.read_text()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            assert sample.timestamp is None
            found[key] = sample.value
    return found


def of(found: Series, name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


def test_each_figure_is_there_in_its_base_unit_under_the_name_of_its_model(path: Path) -> None:
    write_textfile(path, [row(vram_bytes=6 * 2**30)], DEPLOYMENT)
    found = series(path)
    model = {"model": "qwen3:8b"}
    assert of(found, "deploy_bench_decode_tokens_per_second", **model) == 40.5
    assert of(found, "deploy_bench_prefill_tokens_per_second", **model) == 400.0
    assert of(found, "deploy_bench_ttft_seconds", **model) == 0.25
    assert of(found, "deploy_bench_load_seconds", **model) == 2.5
    assert of(found, "deploy_memory_measured_bytes", part="resident", **model) == 5 * 2**30
    assert of(found, "deploy_memory_measured_bytes", part="vram", **model) == 6 * 2**30
    assert of(found, "deploy_memory_promised_bytes", part="resident", **model) == 4 * 2**30
    assert of(found, "deploy_bench_last_run_timestamp_seconds", **model) == AT_S
    assert of(found, "deploy_bench_verdict", outcome="passed", **model) == 1
    assert of(found, "deploy_bench_verdict", outcome="failed", **model) == 0
    assert of(found, "deploy_bench_regressed", **model) == 0
    assert of(found, "deploy_bench_noisy", **model) == 0
    [info] = [labels for name, labels in found if name == "deploy_deployment_info"]
    assert dict(info) == {k: str(v) if v else "" for k, v in DEPLOYMENT.items()}


def test_what_is_unknown_has_no_sample_rather_than_a_zero(path: Path) -> None:
    known = {"id", "at", "model"}
    write_textfile(path, [{k: v if k in known else None for k, v in row().items()}], None)
    assert {name for name, _ in series(path)} == {"deploy_bench_last_run_timestamp_seconds"}


@pytest.mark.parametrize(
    ("comparison", "value"),
    [("regressed", 1), ("suspected", 0), ("better", 0), ("inconclusive", None), ("unknown", None)],
)
def test_only_a_confirmed_loss_is_a_regression_and_no_comparison_is_none(
    path: Path, comparison: str, value: float | None
) -> None:
    write_textfile(path, [row(comparison=comparison)], None)
    assert of(series(path), "deploy_bench_regressed", model="qwen3:8b") == value


def test_the_newest_run_of_each_model_counts_and_their_number_is_bounded(path: Path) -> None:
    rows = [row(decode_tps=1.0), row(decode_tps=2.0), row("b:1b", decode_tps=3.0)]
    write_textfile(path, rows, None)
    found = series(path)
    name = "deploy_bench_decode_tokens_per_second"
    assert of(found, name, model="qwen3:8b") == 1.0
    assert of(found, name, model="b:1b") == 3.0
    write_textfile(path, [row(f"m:{i}") for i in range(3 * MOST_MODELS)], None)
    assert len([n for n, _ in series(path) if n == name]) == MOST_MODELS


def test_the_format_keeps_the_rules_that_promtool_checks(path: Path) -> None:
    write_textfile(path, [row(), row("b:1b")], DEPLOYMENT)
    text = path.read_text()
    assert text.endswith("\n")
    described = re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE)
    typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert set(typed.values()) == {"gauge"}
    assert sorted(name for name, _ in described) == sorted(typed)
    assert all(words.strip() for _, words in described)
    names = re.findall(r"^([^#\s{]+)", text, re.MULTILINE)
    assert set(names) <= set(typed)
    for name in typed:
        assert re.fullmatch(r"deploy_[a-z]+(?:_[a-z]+)*", name)
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_created"))
        assert not re.search(r"milliseconds|minutes|kilobytes|mebibytes|gauge", name)
    blocks = [name for name, _ in groupby(names)]
    assert len(blocks) == len(set(blocks))  # the samples of one name stand together


def test_a_name_with_quotes_and_line_ends_comes_back_as_it_was(path: Path) -> None:
    odd = 'a"b\\c\nd}e'
    write_textfile(path, [row(odd)], {**DEPLOYMENT, "alias": odd})
    found = series(path)
    assert of(found, "deploy_bench_ttft_seconds", model=odd) == 0.25


def test_figures_of_this_process_and_of_python_stay_out(path: Path) -> None:
    write_textfile(path, [row()], DEPLOYMENT)
    assert all(name.startswith("deploy_") for name, _ in series(path))


def test_the_collector_that_is_another_user_may_read_it_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_textfile(path, [row()], None)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_failed_write_leaves_the_file_before_and_no_rest_that_would_be_read(path: Path) -> None:
    write_textfile(path, [row(decode_tps=1.0)], None)
    with pytest.raises(ValueError, match="could not convert"):
        write_textfile(path, [row(decode_tps="fast")], None)
    assert of(series(path), "deploy_bench_decode_tokens_per_second", model="qwen3:8b") == 1.0
    assert [p.name for p in path.parent.iterdir()] == ["deploy.prom"]


def test_a_name_that_the_collector_would_overlook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"only files that end in \.prom") as caught:
        write_textfile(tmp_path / "deploy.txt", [row()], None)
    assert "deploy.prom" in caught.value.hint
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_textfile(tmp_path / "none" / "deploy.prom", [row()], None)


def test_the_library_is_paid_for_only_by_who_writes_the_file() -> None:
    code = "import sys, orchestrator.report.prometheus; print('prometheus_client' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
