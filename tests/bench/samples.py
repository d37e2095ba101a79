"""Samples written out for tests."""

from dataclasses import replace
from typing import Any

from orchestrator.bench.sample import Sample

_BASE = Sample(
    round=0,
    attempt=0,
    prompt=0,
    started_s=0.0,
    wall_s=3.0,
    want_prompt_tokens=100,
    want_tokens=21,
    prompt_tokens=100,
    tokens=21,
    reason="length",
    prefill_s=1.0,
    decode_s=2.0,
    load_s=0.01,
    ttft_s=1.1,
    stream_s=2.0,
    chunks=21,
)


def sample(**changes: Any) -> Sample:
    """Return a sound sample, 100 tokens/s in prefill and 10 in decode, with changes."""
    return replace(_BASE, **changes)
