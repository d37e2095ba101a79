"""What other clients of the server do to a measurement, with real clients of a real server."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest

from orchestrator.bench.company import disturbance
from orchestrator.bench.sampler import MemoryPeak
from orchestrator.bench.verdict import Tolerances
from orchestrator.errors import RunnerDied
from orchestrator.estimate import estimate
from orchestrator.fit import target_of
from orchestrator.home import Home
from orchestrator.measure import candidate_of
from orchestrator.placement import Load, everywhere
from orchestrator.proof import Proof, Subject, prove
from orchestrator.server import Server
from tests.loop.heard import Heard
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel
from tests.shapes import box, run_of

OURS, THEIRS = "qwen2.5:0.5b", "qwen3:0.6b"
OPTIONS = {"num_ctx": 2048, "num_thread": 1}  # two that wait for each other crawl on a busy box
_LISTED_S = 1.3  # processes are listed once a second


class Meddling(Heard):
    """A progress at whose first sample another client does something, in mid measurement."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._act = act

    def tick(self, text: str) -> None:
        first = not any("samples" in line for line in self.lines)
        super().tick(text)
        if "samples" in text and first:
            self._act()


@pytest.fixture
def subject(server: RealServer, tiny_models: dict[str, TinyModel]) -> Subject:
    tiny.create(server, tiny_models[THEIRS])
    name = tiny.create(server, tiny_models[OURS])
    shown = Server(server.url).show(name)
    assert shown
    bare = box(24, version="0.9.3")
    machine = replace(bare, server=replace(bare.server, pid=server.pid))
    candidate = candidate_of(name, shown)
    load = Load(
        shape=shown.architecture,
        weights=shown.weights,
        run=run_of("0.9.3", context=2048),
        device="cpu",
    )
    found = estimate(
        target_of(candidate, "0.9.3"), load, everywhere(load, layers=0), machine=machine
    )
    return Subject(
        name=name,
        blob=shown.blob,
        digest=None,
        options=OPTIONS,
        estimate=found,
        machine=machine,
        min_tps=0.0,
        tolerances=Tolerances(),
        keep_alive="10m",
        budget_s=1,
    )


def _prove(server: RealServer, subject: Subject, act: Callable[[], object]) -> Proof:
    home = Home.of({"DEPLOY_HOME": str(server.models.parent / "deploy")})
    return prove(Server(server.url), subject, Meddling(act), home)


def _said(proof: Proof) -> list[str]:
    return [c.detail for c in proof.verdict.checks if c.outcome == "inconclusive"]


def test_who_was_there_before_and_what_we_load_ourselves_disturbs_nothing(
    server: RealServer, subject: Subject
) -> None:
    client = server.client()
    client.generate(THEIRS, "", options=OPTIONS, keep_alive=-1)
    client.generate(OURS, "", options={"num_ctx": 512}, keep_alive=-1)  # to be loaded anew, by us
    before = {p.pid for p in psutil.Process(server.pid).children()}

    proof = _prove(server, subject, lambda: None)

    assert _said(proof) == []
    peak = proof.result.memory
    assert peak
    assert (peak.strangers, peak.replaced, len(peak.pids)) == ((), False, 1)
    assert not before & set(peak.pids)


def test_a_model_that_came_and_went_meanwhile_is_named(
    server: RealServer, subject: Subject
) -> None:
    other = Server(server.url)

    def visit() -> None:
        other.load(THEIRS, options=OPTIONS)
        threading.Event().wait(_LISTED_S)
        other.unload(THEIRS)

    proof = _prove(server, subject, visit)

    assert {m.name for m in other.loaded()} == {OURS}
    assert proof.verdict.outcome == "inconclusive"
    assert _said(proof) == [f"{THEIRS} was loaded meanwhile"]


def test_a_model_that_stays_is_named_once_by_the_name_it_was_loaded_under(
    server: RealServer, subject: Subject
) -> None:
    other = Server(server.url)
    other.copy(THEIRS, "their/own-name:latest")

    proof = _prove(server, subject, lambda: other.load("their/own-name", options=OPTIONS))

    assert _said(proof) == ["their/own-name:latest was loaded meanwhile"]


def test_a_model_that_stays_is_seen_where_no_process_is(
    server: RealServer, subject: Subject
) -> None:
    machine = subject.machine
    far = replace(subject, machine=replace(machine, server=replace(machine.server, pid=None)))

    proof = _prove(server, far, lambda: Server(server.url).load(THEIRS, options=OPTIONS))

    assert _said(proof) == [f"{THEIRS} was loaded meanwhile"]


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda s: s.load(OURS, options={"num_ctx": 512}), id="with-other-options"),
        pytest.param(lambda s: s.unload(OURS), id="pushed-out-of-memory"),
    ],
)
def test_our_own_model_loaded_anew_is_noticed(
    server: RealServer, subject: Subject, act: Callable[[Server], object]
) -> None:
    proof = _prove(server, subject, lambda: act(Server(server.url)))

    assert proof.verdict.outcome == "inconclusive"
    [said] = _said(proof)
    assert said.startswith("the model itself was loaded anew")


def test_a_runner_that_dies_in_mid_answer_ends_the_measurement(
    server: RealServer, subject: Subject
) -> None:
    longer = replace(subject, budget_s=6)  # requests of a second, so that one is surely under way

    with _killing(server) as kill, pytest.raises(RunnerDied, match=f"the runner of {OURS} died"):
        _prove(server, longer, kill)


@contextmanager
def _killing(server: RealServer) -> Iterator[Callable[[], None]]:
    """Yield what kills the one runner a moment later, when it answers."""

    def kill() -> None:
        [runner] = psutil.Process(server.pid).children()
        os.kill(runner.pid, signal.SIGKILL)

    later = threading.Timer(0.3, kill)
    yield later.start
    later.join()


def test_what_nobody_can_name_any_more_is_named_by_its_digest(server: RealServer) -> None:
    peak = MemoryPeak(
        resident_bytes=None,
        resident_how="",
        pss_bytes=None,
        devices=(),
        devices_how="",
        pids=(),
        strangers=("sha256-0123456789abcdef0123",),
    )

    said = disturbance(Server(server.url), peak, ())

    assert said == "sha256:0123456789ab was loaded meanwhile"
