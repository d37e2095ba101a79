"""Bench documents written out for tests: valid by the schema, with numbers that hang together."""

import random
from typing import Any

GIB = 1024**3


def metric(values: list[float], unit: str = "tokens/s") -> dict[str, Any]:
    """Return a metric of these values."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return {
        "median": middle,
        "spread": (ordered[-1] - ordered[0]) / 4,
        "ci_low": ordered[0],
        "ci_high": ordered[-1],
        "min": ordered[0],
        "max": ordered[-1],
        "n": len(values),
        "rejected": 0,
        "unit": unit,
    }


def document(
    *, decode_tps: float = 40.0, prefill_tps: float = 400.0, gpu: bool = False, **changes: Any
) -> dict[str, Any]:
    """Return the document of one run, on a CPU or on one GPU, with changes."""
    rng = random.Random(f"{decode_tps}{prefill_tps}")
    shapes = [(32, 64), (256, 64), (2048, 64)]
    samples = [
        _sample(shape, round_, decode_tps * rng.uniform(0.98, 1.02), prefill_tps, gpu=gpu)
        for round_ in range(-1, 5)
        for shape in shapes
    ]
    found = {
        "schema": 1,
        "id": None,
        "key": "0f1e2d3c4b5a6978",
        "model": "deploy/deepseek-r1:7b-ctx8192",
        "digest": "sha256:" + 64 * "a",
        "blob": "sha256:" + 64 * "b",
        "quantization": "Q4_K_M",
        "architecture": "qwen2",
        "server_version": "0.9.3",
        "runtime": "release" if gpu else "embedded",
        "machine": {
            "name": "1 x NVIDIA GeForce RTX 3060" if gpu else "a box with 8 cores",
            "digest": "0123456789abcdef",
        },
        "started_at": "2026-11-26T03:00:00Z",
        "effort": "default",
        "time_budget_s": None,
        "options": {"num_ctx": 8192, "num_gpu": 29} if gpu else {"num_ctx": 8192},
        "context": 8192,
        "parallel": 1,
        "kv_cache_type": "f16",
        "flash_attention": gpu,
        "placement": "gpu" if gpu else "cpu",
        "promised": _promised(decode_tps, prefill_tps, gpu=gpu),
        "effective": {
            "context": 8192,
            "parallel": 1,
            "kv_cache_type": "f16",
            "flash_attention": gpu,
            "threads": 8,
            "gpu_layers": 29 if gpu else None,
            "how": "the runner's command line and the server's log",
        },
        "prompt": {
            "tokens": 256,
            "exact": True,
            "seed": 12345,
            "calibration": {
                "words": ["the", "of", "and", "to"],
                "bos_tokens": 1,
                "tokens_per_word": 1,
                "exact": True,
                "probes": 2,
            },
        },
        "generate_tokens": 64,
        "stopped": "complete",
        "wall_s": 321.0,
        "clocks_disagree": False,
        "metrics": {
            "decode_tps": metric([s["decode_tps"] for s in samples[4::3]]),
            "prefill_tps": metric([s["prefill_tps"] for s in samples[4::3]]),
            "ttft_s": metric([s["ttft_s"] for s in samples[4::3]], "s"),
            "load_s": metric([2.1, 2.2], "s"),
            "load_cold_s": metric([9.5], "s"),
        },
        "cells": [_cell(shape, samples) for shape in shapes],
        "left_out": ["a prompt of 8192 tokens: the context has 8192"],
        "loads": [
            {"wall_s": 9.5, "load_s": 9.4, "file_cache": "cold"},
            {"wall_s": 2.1, "load_s": 2.0, "file_cache": "warm"},
            {"wall_s": 2.2, "load_s": 2.1, "file_cache": "warm"},
        ],
        "thinking": {
            "ttft_s": metric([0.4, 0.5, 0.6], "s"),
            "first_answer_s": metric([6.1, 7.2, 8.3], "s"),
            "max_tokens": 512,
            "samples": [
                {"ttft_s": 0.4, "first_answer_s": 6.1, "tokens": 300, "wall_s": 9.0},
                {"ttft_s": 0.5, "first_answer_s": 7.2, "tokens": 310, "wall_s": 9.1},
                {"ttft_s": 0.6, "first_answer_s": 8.3, "tokens": 320, "wall_s": 9.2},
            ],
        },
        "concurrency": [_level(users, decode_tps) for users in (1, 2, 4)],
        "samples": samples,
        "rejected": {"cached": 0, "short": 0, "miscounted": 0},
        "noise": {"foreign_cpu": 0.01, "steal": 0.0, "noisy_samples": 0},
        "memory": _memory(gpu=gpu),
        "verdict": _verdict(decode_tps, gpu=gpu),
        "comparison": None,
    }
    return {**found, **changes}


def _sample(
    shape: tuple[int, int], round_: int, decode_tps: float, prefill_tps: float, *, gpu: bool
) -> dict[str, Any]:
    prompt, tokens = shape
    deep = decode_tps * (1 - prompt / 16384)
    prefill_s, decode_s = prompt / prefill_tps, (tokens - 1) / deep
    state = {
        "index": 0,
        "sm_clock_mhz": 1800,
        "memory_clock_mhz": 7501,
        "temperature_c": 64,
        "power_limit_w": 170.0,
        "throttle": [],
        "foreign_processes": 0,
        "foreign_utilization": None,
    }
    return {
        "round": round_,
        "attempt": 0,
        "prompt": 3 * (round_ + 1),
        "warmup": round_ < 0,
        "outcome": "warmup" if round_ < 0 else "ok",
        "noisy": False,
        "started_s": 10.0,
        "wall_s": prefill_s + decode_s + 0.002,
        "want_prompt_tokens": prompt,
        "want_tokens": tokens,
        "prompt_tokens": prompt,
        "tokens": tokens,
        "reason": "length",
        "prefill_s": prefill_s,
        "decode_s": decode_s,
        "load_s": 0.01,
        "ttft_s": prefill_s + 0.015,
        "stream_s": decode_s,
        "chunks": tokens,
        "foreign_cpu": 0.01,
        "steal": 0.0,
        "devices": [state] if gpu else [],
        "prefill_tps": prefill_tps,
        "decode_tps": deep,
        "client_decode_tps": deep,
    }


def _cell(shape: tuple[int, int], samples: list[dict[str, Any]]) -> dict[str, Any]:
    taken = [
        s
        for s in samples
        if (s["want_prompt_tokens"], s["want_tokens"]) == shape and s["outcome"] == "ok"
    ]
    return {
        "prompt_tokens": shape[0],
        "generate_tokens": shape[1],
        "prefill_tps": metric([s["prefill_tps"] for s in taken]),
        "decode_tps": metric([s["decode_tps"] for s in taken]),
        "ttft_s": metric([s["ttft_s"] for s in taken], "s"),
    }


def _level(users: int, decode_tps: float) -> dict[str, Any]:
    return {
        "users": users,
        "queued": users > 1,
        "window_s": 20.0,
        "requests": 12,
        "tokens": 20 * decode_tps,
        "aggregate_tps": decode_tps,
        "per_user_tps": metric([decode_tps, decode_tps * 0.99, decode_tps * 1.01]),
        "ttft_s": metric([0.3 * users, 0.4 * users, 0.5 * users], "s"),
        "ttft_p90_s": None,
        "queue_share": (users - 1) / users,
        "noisy": False,
    }


def _promised(decode_tps: float, prefill_tps: float, *, gpu: bool) -> dict[str, Any]:
    sizes = {
        "weights_bytes": int(4.36 * GIB),
        "kv_cache_bytes": int(0.44 * GIB),
        "compute_bytes": int(0.30 * GIB),
        "overhead_bytes": int(0.25 * GIB) if gpu else 0,
    }
    total = sum(sizes.values())
    return {
        **sizes,
        "total_bytes": total,
        "resident_bytes": int(0.6 * GIB) if gpu else int(5.0 * GIB),
        "host_bytes": int(0.35 * GIB) if gpu else total,
        "prompt_tokens": 7500,
        "devices": [{"index": 0, "bytes": int(5.0 * GIB)}] if gpu else [],
        "decode_tps": [decode_tps * 0.7, decode_tps * 1.05, decode_tps * 1.3],
        "prefill_tps": [prefill_tps * 0.5, prefill_tps, prefill_tps * 2],
        "load_s": [1.0, 3.0, 10.0],
    }


def _memory(*, gpu: bool) -> dict[str, Any]:
    device = {"index": 0, "bytes": int(5.1 * GIB), "how": "NVML, per process"}
    return {
        "resident_bytes": int(0.65 * GIB) if gpu else int(5.1 * GIB),
        "resident_how": "VmHWM of the runner",
        "pss_bytes": int(0.6 * GIB) if gpu else int(5.05 * GIB),
        "devices": [device] if gpu else [],
        "devices_how": "NVML",
        "server_claim_bytes": int(5.3 * GIB),
        "filled_tokens": 7564,
        "filled_share": 7564 / 8192,
        "parts": {
            "weights_bytes": int(4.36 * GIB),
            "kv_cache_bytes": int(0.44 * GIB),
            "compute_bytes": int(0.31 * GIB),
            "total_bytes": int(4.36 * GIB) + int(0.44 * GIB) + int(0.31 * GIB),
            "how": "buffer sizes in the server's log",
        },
    }


def _verdict(decode_tps: float, *, gpu: bool) -> dict[str, Any]:
    promised, measured = (5.0, 5.1)
    memory = {
        "name": "memory of device 0" if gpu else "memory",
        "estimated": int(promised * GIB),
        "measured": int(measured * GIB),
        "error": (measured - promised) / measured,
        "outcome": "passed",
        "detail": "NVML, per process" if gpu else "VmHWM of the runner",
    }
    speed = {
        "name": "decode speed",
        "estimated": decode_tps * 1.05,
        "measured": decode_tps,
        "error": -0.05,
        "outcome": "passed",
        "detail": "",
    }
    return {"outcome": "passed", "checks": [memory, speed]}
