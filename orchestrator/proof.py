"""Try a deployed model out, and hold what was promised against what was found."""

from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.bench.buffers import Parts, parts
from orchestrator.bench.effective import Effective, effective
from orchestrator.bench.result import BenchResult
from orchestrator.bench.verdict import Measured, Promise, Verdict, judge
from orchestrator.estimate import Estimate, estimate
from orchestrator.home import Home
from orchestrator.memory import Run
from orchestrator.progress import Progress
from orchestrator.runtime.server_log import ServerLog
from orchestrator.server import Server
from orchestrator.trial import Found, Subject, try_out

__all__ = ["Proof", "Subject", "prove"]
_PADDING = 256  # tokens to which llama.cpp rounds up


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """The measurement and its verdict; `estimate` counts the prompt that was really sent."""

    result: BenchResult
    verdict: Verdict
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the trial found, and what the server's log says of it."""

    found: Found
    parts: Parts | None
    effective: Effective


def prove(server: Server, subject: Subject, progress: Progress, home: Home) -> Proof:
    """Load `subject` cold, measure decode, prefill, TTFT and peak memory, and judge.

    `home` knows where the log of a server of ours lies.
    Raises OutOfMemory, ServerRefused, ServerUnreachable: it could not be loaded or answered;
    RunnerKilled, RunnerDied: the process that holds it ended while it loaded or answered.
    """
    started_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    server_log = ServerLog.of(home, subject.machine.server)
    found = try_out(server, subject, progress)
    text, file = server_log.since_mark(), subject.blob and subject.blob.replace(":", "-")
    engine = parts(text, file) if text else None
    seen = _Seen(found, engine, effective(found.runner, text, file))
    promised = _with_prompt(subject, found)
    verdict = _judged(subject, promised, seen)
    result = _result(subject, promised, seen, verdict, started_at)
    return Proof(result=result, verdict=verdict, estimate=promised)


def _with_prompt(subject: Subject, found: Found) -> Estimate:
    """Return the estimate again, with the pages that the longest prompt sent has touched."""
    plain = subject.estimate
    return estimate(
        plain.target,
        plain.load,
        plain.placement,
        machine=subject.machine,
        prompt_tokens=found.measurement.longest_prompt_tokens,
        requested=plain.requested,
    )


def _judged(subject: Subject, promised: Estimate, seen: _Seen) -> Verdict:
    found, run, engine = seen.found, promised.load.run, seen.parts
    decode = found.measurement.metrics()["decode_tps"]
    told = seen.effective
    promise = Promise(
        resident_bytes=promised.resident_bytes,
        devices=tuple((d.index, d.bytes) for d in promised.devices),
        placement=promised.placement.kind,
        decode_tps=promised.speed.decode_tps[1] if promised.speed else None,
        min_tps=subject.min_tps,
        parts=_promised_parts(promised) if subject.effort != "validate" else (),
        settings=_settings(run.context, run.parallel, run.kv_cache_type),
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
        failed_at=found.failed_at,
        parts=_buffers(engine) if engine else (),
        parts_how=engine.how if engine else "",
        settings=_settings(
            _context(told.context, run),
            told.parallel or run.parallel,
            told.kv_cache_type or run.kv_cache_type,
        ),
    )
    return judge(promise, measured, subject.tolerances)


def _promised_parts(promised: Estimate) -> tuple[tuple[str, int], ...]:
    """Return what the engine's buffers are held against; a deployment is judged by its memory."""
    return (
        ("weights", promised.weights_bytes),
        ("KV cache", promised.kv_cache_bytes),
        ("total", promised.total_bytes - promised.overhead_bytes),
    )


def _context(told: int | None, run: Run) -> int:
    """Return the context in effect; llama.cpp rounds a slot's up, and tells a shared cache's."""
    if told is None or run.context <= told < run.context + _PADDING:
        return run.context
    return run.context if told == run.context_total else told


def _buffers(engine: Parts) -> tuple[tuple[str, int | None], ...]:
    return (
        ("weights", engine.weights_bytes),
        ("KV cache", engine.kv_cache_bytes),
        ("total", engine.total_bytes),
    )


def _settings(context: int, parallel: int, kv_cache_type: str) -> str:
    slots = "slot" if parallel == 1 else "slots"
    return f"{context} tokens x {parallel} {slots}, KV cache {kv_cache_type}"


def _result(
    subject: Subject, promised: Estimate, seen: _Seen, verdict: Verdict, started_at: str
) -> BenchResult:
    found = seen.found
    return BenchResult(
        model=subject.name,
        digest=subject.digest,
        blob=subject.blob,
        machine=subject.machine,
        started_at=started_at,
        took_s=seen.found.took_s,
        effort=subject.effort,
        time_budget_s=subject.time_budget_s,
        options=subject.options,
        promised=promised,
        effective=seen.effective,
        measurement=found.measurement,
        loads=found.loads,
        thinking=found.thinking,
        concurrency=found.sweep.levels,
        left_out=(*found.left_out, *found.sweep.left_out),
        memory=found.peak,
        parts=seen.parts,
        server_claim_bytes=found.claim.size_bytes if found.claim else None,
        verdict=verdict,
    )
