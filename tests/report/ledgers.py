"""Ledgers as a box has them after some months: what a report is tried on."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from orchestrator.ledger import Ledger
from tests.bench.documents import GIB, document, metric

HOST = "http://127.0.0.1:11434"
TAG = "deepseek-r1:7b"
MODEL = f"deploy/{TAG}-ctx8192"
_FIRST = datetime(2026, 8, 1, 3, tzinfo=UTC)
# Where in the history, and which nights from there on.
_EPISODES = {0.45: ("suspected", "regressed", "regressed"), 0.7: ("noisy", "noisy")}


def machine(*, gpu: bool) -> dict[str, Any]:
    """Return the document of the machine that `document` measures on."""
    card = {
        "vendor": "nvidia",
        "name": "NVIDIA GeForce RTX 3060",
        "index": 0,
        "memory_total_bytes": 12 * GIB,
        "memory_free_bytes": int(11.6 * GIB),
        "driver": "570.86",
        "usable": True,
        "unusable_reason": None,
    }
    return {
        "schema": 1,
        "taken_at": "2026-08-01T02:00:00Z",
        "host": {"cpu": "AMD Ryzen 7 5700X", "physical_cores": 8},
        "memory": {"total_bytes": 32 * GIB, "available_bytes": 27 * GIB, "limit_bytes": None},
        "disk": {
            "model_store": "/home/margarethe/.ollama/models",
            "kind": "nvme",
            "free_bytes": 400 * GIB,
        },
        "accelerators": [card] if gpu else [],
    }


def deployment(bench: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the document of the deployment that a bench run measured."""
    return {
        "schema": 1,
        "id": None,
        "state": "candidate",
        "tag": TAG,
        "alias": "deploy-current:latest",
        "model": bench["model"],
        "reference": TAG,
        "digest": bench["digest"],
        "architecture": "qwen2",
        "quantization": "Q4_K_M",
        "source": "https://registry.ollama.ai",
        "server_host": HOST,
        "server_version": bench["server_version"],
        "runtime": bench["runtime"],
        "machine": bench["machine"],
        "profile": "default",
        "deployed_at": "2026-08-01T02:10:00Z",
        "context": 8192,
        "parallel": 1,
        "placement": bench["placement"],
        "verdict": bench["verdict"],
        "rejected": [
            {
                "tag": f"deepseek-r1:{size}b",
                "reason": reason,
                "short_by_bytes": short,
                "detail": detail,
            }
            for size, reason, short, detail in _REJECTED
        ],
        **changes,
    }


_REJECTED = (
    (671, "memory", int(371.2 * GIB), "needs 383.20 GiB on GPU at context 8192; 11.60 GiB is free"),
    (70, "memory", int(31.9 * GIB), "needs 43.50 GiB on GPU at context 8192; 11.60 GiB is free"),
    (32, "disk", int(1.2 * GIB), "needs 20 GB; 18 GB is free at /home/margarethe/.ollama/models"),
    (14, "memory", int(0.4 * GIB), "needs 12.00 GiB on GPU at context 8192; 11.60 GiB is free"),
    (8, "speed_unknown", None, "split: the bandwidth of the GPU is unknown, so is the speed"),
)


def fill(path: Path, runs: int, *, gpu: bool = True, **changes: Any) -> Ledger:
    """Write a ledger with a deployment and so many nightly runs of it: two servers, two confirmed
    regressions after a suspicion, two noisy nights, a pinned baseline.
    """
    ledger, rng = Ledger(path), Random(7)
    owner: int | None = None
    for number in range(runs):
        bench = _night(number, runs, rng, gpu=gpu) | changes
        if owner is None:
            owner = ledger.begin(deployment(bench), machine(gpu=gpu))
            ledger.accept(owner, deployment(bench))
        ledger.record_bench(bench, owner)
    if runs > 4:
        ledger.pin(runs // 4)
    return ledger


def _night(number: int, runs: int, rng: Random, *, gpu: bool) -> dict[str, Any]:
    """Return what the run of one night found; the server is renewed in the middle."""
    done = number / max(runs, 1)
    starts = {int(at * runs): nights for at, nights in _EPISODES.items()}
    nights = {start + k: e for start, each in starts.items() for k, e in enumerate(each)}
    episode = nights.get(number) if runs > 9 else None
    slow = {"suspected": 0.86, "regressed": 0.85, "noisy": 0.7}.get(episode or "", 1.0)
    later = done > 0.5
    speed = 40.0 * slow * (1.04 if later else 1.0) * rng.uniform(0.985, 1.015)
    bench = document(gpu=gpu, decode_tps=speed, prefill_tps=speed * rng.uniform(9.8, 10.2))
    bench |= {
        "started_at": (_FIRST + timedelta(days=number)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "server_version": "0.12.0" if later else "0.9.3",
        "key": ("1" if later else "0") + bench["key"][1:],
        "cells": [_cell(n, speed, rng) for n in (32, 256, 2048, 6144)],
        "concurrency": [_level(users, speed, rng) for users in (1, 2, 4, 8)],
    }
    if episode and episode != "noisy":
        bench["comparison"] = _comparison(episode, slow)
    if episode == "noisy":
        bench["verdict"] = {**bench["verdict"], "outcome": "inconclusive"}
        bench["noise"] = {"foreign_cpu": 0.41, "steal": 0.0, "noisy_samples": 15}
        bench["samples"] = [s | {"noisy": True, "foreign_cpu": 0.41} for s in bench["samples"]]
    return bench


def _cell(prompt: int, speed: float, rng: Random) -> dict[str, Any]:
    deep = speed * (1 - prompt / 24000)
    fast = 10 * speed * (0.6 if prompt < 100 else 1 - prompt / 40000)
    waits = [prompt / fast * rng.uniform(0.98, 1.02) + 0.02 for _ in range(5)]
    return {
        "prompt_tokens": prompt,
        "generate_tokens": 64,
        "decode_tps": metric([deep * rng.uniform(0.97, 1.03) for _ in range(5)]),
        "prefill_tps": metric([fast * rng.uniform(0.95, 1.05) for _ in range(5)]),
        "ttft_s": metric(waits, "s"),
    }


def _level(users: int, speed: float, rng: Random) -> dict[str, Any]:
    slots = min(users, 4)
    each = speed * (1 - 0.14 * (slots - 1))
    queue = (users - slots) / users
    waits = [0.3 * slots + 4 * queue * rng.uniform(0.7, 1.3) for _ in range(5)]
    return {
        "users": users,
        "queued": users > slots,
        "window_s": 20.0,
        "requests": 12 * slots,
        "tokens": 20 * each * slots,
        "aggregate_tps": each * slots,
        "per_user_tps": metric([each * rng.uniform(0.95, 1.05) for _ in range(5)]),
        "ttft_s": metric(waits, "s"),
        "ttft_p90_s": max(waits) if users > 1 else None,
        "queue_share": queue,
        "noisy": False,
    }


def _comparison(outcome: str, ratio: float) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "why": f"decode is {1 - ratio:.0%} slower than the last 10 runs",
        "against": {"runs": [1, 2, 3], "pinned": None},
        "confirms": None,
        "metrics": [],
    }


def others(ledger: Ledger, models: Sequence[str]) -> None:
    """Add one run each of other models."""
    for number, model in enumerate(models):
        bench = document(decode_tps=20.0 + number, gpu=True)
        ledger.record_bench(bench | {"model": model, "key": f"{number:016x}"})
