"""The installed line under Debian's own cron daemon: its mail, and the silence without one."""

from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from tests.runbook.box import MODEL, REPOSITORY, Box, last_line, wait_for
from tests.runbook.cron import Cron, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(missing()), reason=missing() or ""),
]
_TICK_S, _BENCH_S = 65, 200
_UNKEPT = "memory_pass = 0\nmemory_warn = 0\n"


def test_cron_mails_one_line_where_the_promise_is_broken_and_nothing_where_it_is_kept(
    box: Box, tmp_path: Path
) -> None:
    terms = box.profile.read_text()
    box.profile.write_text(terms + _UNKEPT)
    mails = _one_tick(box, tmp_path / "broken", "nightly-bench")
    (head, _, body) = mails[0].partition("\n\n")
    assert len(mails) == 1
    assert head.splitlines()[0].endswith(" operator")
    assert "deploy-cron nightly-bench" in head
    line = last_line(body)
    bench = Ledger(box.home.ledger).bench_runs(1)[0]
    check = next(c for c in bench["verdict"]["checks"] if c["outcome"] == "failed")
    assert line.startswith(
        f"deploy runbook nightly-bench: exit 7: bench run {bench['id']} of {MODEL}: "
        f"{check['name']}: {check['detail']} ("
    )
    assert box.rows() == (1, 2)
    failed = box.events()[-1]
    assert (failed["event"], failed["code"], failed["error"]) == (
        "runbook.failed", 7, "PromiseBroken",
    )  # fmt: skip

    box.profile.write_text(terms)
    # The watchdog, since a measurement on a busy box has something to say even then.
    assert _one_tick(box, tmp_path / "kept", "watchdog") == []
    done = box.events()[-1]
    assert (done["event"], done["runbook"], done["code"]) == ("runbook.done", "watchdog", 0)


def _one_tick(box: Box, folder: Path, runbook: str) -> list[str]:
    """Let the daemon start the installed line once; return the mails when it has ended."""
    log = box.home.state / "runbooks.jsonl"
    before = len(box.events()) if log.exists() else 0
    folder.mkdir()
    table = "MAILTO=operator\n" + _line(box, folder / "box.env", runbook)
    with Cron(folder / "cron", table) as cron:
        wait_for("a tick", lambda: log.exists() and len(box.events()) > before, _TICK_S)
        cron.stop()  # the next minute would find the lock held if this one is slow
        wait_for("the end of the job", lambda: not cron.busy(), _BENCH_S)
        return cron.mail()


def _line(box: Box, variables: Path, runbook: str) -> str:
    """The line as docs/runbooks.md has it; what a bare environment lacks comes from the file."""
    wanted = {"DEPLOY_HOME": box.environment["DEPLOY_HOME"], "OLLAMA_HOST": box.server.url}
    variables.write_text("# of this box\n\n" + "".join(f"{k}={v}\n" for k, v in wanted.items()))
    wrapper = REPOSITORY / "scripts" / "deploy-cron"
    return f"* * * * * DEPLOY_CRON_ENV={variables} {wrapper} {runbook} --profile {box.profile}\n"
