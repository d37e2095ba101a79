"""`deploy history` through the real command line."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest

from orchestrator.cli.history import since_of
from orchestrator.cli.render_history import as_csv
from orchestrator.errors import InvalidInput
from orchestrator.home import Home
from orchestrator.ledger import FIGURES, Ledger
from orchestrator.schema import load
from tests.bench.documents import document
from tests.conftest import RunDeploy
from tests.ledger.older import older_ledger

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
MODEL = "deploy/qwen3:8b-ctx4096"
FORMULA = '=HYPERLINK("http://x"),a'
Answers = Callable[..., dict[str, Any]]


def deployment(deployed_at: str) -> dict[str, Any]:
    return {
        "tag": "qwen3:8b",
        "model": MODEL,
        "state": "current",
        "alias": "deploy-chat:latest",
        "server_host": "http://127.0.0.1:11434",
        "machine": {"name": "a box", "digest": "0123456789abcdef"},
        "deployed_at": deployed_at,
        "measured": {"resident_bytes": 2**30},
        "verdict": {"outcome": "passed", "checks": []},
    }


@pytest.fixture
def ledger(home: Home) -> Ledger:
    """Two deployments with the proof of one; a pinned, a plain and a formula of a run."""
    ledger = Ledger(home.ledger)
    ledger.begin(deployment("2026-11-01T00:00:00Z"), {})
    second = deployment("2026-11-20T00:00:00Z")
    ledger.note(
        ledger.begin(second, {}), second, document(model=MODEL, started_at="2026-11-20T00:00:01Z")
    )
    ledger.record_bench(document(gpu=True, started_at="2026-11-21T00:00:00Z"))
    ledger.record_bench(document(started_at="2026-11-22T00:00:00Z", decode_tps=20.0))
    ledger.record_bench(document(model=FORMULA, stopped="deadline", key="-another"))
    ledger.pin(2)
    return ledger


@pytest.fixture
def answer(run_deploy: RunDeploy) -> Answers:
    def answer(*arguments: str) -> dict[str, Any]:
        # Five hours behind UTC: no date may be taken for one of here.
        done = run_deploy("history", *arguments, "--json", env={"TZ": "EST5"})
        assert (done.returncode, done.stderr) == (0, "")
        found: dict[str, Any] = json.loads(done.stdout)
        if "--run" not in arguments:
            jsonschema.validate(found, load("history"))
        return found

    return answer


def numbers(found: dict[str, Any]) -> tuple[list[int], list[int]]:
    return [d["id"] for d in found["deployments"]], [b["id"] for b in found["bench_runs"]]


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("arguments", "deployments", "runs"),
    [
        pytest.param((), [2, 1], [4, 3, 2, 1], id="everything"),
        pytest.param(("--limit", "1"), [2], [4], id="limit-of-each-kind"),
        pytest.param(("--what", "bench"), [], [4, 3, 2, 1], id="bench"),
        pytest.param(("--what", "deployments"), [2, 1], [], id="deployments"),
        pytest.param(("--model", "QWEN3:8B"), [2, 1], [1], id="tag-case-blind"),
        pytest.param(("--model", "deploy-chat"), [2, 1], [1], id="alias"),
        pytest.param(("--model", "deepseek"), [], [3, 2], id="derived-name"),
        pytest.param(("--since", "2026-11-20"), [2], [4, 3, 2, 1], id="date"),
        pytest.param(("--since", "2026-11-22T00:00:00+01:00"), [], [4, 3], id="time"),
        pytest.param(("--since", "2026-11-22", "--model", "deepseek"), [], [3], id="both"),
    ],
)
def test_filters_choose_what_is_listed(
    answer: Answers, arguments: tuple[str, ...], deployments: list[int], runs: list[int]
) -> None:
    assert numbers(answer(*arguments)) == (deployments, runs)


def test_json_has_whole_documents_and_their_standing(answer: Answers, ledger: Ledger) -> None:
    found = answer()
    assert found["bench_runs"] == ledger.bench_runs(9)
    assert found["deployments"] == ledger.deployments(9)
    standings = [run["standing"] for run in found["bench_runs"]]
    assert standings == ["out", "baseline", "pinned", "baseline"]
    for run in found["bench_runs"]:
        jsonschema.validate(run, load("bench"))


@pytest.mark.usefixtures("ledger")
def test_the_text_is_two_tables_newest_first(run_deploy: RunDeploy) -> None:
    done = run_deploy("history")
    assert (done.returncode, done.stderr) == (0, "")
    deployments, runs = [part.splitlines() for part in done.stdout.split("\n\n")]
    assert [line.split()[0] for line in deployments[1:]] == [
        "2026-11-20T00:00:00Z",
        "2026-11-01T00:00:00Z",
    ]
    assert [line.split()[0] for line in runs] == ["run", "4", "3", "2", "1"]
    assert runs[0].split("  ")[-1] == "standing"
    pinned = runs[3]
    rate = document(gpu=True)["metrics"]["decode_tps"]["median"]
    assert f"{rate:.1f}" in pinned
    assert "5.10 GiB GPU" in pinned
    assert pinned.endswith("passed   -         pinned")


def test_one_run_is_shown_with_every_sample(
    run_deploy: RunDeploy, answer: Answers, ledger: Ledger
) -> None:
    found = answer("--run", "2")
    jsonschema.validate(found, load("bench"))
    assert found == ledger.bench_run(2)
    text = run_deploy("history", "--run", "2").stdout
    samples = text[text.index("\nround ") :].splitlines()[2:]
    assert len(samples) == len(found["samples"]) == 18
    assert [line.split()[2] for line in samples[:3]] == ["32", "256", "2048"]
    assert "standing  pinned" in text


def test_csv_has_a_row_a_run_and_nothing_that_a_spreadsheet_would_run(
    run_deploy: RunDeploy, ledger: Ledger
) -> None:
    done = run_deploy("history", "--csv")
    assert (done.returncode, done.stderr) == (0, "")
    heads, *rows = list(csv.reader(io.StringIO(done.stdout, newline="")))
    assert len(heads) == len(FIGURES)
    for unit in ("decode_tps", "decode_low_tps", "ttft_s", "vram_bytes", "context_tokens"):
        assert unit in heads
    assert [row[0] for row in rows] == ["4", "3", "2", "1"]
    first = dict(zip(heads, rows[0], strict=True))
    assert (first["model"], first["key"]) == (f"'{FORMULA}", "'-another")
    assert (first["noisy"], first["vram_bytes"], first["standing"]) == ("false", "", "out")
    figures = ledger.figures()[0]
    assert float(first["decode_tps"]) == figures["decode_tps"]


def test_csv_lines_end_as_rfc_4180_has_it(home: Home) -> None:
    Ledger(home.ledger).record_bench(document(model='a "quoted", name'))
    text = as_csv(Ledger(home.ledger).figures())
    assert text.count("\r\n") == text.count("\n") == 2
    assert '"a ""quoted"", name"' in text


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (("--csv", "--json"), "--csv and --json exclude each other", "history --help"),
        (("--csv", "--what", "deployments"), "--what deployments has none", "history --help"),
        (("--run", "1", "--csv"), "it and --csv exclude each other", "history --help"),
        (("--run", "1", "--since", "7d"), "it and --since exclude each other", "history --help"),
        (("--run", "9"), "there is no bench run 9: there are 1 to 4", "history --what bench"),
        (("--run", f"{10**20}"), f"there is no bench run {10**20}: there are 1", "--what bench"),
        (("--since", "moon"), "--since: 'moon' is neither", "7d or 12h"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_meant_is_exit_2_with_the_value_and_a_hint(
    run_deploy: RunDeploy, arguments: tuple[str, ...], said: str, hint: str
) -> None:
    done = run_deploy("history", *arguments)
    assert done.returncode == 2
    error, remedy = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert hint in remedy


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("20261101", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T03:04:05Z", datetime(2026, 11, 1, 3, 4, 5, tzinfo=UTC)),
        ("2026-11-01T00:30+02:00", datetime(2026, 10, 31, 22, 30, tzinfo=UTC)),
        ("7d", NOW - timedelta(days=7)),
        ("12h", NOW - timedelta(hours=12)),
        ("1d12h", NOW - timedelta(hours=36)),
    ],
)
def test_since_is_a_date_in_utc_or_a_time_ago(text: str, at: datetime) -> None:
    assert since_of(text, NOW) == at


@pytest.mark.parametrize(
    "text", ["", "moon", "90", "2026", "2026-13-01", "0d", "999999999d", "9999-12-31T23:59-23:59"]
)
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        since_of(text, NOW)
    assert repr(text) in caught.value.what


def test_an_empty_ledger_is_an_empty_answer(run_deploy: RunDeploy, home: Home) -> None:
    assert "nothing" in run_deploy("history").stdout
    assert run_deploy("history", "--csv").stdout.count("\n") == 1
    found = json.loads(run_deploy("history", "--json").stdout)
    assert found == {"schema": 1, "deployments": [], "bench_runs": []}
    unknown = run_deploy("history", "--run", "1")
    assert "there is no bench run 1: none was recorded yet" in unknown.stderr
    assert not home.ledger.exists()


def test_the_runs_of_an_older_deploy_are_listed_shown_and_exported(
    run_deploy: RunDeploy, home: Home
) -> None:
    home.ledger.parent.mkdir(parents=True)
    older_ledger(home.ledger, version=2)
    for arguments in ("--what", "bench"), ("--run", "1"), ("--csv",), ("--what", "bench", "--json"):
        done = run_deploy("history", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "deepseek-r1:7b" in done.stdout
