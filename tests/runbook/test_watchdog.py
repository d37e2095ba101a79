"""The watchdog on a real server: silent where all is well, and what it puts right where not."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.runtime.binary import Binary
from orchestrator.runtime.record import ours
from tests.real.server import free_port
from tests.real.tiny import TinyCatalog, TinyModel
from tests.runbook.box import ALIAS, CONTEXT, MODEL, TAG, Box, last_line, profile, wait_for
from tests.runbook.standalone import OwnServer

pytestmark = pytest.mark.timeout(300)


def test_a_healthy_box_is_quiet_and_nothing_is_written_into_the_ledger(box: Box) -> None:
    before, asked = box.rows(), box.server.log_text().count("/v1/chat/completions")
    started = time.perf_counter()
    found = box.runbook("watchdog")
    wall_s = time.perf_counter() - started
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    assert box.rows() == before
    told = [e for e in box.events() if e["pid"] == box.events()[-1]["pid"]]
    assert [e["event"] for e in told] == [
        "runbook.begin", "probe.begin", "probe.done", "token.begin", "token.done", "runbook.done",
    ]  # fmt: skip
    assert told[-1]["did"] == []
    assert box.server.log_text().count("/v1/chat/completions") == asked + 1
    assert wall_s < 10  # 1.5 s on an idle box: scripts/perf.py


def _unload(box: Box) -> None:
    box.server.client().generate(model=MODEL, prompt="", keep_alive=0)
    wait_for("unload", lambda: box.loaded() is None, 10)


def _other_context(box: Box) -> None:
    box.server.client().generate(model=ALIAS, prompt="", options={"num_ctx": 1024}, keep_alive=-1)


def _soon_gone(box: Box) -> None:
    box.server.client().generate(model=ALIAS, prompt="", keep_alive="1m")


def _elsewhere(box: Box) -> None:
    box.server.client().copy(TAG, ALIAS)
    assert box.digests()[ALIAS] != box.digests()[MODEL]


def _torn(box: Box) -> None:
    library = box.server.models / "manifests" / "registry.ollama.ai" / "library"
    (library / "deploy-current" / "latest").write_bytes(b"")


def _derived_gone(box: Box) -> None:
    box.server.client().delete(MODEL)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param(_unload, "loaded again", id="unloaded"),
        pytest.param(_other_context, "loaded again", id="a client sent its own num_ctx"),
        pytest.param(_soon_gone, "loaded again", id="a client sent keep_alive 1m"),
        pytest.param(_elsewhere, "named another model", id="the alias names another model"),
        pytest.param(_torn, "was lost or torn", id="the alias is torn"),
        pytest.param(_derived_gone, "was lost or torn", id="the derived model is deleted"),
    ],
)
def test_what_is_amiss_is_put_right_in_silence(
    box: Box, harm: Callable[[Box], None], said: str
) -> None:
    before = box.rows()
    harm(box)
    found = box.runbook("watchdog")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    done = box.events()[-1]
    assert done["event"] == "runbook.done"
    assert any(said in did for did in done["did"])
    here = box.digests()
    assert here[ALIAS] == here[MODEL]
    loaded = box.loaded()
    assert loaded
    assert loaded["expires_at"] > "2100"
    assert f"--ctx-size {CONTEXT} " in box.server.log_text().rpartition("starting runner")[2]
    assert box.rows() == before
    again = box.runbook("watchdog")
    assert (again.returncode, again.stderr) == (0, "")
    assert box.events()[-1]["did"] == []


def test_neither_name_left_is_a_broken_promise(box: Box) -> None:
    box.server.client().copy(TAG, ALIAS)
    box.server.client().delete(MODEL)
    try:
        found = box.runbook("watchdog")
    finally:
        put_back = box.deploy("auto", TAG, "--profile", box.profile)
    assert found.returncode == 7
    assert "hint" not in found.stderr
    assert "deploy again with `deploy auto`" in last_line(found.stderr)
    assert put_back.returncode == 0, put_back.stderr


def test_a_server_of_somebody_else_that_is_down_is_not_started(box: Box) -> None:
    box.server.stop()
    try:
        found = box.runbook("watchdog")
        assert found.returncode == 4
        line = last_line(found.stderr)
        assert line.startswith("deploy runbook watchdog: exit 4: the server at http://127.0.0.1:")
        assert "is down, and deploy did not start it" in line
        assert line.endswith(f"log: {box.home.state / 'runbooks.jsonl'})")
    finally:
        box.server.start()


def test_a_server_of_ours_that_was_killed_is_started_again_with_its_store_and_settings(
    runtime_binary: Binary,
    tiny_models: dict[str, TinyModel],
    tiny_catalog: TinyCatalog,
    tmp_path: Path,
) -> None:
    written = profile(tiny_catalog, tmp_path / "tiny.toml")
    with OwnServer(runtime_binary, tmp_path, written) as own:
        own.deploy(tiny_models[TAG])
        first = ours(own.box.home, own.url)
        assert first
        os.killpg(first.pgid, signal.SIGKILL)
        # Cron knows nothing of the store that the server was started with.
        found = own.box.runbook("watchdog")
        assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
        second = ours(own.box.home, own.url)
        assert second
        assert second.pid != first.pid
        assert second.models_path == first.models_path == own.store
        assert second.settings["OLLAMA_NUM_PARALLEL"] == "2"
        assert second.settings["OLLAMA_KEEP_ALIVE"] == "7m"
        did = own.box.events()[-1]["did"]
        assert did[0] == f"the server at {own.url} was down: started again"
        assert "loaded again" in did[1]
        own.box.runbook("watchdog")
        assert own.box.events()[-1]["did"] == []

        # A start that fails once is tried again by the next run: the server is still ours.
        os.killpg(second.pgid, signal.SIGKILL)
        store, away = Path(own.store), Path(own.store).with_name("away")
        store.rename(away)
        store.write_text("no folder")
        failed = own.box.runbook("watchdog")
        assert failed.returncode == 4
        assert "the server ended while starting" in last_line(failed.stderr)
        store.unlink()
        away.rename(store)
        mended = own.box.runbook("watchdog")
        assert (mended.returncode, mended.stderr) == (0, "")


def test_nothing_deployed_is_a_usage_error(box: Box, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(f'{box.profile.read_text()}alias = "deploy-other"\n')
    found = box.deploy("runbook", "run", "watchdog", "--profile", other)
    assert found.returncode == 2
    assert "nothing is deployed as deploy-other" in last_line(found.stderr)
    nobody = {"OLLAMA_HOST": f"127.0.0.1:{free_port()}"}
    found = box.runbook("watchdog", env=nobody)
    assert found.returncode == 2
    assert "(deploy one with `deploy auto`; log: " in last_line(found.stderr)
