"""What the page says: of a full ledger, of an empty one, and of one that lies in wait."""

import re
import time
import xml.dom.minidom
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from orchestrator.errors import InvalidInput
from orchestrator.ledger import Ledger
from orchestrator.redact import Redactor
from orchestrator.report.contents import Contents, contents
from orchestrator.report.page import UNKNOWN, page, plots
from orchestrator.report.plots.palette import DARK, LIGHT
from tests.bench.documents import GIB, document
from tests.report.ledgers import HOST, MODEL, TAG, deployment, fill, machine, others

EVIL = "<script>alert(1)</script>"
# What deploy 0.1 did not write.
_LATER = (
    "key", "blob", "effort", "time_budget_s", "architecture", "placement", "flash_attention",
    "promised", "effective", "cells", "left_out", "loads", "thinking", "concurrency", "comparison",
    "id",
)  # fmt: skip


def as_it_is(value: Any) -> Any:
    return value


def html_of(found: Contents) -> str:
    return page(found, plots(found))


def text_of(html: str) -> str:
    """What a person reads: no tags, single spaces."""
    body = re.sub(r"<(style|svg).*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)).replace("&#39;", "'")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Forty nights of a deployment, and two other models."""
    ledger = fill(tmp_path_factory.mktemp("full") / "ledger.db", 40)
    others(ledger, ["qwen3:8b", EVIL])
    return ledger


@pytest.fixture(scope="module")
def found(full: Ledger) -> Contents:
    return contents(full, HOST, as_it_is)


@pytest.fixture(scope="module")
def html(found: Contents) -> str:
    return html_of(found)


def test_the_page_tells_what_is_deployed_and_what_the_rejected_are_short_of(html: str) -> None:
    text = text_of(html)
    assert "deploy-current → deploy/deepseek-r1:7b-ctx8192" in text
    assert "deepseek-r1:14b memory 0.40 GiB needs 12.00 GiB on GPU" in text
    assert text.index("deepseek-r1:8b speed unknown") < text.index("deepseek-r1:671b memory")
    assert "AMD Ryzen 7 5700X, 8 cores" in text
    assert "NVIDIA GeForce RTX 3060, 12.00 GiB, driver 570.86" in text


def test_a_reason_that_the_deployment_carries_is_told_in_its_own_words(tmp_path: Path) -> None:
    ledger, bench = Ledger(tmp_path / "ledger.db"), document(gpu=True)
    it = deployment(bench, why="the first that fits: 5.35 GiB of 11.60 GiB")
    ledger.accept(ledger.begin(it, machine(gpu=True)), it)
    assert "the first that fits: 5.35 GiB" in text_of(html_of(contents(ledger, HOST, as_it_is)))


def test_numbers_stand_beside_their_unit_their_n_and_their_interval(html: str) -> None:
    text = text_of(html)
    assert re.search(r"decode tokens/s [\d.]+ to [\d.]+ [\d.]+ [\d.]+ [\d.]+ to [\d.]+ 5 ", text)
    assert re.search(r"device 0 5.00 GiB . 5.10 GiB \+2.0 % passed NVML, per process", text)
    assert "prompts of 256 tokens, 64 generated, seed 12345" in text
    assert "context 8192 \N{MULTIPLICATION SIGN} 1, KV cache f16, flash attention on" in text


def test_regressions_changes_and_noise_are_told_in_words_too(html: str) -> None:
    text = text_of(html)
    assert "#20 regressed" in text
    assert "Ollama 0.9.3 → 0.12.0" in text
    assert re.search(r"#29 .*? inconclusive , noisy", text)


def test_a_name_that_is_a_script_is_text(html: str) -> None:
    assert EVIL not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_texts_of_the_ledger_are_escaped_wherever_they_stand(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    bench = document(gpu=True, server_version=EVIL, left_out=[EVIL], quantization=EVIL)
    bench["memory"]["resident_how"] = EVIL
    bench["verdict"]["checks"][0] |= {"outcome": "failed", "detail": EVIL}
    rejected = [{"tag": EVIL, "reason": EVIL, "short_by_bytes": None, "detail": EVIL}]
    it = deployment(bench, rejected=rejected, source=EVIL, architecture=EVIL)
    ledger.accept(ledger.begin(it, machine(gpu=True)), it)
    for _ in range(3):
        ledger.record_bench(bench)
    assert "<script" not in html_of(contents(ledger, HOST, as_it_is))


def test_a_home_folder_or_a_host_is_not_on_the_page_but_models_are(full: Ledger) -> None:
    clean = Redactor(home="/home/margarethe", user="margarethe", host="deepseek").document
    text = text_of(html_of(contents(full, "http://gpu-box.lan:11434", clean)))
    assert "gpu-box" not in text
    text = text_of(html_of(contents(full, HOST, clean)))
    assert "margarethe" not in text
    assert "18 GB is free at ~/.ollama/models" in text
    assert "deepseek-r1:14b memory" in text  # though the box is called like a model


def test_the_page_needs_nothing_else(html: str) -> None:
    assert not re.search(r"<(script|link|img|iframe|object|embed|base)\b", html)
    assert not re.search(r"(src|srcset|action|data)=|@import|url\((?!#)", html)
    assert [h for h in re.findall(r'href="([^"]*)"', html) if not h.startswith("#")] == []
    assert "default-src 'none'" in html


def test_ids_are_unique_and_every_reference_has_its_id(html: str) -> None:
    ids = re.findall(r' id="([^"]+)"', html)
    used = re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', html)
    assert len(ids) == len(set(ids))
    assert len(used) > 100
    assert set(used) <= set(ids)


def test_plots_in_the_page_have_only_colours_that_follow_it(html: str) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert not re.search(r"#[0-9a-f]{6}\b(?![^<>]*\")|rgb\(|: black|: white", drawn)
    assert not re.search(r'style="[^"]*: #', drawn)
    assert set(re.findall(r"var\(--(\w+)\)", drawn)) <= set(LIGHT)
    assert set(LIGHT) == set(DARK)
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_the_same_ledger_gives_the_same_bytes(full: Ledger, html: str) -> None:
    again = contents(full, HOST, as_it_is)
    assert html_of(again) == html
    files = [[d.standalone for d in plots(each).all] for each in (again, again)]
    assert files[0] == files[1]


def test_a_settings_file_of_matplotlib_changes_nothing(
    found: Contents, html: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mpl.rcParams, "axes.linewidth", 5)
    monkeypatch.setitem(mpl.rcParams, "font.size", 30)
    assert html_of(found) == html
    assert mpl.rcParams["font.size"] == 30


def test_a_plot_alone_is_valid_xml_on_white_and_says_what_it_is(found: Contents) -> None:
    drawn = plots(found).all
    assert len({d.name for d in drawn}) == len(drawn) == 10
    for each in drawn:
        root = xml.dom.minidom.parseString(each.standalone).documentElement
        assert root is not None
        assert root.getAttribute("role") == "img"
        assert root.getAttribute("aria-label") == each.title
        assert root.getAttribute("viewBox") == f"0 0 {each.width:g} {each.height:g}"
        assert 'fill="#ffffff"' in each.standalone
        assert "var(" not in each.standalone
        assert "<metadata" not in each.standalone


def test_an_empty_ledger_says_so_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    text = text_of(html_of(contents(Ledger(path), HOST, as_it_is)))
    assert "Nothing is deployed or measured yet" in text
    assert "deploy auto chooses, loads and measures" in text
    assert not path.exists()


def test_a_deployment_that_was_never_measured_says_so(tmp_path: Path) -> None:
    ledger, bench = Ledger(tmp_path / "ledger.db"), document(gpu=True)
    it = deployment(bench, verdict=None)
    ledger.accept(ledger.begin(it, machine(gpu=True)), it)
    text = text_of(html_of(contents(ledger, HOST, as_it_is)))
    assert "deepseek-r1:7b was not measured yet: deploy bench deepseek-r1:7b" in text
    assert "No runs yet" in text


def test_runs_without_a_deployment_say_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.record_bench(document())
    text = text_of(html_of(contents(ledger, HOST, as_it_is)))
    assert f"Nothing is deployed at {HOST}" in text
    assert "a box with 8 cores" in text


def test_one_run_is_no_history(tmp_path: Path) -> None:
    found = contents(fill(tmp_path / "ledger.db", 1), HOST, as_it_is)
    assert "One run only. deploy bench deepseek-r1:7b adds another" in text_of(html_of(found))
    assert plots(found).history == []


def test_a_model_can_be_asked_for_by_any_of_its_names(full: Ledger) -> None:
    for name in (TAG, MODEL):
        assert contents(full, HOST, as_it_is, name).subject == TAG
    assert contents(full, HOST, as_it_is, "qwen3:8b").subject == "qwen3:8b"
    with pytest.raises(InvalidInput, match="was never measured") as caught:
        contents(full, HOST, as_it_is, "qwen3:14b")
    assert TAG in caught.value.hint


def test_a_run_of_an_older_deploy_is_shown_as_far_as_it_tells(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    bench = {k: v for k, v in document(gpu=True).items() if k not in _LATER}
    bench["memory"] = {
        k: v
        for k, v in bench["memory"].items()
        if k not in ("parts", "filled_tokens", "filled_share")
    }
    for _ in range(3):
        ledger.record_bench(bench)
    text = text_of(html_of(contents(ledger, HOST, as_it_is)))
    assert re.search(r"device 0 5.00 GiB . 5.10 GiB", text)
    assert "3 runs of deepseek-r1:7b" in text


def _nothing_measured(bench: dict[str, Any]) -> None:
    bench["metrics"] = dict.fromkeys(bench["metrics"])
    for cell in bench["cells"]:
        cell |= {"decode_tps": None, "prefill_tps": None, "ttft_s": None}
    for level in bench["concurrency"]:
        level |= {"per_user_tps": None, "ttft_s": None, "queued": None, "queue_share": None}
    bench["noise"] = {"foreign_cpu": None, "steal": None, "noisy_samples": 0}


def _nothing_promised(bench: dict[str, Any]) -> None:
    sizes = [k for k in bench["promised"] if k not in ("devices", "prompt_tokens")]
    bench["promised"] |= {**dict.fromkeys(sizes), "devices": []}
    bench["verdict"] = None


def _memory_unseen(bench: dict[str, Any]) -> None:
    bench["memory"] |= {"resident_bytes": None, "parts": None, "pss_bytes": None}
    bench["memory"]["devices"] = [{"index": 0, "bytes": None, "how": "the driver does not say"}]
    bench["memory"] |= {"server_claim_bytes": None, "filled_tokens": None, "filled_share": None}


@pytest.mark.parametrize(
    ("lacks", "gpu", "row"),
    [
        (_nothing_measured, True, "decode tokens/s 28.0 to 52.0 42.0 ? ? 0 ? ?"),
        (_nothing_measured, False, "decode tokens/s 28.0 to 52.0 42.0 ? ? 0 ? ?"),
        (_nothing_promised, True, "decode tokens/s ? ? 39.8"),
        (_nothing_promised, False, "host memory of the runner ? ? 5.10 GiB ? ? VmHWM"),
        (_memory_unseen, True, "device 0 5.00 GiB ? ? ? passed the driver does not say"),
        (_memory_unseen, False, "host memory of the runner 5.00 GiB ? ? ? passed"),
    ],
)
def test_what_is_unknown_is_a_dash_and_never_a_zero(
    tmp_path: Path, lacks: Callable[[dict[str, Any]], None], gpu: bool, row: str
) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    for _ in range(3):
        bench = document(gpu=gpu)
        lacks(bench)
        ledger.record_bench(bench)
    text = text_of(html_of(contents(ledger, HOST, as_it_is)))
    assert row.replace("?", UNKNOWN) in text
    assert "None" not in text
    assert "nan" not in text.split()


def test_free_memory_is_what_the_cards_have_left(html: str) -> None:
    text = text_of(html)
    left = (12 * GIB - int(5.1 * GIB)) / GIB
    assert re.search(rf"measured 4.36 GiB 0.44 GiB 0.31 GiB . . {left:.2f} GiB", text)


def test_thousands_of_runs_are_drawn_at_once_in_little_and_the_page_says_how(
    found: Contents, html: str
) -> None:
    many = [
        {**found.rows[n // 250], "id": n, "at": f"20{n // 500 + 10}-{n % 12 + 1:02}-01T03:00:00Z"}
        for n in range(10_000)
    ]
    many.sort(key=lambda r: r["at"])
    big = replace(found, figures=many[::-1], rows=many)
    started = time.process_time()
    drawn = plots(big)
    assert time.process_time() - started < 1.5
    page_of_all = page(big, drawn)
    assert len(page_of_all) < len(html) + 100_000
    assert "10,000 runs of deepseek-r1:7b" in text_of(page_of_all).replace("10000", "10,000")
    assert "the line is the median of each of 120 bins" in text_of(page_of_all)
    decode = next(d for d in drawn.history if d.name == "history-decode").inline
    for said in ("min..max", "regressed (500)", "suspected (250)", "no baseline (500)"):
        assert said in decode
