"""The measurement on a real server, and on a scripted one for what a real one does rarely."""

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import psutil
import pytest

from orchestrator.bench.calibration import WORDS, Calibration
from orchestrator.bench.measurement import Measurement
from orchestrator.bench.noise import CpuReading, ForeignCpu
from orchestrator.bench.pilot import prepare
from orchestrator.bench.progress import Heartbeat, Progress
from orchestrator.bench.request import Stopwatch, Target
from orchestrator.bench.run import measure
from orchestrator.bench.sample import grade
from orchestrator.bench.sampler import RunnerMemory
from orchestrator.bench.workload import Cell, Prompts, Workload
from orchestrator.errors import InvalidInput, ServerUnreachable
from orchestrator.server import Done, Piece, Server
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

OPTIONS = {"num_ctx": 2048}
_EXACT = Calibration(words=WORDS[:32], bos_tokens=0, tokens_per_word=1, exact=True)


def _plan(**changes: Any) -> Workload:
    base: dict[str, Any] = {
        "prompt_tokens": 64,
        "generate_tokens": 20,
        "samples": 3,
        "calibration": _EXACT,
    }
    return Workload(**base | changes)


# --- a real server ---------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["qwen2.5:0.5b", "deepseek-r1:1.5b"])
def test_a_model_is_measured(
    server: RealServer, tiny_models: dict[str, TinyModel], tag: str
) -> None:
    ours, name = Server(server.url), tiny.create(server, tiny_models[tag])
    ours.load(name, options=OPTIONS)
    with RunnerMemory(server.pid, model_file=tiny_models[tag].digest.replace(":", "-")) as memory:
        plan = prepare(ours, name, options=OPTIONS, budget_s=6, rng=random.Random(1))
        (runner,) = psutil.Process(server.pid).children()
        result = measure(ours, name, options=OPTIONS, plan=plan, noise=ForeignCpu(server.pid))

    assert plan.calibration.exact
    assert plan.calibration.bos_tokens == (1 if tag.startswith("deepseek") else 0)
    assert plan.calibration.probes == 2
    assert result.stopped == "complete" or result.rejected["cached"]  # a bad spell may reject one
    assert result.rejected["short"] == result.rejected["miscounted"] == 0
    assert {s.prompt_tokens for s in result.samples} == {plan.prompt_tokens}
    assert {s.tokens for s in result.samples} == {plan.generate_tokens}
    assert psutil.Process(server.pid).children() == [runner]  # nothing was loaded anew
    assert memory.peak().pids == (runner.pid,)
    for metric in result.metrics().values():
        assert metric is not None
        assert metric.median > 0


