"""Load a deployed model, measure it, and hold what was promised against what was found."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator import log
from orchestrator.bench.company import disturbance, others
from orchestrator.bench.noise import ForeignCpu
from orchestrator.bench.progress import Progress as Heard
from orchestrator.bench.result import BenchResult
from orchestrator.bench.run import Measurement, measure, prepare
from orchestrator.bench.sampler import MemoryPeak, RunnerMemory
from orchestrator.bench.verdict import Measured, Promise, Tolerances, Verdict, judge
from orchestrator.bench.workload import EFFORTS
from orchestrator.estimate import Estimate, estimate
from orchestrator.machine import Machine
from orchestrator.progress import Progress
from orchestrator.server import LoadTiming, Server
from orchestrator.server.shown import Claim
from orchestrator.units import duration

# A busy box slows down, it must not hold the loop for ever: times the budget, but room for a few
# requests at the rate that was seen, so that there is a sample at all.
_PATIENCE, _PATIENCE_REQUESTS, _PATIENCE_S = 2.5, 6, (90.0, 900.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is to be measured: a model on the server, its estimate, and the terms it must meet."""

    name: str
    blob: str | None
    digest: str | None
    options: Mapping[str, object]
    estimate: Estimate
    machine: Machine
    min_tps: float
    tolerances: Tolerances
    keep_alive: float | str
    budget_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """The measurement and its verdict; `estimate` counts the prompt that was really sent."""

    result: BenchResult
    verdict: Verdict
    estimate: Estimate


def prove(
    server: Server, subject: Subject, progress: Progress, *, effort: str = "validate"
) -> Proof:
    """Load `subject` cold, measure decode, prefill, TTFT and peak memory, and judge.

    Raises OutOfMemory, ServerRefused, ServerUnreachable: it could not be loaded or answered;
    RunnerKilled, RunnerDied: the process that holds it ended while it loaded or answered.
    """
    started_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = subject.name
    _unload_all(server, subject)
    before = others(server, name)
    pid = subject.machine.server.pid
    with RunnerMemory(pid, model_file=subject.blob and subject.blob.replace(":", "-")) as memory:
        with log.stage("load", model=name), progress.waiting(f"loading {name}"):
            load = server.load(name, options=subject.options, keep_alive=subject.keep_alive)
        memory.loaded()
        claim = server.claim(name)
        with log.stage("measure", model=name):
            measurement = _measure(server, subject, progress, effort)
    peak = memory.peak()
    disturbed = disturbance(server, peak, others(server, name) - before)
    promised = _with_prompt(subject, measurement)
    found = _Found(measurement, peak, claim, load, disturbed)
    verdict = _judged(subject, promised, found)
    result = _result(subject, promised, found, verdict, started_at)
    return Proof(result=result, verdict=verdict, estimate=promised)


@dataclass(frozen=True, slots=True)
class _Found:
    measurement: Measurement
    peak: MemoryPeak
    claim: Claim | None
    load: LoadTiming
    disturbed: str | None


def _unload_all(server: Server, subject: Subject) -> None:
    """Take every name of these weights out of memory: a warm runner answers for all of them."""
    for model in server.loaded():
        same = subject.blob is not None and server.weights(model.name) == subject.blob
        if model.name == subject.name or same:
            server.unload(model.name)


def _measure(server: Server, subject: Subject, progress: Progress, effort: str) -> Measurement:
    def report(at: Heard) -> None:
        left = "" if at.remaining_s is None else f", about {duration(at.remaining_s)} left"
        step = f" {at.done + 1} of {at.total}" if at.total else ""
        progress.tick(f"measuring {subject.name}: {at.stage}{step}{left}")

    options = subject.options
    budget_s = subject.budget_s or EFFORTS[effort].budget_s
    workload = prepare(
        server,
        subject.name,
        options=options,
        effort=EFFORTS[effort],
        budget_s=budget_s,
        report=report,
    )
    least_s, most_s = _PATIENCE_S
    wanted_s = max(_PATIENCE * budget_s, _PATIENCE_REQUESTS * workload.request_s, least_s)
    return measure(
        server,
        subject.name,
        options=options,
        plan=workload,
        report=report,
        noise=ForeignCpu(subject.machine.server.pid),
        deadline=time.perf_counter() + min(wanted_s, most_s),
    )


def _with_prompt(subject: Subject, measurement: Measurement) -> Estimate:
    """Return the estimate again, with the pages that the longest prompt sent has touched."""
    counts = [s.prompt_tokens or 0 for s in measurement.samples]
    longest = max([measurement.plan.prompt_tokens, *counts])
    plain = subject.estimate
    return estimate(
        plain.target,
        plain.load,
        plain.placement,
        machine=subject.machine,
        prompt_tokens=longest,
        requested=plain.requested,
    )


def _judged(subject: Subject, promised: Estimate, found: _Found) -> Verdict:
    decode = found.measurement.metrics()["decode_tps"]
    promise = Promise(
        resident_bytes=promised.resident_bytes,
        devices=tuple((d.index, d.bytes) for d in promised.devices),
        placement=promised.placement.kind,
        decode_tps=promised.speed.decode_tps[1] if promised.speed else None,
        min_tps=subject.min_tps,
    )
    measured = Measured(
        resident_bytes=found.peak.resident_bytes,
        resident_how=found.peak.resident_how,
        devices=tuple((d.index, d.bytes, d.how) for d in found.peak.devices),
        devices_how=found.peak.devices_how,
        placement=found.claim.placement if found.claim else None,
        decode_tps=decode.median if decode else None,
        noisy=found.measurement.noisy,
        disturbed=found.disturbed,
    )
    return judge(promise, measured, subject.tolerances)


def _result(
    subject: Subject, promised: Estimate, found: _Found, verdict: Verdict, started_at: str
) -> BenchResult:
    machine, run = subject.machine, promised.load.run
    return BenchResult(
        model=subject.name,
        digest=subject.digest,
        quantization=promised.target.quantization,
        server_version=machine.server.version,
        runtime=machine.server.runtime,
        machine_name=machine.name,
        machine_digest=machine.digest,
        started_at=started_at,
        options=subject.options,
        parallel=run.parallel,
        kv_cache_type=run.kv_cache_type,
        measurement=found.measurement,
        loads_s=(found.load.wall_s,),
        memory=found.peak,
        server_claim_bytes=found.claim.size_bytes if found.claim else None,
        verdict=verdict,
    )
