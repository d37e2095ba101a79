"""`deploy rollback`: back and forth at once, and nothing lost when it cannot be."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.alias import mend
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.lock import only_one
from orchestrator.runtime.runner import runners_of
from orchestrator.server import Server
from orchestrator.store import Store
from tests.conftest import RunDeploy
from tests.loop.answers import answer, chat
from tests.loop.deployed import ALIAS, deploy, digests, in_memory, in_memory_at_last
from tests.real.server import RealServer, bare_environment, free_port
from tests.real.tiny import TinyModel

Two = tuple[dict[str, Any], dict[str, Any]]
_HERE = Path(__file__)


@pytest.fixture
def two(server: RealServer, home: Home, tiny_models: dict[str, TinyModel]) -> Two:
    """The deployment before, and the one that serves."""
    before = deploy(server, home, tiny_models["qwen2.5:0.5b"])
    return before, deploy(server, home, tiny_models["qwen3:0.6b"])


def test_a_rollback_goes_back_and_a_second_one_forward_without_a_download(
    run_deploy: RunDeploy, server: RealServer, home: Home, two: Two
) -> None:
    before, after = two
    ledger, env = Ledger(home.ledger), {"OLLAMA_HOST": server.url}
    pulls = server.log_text().count("/api/pull")
    for wanted, left in ((before, after), (after, before)):
        found = run_deploy("rollback", "--json", env=env)
        assert found.returncode == 0, found.stderr
        document = answer(found, "deployment")
        assert (document["id"], document["state"]) == (wanted["id"], "current")
        assert document["changed"] is True
        assert document["rolled_back_from"]["model"] == left["model"]
        assert document["rolled_back_from"]["tag"] == left["tag"]
        assert digests(server)[ALIAS] == wanted["digest"]
        assert in_memory(server) == {wanted["digest"]}
        current, previous = ledger.current(server.url, ALIAS), ledger.previous(server.url, ALIAS)
        assert current == {**document, "id": wanted["id"]}
        assert previous
        assert previous["id"] == left["id"]
        assert chat(server, "deploy-current") == "deploy-current"
        status = run_deploy("status", "--check", env=env)
        assert status.returncode == 0, status.stdout
        assert f" in place of {left['model']}" in status.stdout
    assert server.log_text().count("/api/pull") == pulls
    history = run_deploy("history", env=env).stdout
    assert "in place of deploy/qwen2.5:0.5b-ctx2048" in history


def test_two_contexts_of_one_model_share_a_runner_that_stays(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    small = deploy(server, home, tiny_models["qwen3:0.6b"], context=1024)
    deploy(server, home, tiny_models["qwen3:0.6b"], context=2048)
    env = {"OLLAMA_HOST": server.url}
    found = run_deploy("rollback", env=env)
    assert found.returncode == 0, found.stderr
    assert in_memory(server) == {small["digest"]}
    status = run_deploy("status", "--check", env=env)
    assert status.returncode == 0, status.stdout


def test_two_deployments_that_are_one_runner_to_the_server_keep_it(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    model = tiny_models["qwen3:0.6b"]
    before = deploy(server, home, model)
    server.client().create("qwen3:0.6b-terse", from_=model.tag, system="Be terse.")
    after = deploy(server, home, replace(model, spec=replace(model.spec, tag="qwen3:0.6b-terse")))
    api = Server(server.url)
    api.unload(before["model"])
    api.load(after["model"], options=after["settings"], keep_alive=-1)
    assert in_memory(server) == {after["digest"]} != {before["digest"]}
    [runner] = runners_of(server.pid)
    found = run_deploy("rollback", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stderr
    assert [r.pid for r in runners_of(server.pid)] == [runner.pid]
    assert digests(server)[ALIAS] == before["digest"]


def test_there_is_nothing_to_go_back_to(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    env = {"OLLAMA_HOST": server.url}
    only = deploy(server, home, tiny_models["qwen2.5:0.5b"])
    found = run_deploy("rollback", env=env)
    assert found.returncode == 2
    assert f"error: no earlier deployment of deploy-current at {server.url}" in found.stderr
    assert "hint: `deploy history`" in found.stderr
    assert digests(server)[ALIAS] == only["digest"]


@pytest.mark.parametrize("fault", ["gone", "another"])
def test_a_lost_model_is_named_and_what_serves_stays(
    run_deploy: RunDeploy, server: RealServer, home: Home, two: Two, fault: str
) -> None:
    before, after = two
    if fault == "gone":
        server.client().delete(before["model"])
    else:
        server.client().copy("qwen3:0.6b", before["model"])
    found = run_deploy("rollback", "--json", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 7
    error = answer(found, "error")["error"]
    assert error["name"] == "PromiseBroken"
    assert before["model"] in error["message"]
    assert error["hint"] == f"`deploy auto {before['tag']}` deploys it again"
    assert digests(server)[ALIAS] == after["digest"]
    current = Ledger(home.ledger).current(server.url, ALIAS)
    assert current
    assert current["id"] == after["id"]


def test_a_model_that_does_not_load_any_more_leaves_the_other_in_memory(
    run_deploy: RunDeploy, server: RealServer, home: Home, two: Two
) -> None:
    before, after = two
    Store(server.models).blob(before["blob"]).write_bytes(b"GGUF torn")
    found = run_deploy("rollback", "--json", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 7
    message = answer(found, "error")["error"]["message"]
    assert f"{before['model']} cannot serve again" in message
    assert f"{after['model']} keeps serving as deploy-current" in message
    assert digests(server)[ALIAS] == after["digest"]
    assert in_memory(server) == {after["digest"]}
    current = Ledger(home.ledger).current(server.url, ALIAS)
    assert current
    assert current["id"] == after["id"]


@contextmanager
def killer(server: RealServer, victim: Any, beside: Any = None) -> Iterator[list[int]]:
    """SIGKILL runners of `victim`, the way the kernel does where there is no room.

    With `beside` only while that one is in memory too.
    """
    killed: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            runners = {r.blob: r.pid for r in runners_of(server.pid)}
            pid = runners.get(victim["blob"])
            if pid and pid not in killed and (beside is None or beside["blob"] in runners):
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def test_what_does_not_fit_beside_the_other_takes_its_place(
    run_deploy: RunDeploy, server: RealServer, two: Two
) -> None:
    before, after = two
    Server(server.url).unload(before["model"])
    with killer(server, before, beside=after) as killed:
        found = run_deploy("rollback", env={"OLLAMA_HOST": server.url})
    assert killed
    assert found.returncode == 0, found.stderr
    assert f"no room beside {after['model']}: it leaves memory before the load" in found.stderr
    assert in_memory(server) == {before["digest"]}
    assert digests(server)[ALIAS] == before["digest"]


def test_what_does_not_fit_even_alone_gives_its_place_back(
    run_deploy: RunDeploy, server: RealServer, home: Home, two: Two
) -> None:
    before, after = two
    Server(server.url).unload(before["model"])
    env = {"OLLAMA_HOST": server.url}
    with killer(server, before) as killed:
        found = run_deploy("rollback", "--json", env=env)
    assert len(killed) == 2
    assert found.returncode == 7
    message = answer(found, "error")["error"]["message"]
    assert f"{after['model']} keeps serving as deploy-current" in message
    assert in_memory(server) == {after["digest"]}
    assert run_deploy("status", "--check", env=env).returncode == 0
    previous = Ledger(home.ledger).previous(server.url, ALIAS)
    assert previous
    assert previous["id"] == before["id"]


def test_clients_that_ask_all_the_time_get_an_answer_every_time(
    run_deploy: RunDeploy, server: RealServer, two: Two
) -> None:
    before, _ = two
    ended = threading.Event()
    said: list[str] = []

    def client() -> None:
        while not ended.is_set():
            try:
                said.append(chat(server, "deploy-current"))
            except OSError as e:
                said.append(str(e))

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    found = run_deploy("rollback", env={"OLLAMA_HOST": server.url})
    ended.set()
    for thread in threads:
        thread.join()
    assert found.returncode == 0, found.stderr
    assert len(said) >= len(threads)
    assert set(said) == {"deploy-current"}
    assert in_memory_at_last(server, {before["digest"]}) == {before["digest"]}


@pytest.mark.parametrize(
    ("where", "moment"),
    [
        ("orchestrator.server.Server.load", "after"),
        ("orchestrator.rollback.move", "after"),
        ("orchestrator.ledger.Ledger.swap", "before"),
        ("orchestrator.ledger.Ledger.swap", "after"),
    ],
)
def test_killed_at_any_instant_it_can_be_mended_or_done_again(
    run_deploy: RunDeploy, server: RealServer, home: Home, two: Two, where: str, moment: str
) -> None:
    before, after = two
    ours = {"OLLAMA_HOST": server.url, "DEPLOY_HOME": str(home.data.parent)}
    killed = subprocess.run(
        [sys.executable, _HERE.with_name("killed_at.py"), where, moment, "1", "rollback"],
        env=bare_environment(server.home) | ours | {"PYTHONPATH": str(_HERE.parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert chat(server, "deploy-current") == "deploy-current"
    current = Ledger(home.ledger).current(server.url, ALIAS)
    assert current
    swapped = (where, moment) == ("orchestrator.ledger.Ledger.swap", "after")
    assert current["id"] == (before if swapped else after)["id"]
    assert mend(Server(server.url), Store(server.models), current) is not None
    assert digests(server)[ALIAS] == current["digest"]
    again = run_deploy("rollback", "--json", env=ours)
    assert again.returncode == 0, again.stderr
    wanted = after if swapped else before
    assert answer(again, "deployment")["id"] == wanted["id"]
    assert digests(server)[ALIAS] == wanted["digest"]


def test_another_run_is_not_disturbed(
    run_deploy: RunDeploy, server: RealServer, home: Home, two: Two
) -> None:
    with only_one(home, {"OLLAMA_HOST": server.url}, "auto"):
        found = run_deploy("rollback", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 75
    assert digests(server)[ALIAS] == two[1]["digest"]


@pytest.mark.parametrize("command", ["rollback", "remove"])
def test_a_server_that_is_gone_is_exit_4(run_deploy: RunDeploy, command: str) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    found = run_deploy(command, "--json", env={"OLLAMA_HOST": nobody})
    assert found.returncode == 4
    assert answer(found, "error")["error"]["name"] == "ServerUnreachable"