def test_a_prompt_sent_twice_is_found_in_the_cache_and_rejected(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    name = tiny.create(server, tiny_models["deepseek-r1:1.5b"])
    target = Target(server=Server(server.url), model=name, options=OPTIONS)
    watch = Stopwatch(target=target, clock=time.perf_counter, started=time.perf_counter(), seed=1)
    calibration = Calibration(words=WORDS[:32], bos_tokens=1, tokens_per_word=1, exact=True)
    prompts = Prompts(calibration, 3)
    texts = [prompts.draw(250) for _ in range(3)]

    taken = [watch.time(t, tokens=4, prompt_tokens=250) for t in (*texts, texts[-1], texts[-1])]
    samples = [s for s in taken if s is not None]

    assert {s.prompt_tokens for s in samples} == {250}  # the count gives no hint of it
    graded = grade(samples, exact=True, num_ctx=2048)
    assert [s.outcome for s in graded] == ["ok", "ok", "ok", "cached", "cached"]


def test_answers_that_end_early_are_tried_again_and_then_counted(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    name = tiny.create(server, tiny_models["qwen2.5:0.5b"])
    options = {**OPTIONS, "stop": [" "]}  # every word begins with one

    result = measure(Server(server.url), name, options=options, plan=_plan(samples=2, warmups=0))

    assert result.stopped == "rejected"
    assert [s.outcome for s in result.samples] == ["retried", "retried", "short"] * 2
    assert result.rejected == {"cached": 0, "short": 2, "miscounted": 0}
    assert result.metrics() == {"decode_tps": None, "prefill_tps": None, "ttft_s": None}
    assert len({s.prompt for s in result.samples}) == 6


def test_a_wrong_calibration_is_caught_by_the_counts(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    name = tiny.create(server, tiny_models["deepseek-r1:1.5b"])  # has a BOS, _EXACT says none

    result = measure(
        Server(server.url), name, options=OPTIONS, plan=_plan(samples=1, prompt_tokens=16)
    )

    assert result.rejected["miscounted"] == 1
    assert result.stopped == "rejected"


def test_the_deadline_ends_it_with_what_there_is(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    name = tiny.create(server, tiny_models["qwen2.5:0.5b"])
    ours = Server(server.url)
    ours.load(name, options=OPTIONS)
    plan = _plan(samples=100_000, prompt_tokens=16)
    deadline = time.perf_counter() + 8

    result = measure(ours, name, options=OPTIONS, plan=plan, deadline=deadline)

    assert result.stopped == "deadline"
    assert time.perf_counter() < deadline + 3
    assert result.samples


# --- a scripted server -----------------------------------------------------------------------


@dataclass
class Scripted:
    """Answers in the shape of Server.stream; each answer takes `wait_s` of a real clock."""

    answers: list[list[str]] = field(default_factory=list)
    wait_s: float = 0.0
    thinking: bool = False
    ends: bool = True
    seen: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    fails: Exception | None = None

    def stream(
        self, _model: str, prompt: str, *, options: Mapping[str, object], **_: object
    ) -> Iterator[Piece]:
        self.seen.append((prompt, options))
        time.sleep(self.wait_s)
        if self.fails is not None:
            raise self.fails
        n = int(str(options["num_predict"]))
        yield Piece(at_s=time.perf_counter(), text="", thinking="", done=None)
        time.sleep(0.02)
        for _token in range(n):
            word = (
                {"text": "", "thinking": " a"} if self.thinking else {"text": " a", "thinking": ""}
            )
            yield Piece(at_s=time.perf_counter(), done=None, **word)
        if self.ends:
            done = Done(
                reason="length",
                prompt_eval_count=len(prompt.split()),
                prompt_eval_s=0.01,
                eval_count=n,
                eval_s=0.1,
                load_s=0.0,
                total_s=0.2,
            )
            yield Piece(at_s=time.perf_counter(), text="", thinking="", done=done)


def _measure(scripted: Scripted, **arguments: Any) -> Measurement:
    given: dict[str, Any] = {"options": OPTIONS, "plan": _plan(), "rng": random.Random(1)}
    return measure(cast("Server", scripted), "m", **given | arguments)


def test_every_request_carries_the_same_options_and_another_prompt() -> None:
    scripted = Scripted()

    result = _measure(scripted, options={"num_ctx": 512, "num_thread": 3})

    assert len(scripted.seen) == 4
    assert {str(sorted(o.items())) for _, o in scripted.seen} == {
        str(sorted({"num_ctx": 512, "num_thread": 3, "temperature": 0, "num_predict": 20,
                    "seed": result.seed}.items()))
    }  # fmt: skip
    assert len({p.split()[0] for p, _ in scripted.seen}) == 4


def test_the_stored_seed_gives_the_prompts_again() -> None:
    scripted = Scripted()

    result = _measure(scripted)

    prompts = Prompts(_EXACT, result.seed)
    assert [p for p, _ in scripted.seen] == [prompts.draw(64) for _ in range(4)]


def test_two_measurements_do_not_share_prompts() -> None:
    scripted = Scripted()

    _measure(scripted, rng=None)
    _measure(scripted, rng=None)

    assert len({p for p, _ in scripted.seen}) == 8


@pytest.mark.parametrize("thinking", [True, False])
def test_the_first_token_is_the_first_chunk_with_something_in_it(thinking: bool) -> None:
    result = _measure(Scripted(thinking=thinking))

    for s in result.samples:
        assert s.ttft_s is not None
        assert s.ttft_s >= 0.02  # the empty chunk before it is none
        assert s.chunks == 20


def test_a_stream_without_an_end_is_no_result() -> None:
    result = _measure(Scripted(ends=False))

    assert result.rejected["short"] == 3
    assert {s.reason for s in result.samples} == {""}
    assert result.metrics()["decode_tps"] is None


def test_a_silent_prefill_is_reported() -> None:
    beats: list[Progress] = []
    with Heartbeat(beats.append, time.perf_counter, every_s=0.02) as beat:
        beat.at("samples", 1, 3, 0.5)
        time.sleep(0.2)
    quiet = len(beats)
    time.sleep(0.1)

    assert quiet > 4
    assert len(beats) == quiet
    left = [b.remaining_s for b in beats if b.remaining_s is not None]
    assert left[0] == pytest.approx(1.0, abs=0.05)
    assert left[-1] < left[0] - 0.1


def test_a_step_is_reported_at_once() -> None:
    beats: list[Progress] = []
    with Heartbeat(beats.append, time.perf_counter, every_s=60) as beat:
        beat.at("samples", 0, 3)
        assert [b.stage for b in beats] == ["samples"]


def test_a_deadline_within_the_first_request_gives_an_empty_result() -> None:
    failing = Scripted(wait_s=0.3, fails=ServerUnreachable("timed out"))

    result = _measure(failing, deadline=time.perf_counter() + 0.1)

    assert (result.stopped, result.samples) == ("deadline", ())


def test_a_server_that_fails_before_the_deadline_is_a_failure() -> None:
    with pytest.raises(ServerUnreachable, match="lost"):
        _measure(Scripted(fails=ServerUnreachable("lost")), deadline=time.perf_counter() + 60)


def test_no_request_is_begun_that_cannot_end_in_time() -> None:
    scripted = Scripted(wait_s=0.2)

    result = _measure(scripted, plan=_plan(samples=50), deadline=time.perf_counter() + 1.0)

    assert result.stopped == "deadline"
    assert len(scripted.seen) == len(result.samples)


def test_without_a_context_nothing_is_measured() -> None:
    with pytest.raises(InvalidInput, match="num_ctx"):
        _measure(Scripted(), options={})
    with pytest.raises(InvalidInput, match="context of 80"):
        _measure(Scripted(), options={"num_ctx": 80})


def test_prepare_learns_rates_from_its_probes() -> None:
    plan = prepare(cast("Server", Scripted()), "m", options=OPTIONS, rng=random.Random(1))

    assert plan.calibration.exact
    assert (plan.prompt_tokens, plan.generate_tokens, plan.samples) == (512, 128, 5)


@pytest.mark.parametrize(
    ("foreign", "noisy", "used"),
    [
        pytest.param([0.0, 0.0, 0.0, 0.0, 0.5], False, 4, id="one-in-five-is-left-out"),
        pytest.param([0.0, 0.0, 0.0, 0.5, 0.5], False, 3, id="sixty-percent-quiet-is-enough"),
        pytest.param([0.0, 0.0, 0.5, 0.5, 0.5], True, 5, id="below-it-all-are-used-and-marked"),
    ],
)
def test_quiet_samples_are_used_where_there_are_enough(
    foreign: list[float], noisy: bool, used: int
) -> None:
    result = _measure(Scripted(), plan=_plan(samples=5, warmups=0))
    marked = [replace(s, foreign_cpu=f) for s, f in zip(result.samples, foreign, strict=True)]
    found = replace(result, samples=tuple(marked))

    assert found.noisy is noisy
    decode = found.metrics()["decode_tps"]
    assert decode is not None
    assert decode.n == used


def _cell(prompt_tokens: int, samples: int = 3, request_s: float = 0.0) -> Cell:
    return Cell(
        prompt_tokens=prompt_tokens, generate_tokens=20, samples=samples, request_s=request_s
    )


def _shapes(result: Measurement, round_: int) -> list[int]:
    return [s.want_prompt_tokens for s in result.samples if s.round == round_]


def test_every_round_takes_each_shape_once_and_in_another_order() -> None:
    plan = _plan(samples=12, beside=(_cell(16, 12), _cell(128, 12)))

    result = _measure(Scripted(), plan=plan)

    orders = [_shapes(result, round_) for round_ in range(-1, 12)]
    assert all(sorted(order) == [16, 64, 128] for order in orders)
    assert len({tuple(order) for order in orders}) > 2
    assert [c["prompt_tokens"] for c in result.cells()] == [16, 64, 128]
    assert [c["decode_tps"]["n"] for c in result.cells()] == [12, 12, 12]


def test_the_main_figures_are_those_of_the_main_shape() -> None:
    result = _measure(Scripted(), plan=_plan(beside=(_cell(16), _cell(128))))

    prefill = result.metrics()["prefill_tps"]
    assert prefill is not None
    assert (prefill.n, prefill.median) == (3, 6400)


def test_a_shape_beside_is_left_where_the_time_does_not_allow_it_and_the_main_one_goes_on() -> None:
    plan = _plan(samples=5, beside=(_cell(128, 5, request_s=60),))

    result = _measure(Scripted(), plan=plan, deadline=time.perf_counter() + 20)

    assert result.stopped == "complete"
    assert {s.want_prompt_tokens for s in result.samples} == {64}
    assert result.cells()[1]["decode_tps"] is None


def test_rounds_added_for_noise_take_the_main_shape_alone() -> None:
    plan = _plan(samples=2, reruns=3, beside=(_cell(16, 2),))
    noisy = Noisy()

    result = _measure(Scripted(), plan=plan, noise=noisy)

    assert _shapes(result, 0) != _shapes(result, 2) == _shapes(result, 4) == [64]
    assert result.noisy
    assert result.stopped == "complete"


class Noisy(ForeignCpu):
    """A box that somebody else keeps busy."""

    def __init__(self) -> None:
        super().__init__(None)
        self._reads = 0

    def read(self) -> CpuReading:
        self._reads += 1
        at = float(self._reads)
        return CpuReading(
            at_s=at, total_s=2 * at, busy_s=2 * at, steal_s=0.0, own_s=0.0, server_s=0.5 * at
        )


def test_the_context_is_filled_after_the_samples_and_counts_in_no_figure() -> None:
    fill = Cell(prompt_tokens=1800, generate_tokens=16, samples=1)

    result = _measure(Scripted(), plan=_plan(fill=fill))

    assert result.fill is not None
    assert (result.fill.prompt_tokens, result.filled_tokens) == (1800, 1816)
    assert result.longest_prompt_tokens == 1800
    assert {s.want_prompt_tokens for s in result.samples} == {64}
    assert result.plan.left_out == ()


def test_a_filling_that_takes_too_long_by_what_was_seen_is_named() -> None:
    fill = Cell(prompt_tokens=1_800, generate_tokens=16, samples=1)  # 6,400 tokens/s were seen

    result = _measure(Scripted(), plan=_plan(fill=fill, fill_limit_s=0.5))

    assert result.fill is None
    assert result.filled_tokens == 64 + 20
    assert result.plan.left_out == ("filling the context: about 562 ms, too much of the time",)
    assert _measure(Scripted(), plan=_plan(fill=fill, fill_limit_s=0.6)).fill is not None


def test_the_time_left_counts_all_that_is_still_to_come() -> None:
    beats: list[Progress] = []
    plan = _plan(samples=2, request_s=1.0, beside=(_cell(16, 2, request_s=3.0),))

    _measure(Scripted(), plan=plan, report=beats.append)

    first = next(b for b in beats if b.stage == "warm-up")
    assert first.remaining_s is not None
    assert 7.9 < first.remaining_s <= 8.0
    assert [b.total for b in beats if b.stage == "samples"][-1] == 4
