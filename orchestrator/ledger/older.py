"""Documents of an older deploy, under the keys that they lack. Pure.

They are read and shown for years; `null` and an empty list say that nobody measured that then.
"""

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]


def deployment(document: Mapping[str, Any]) -> Document:
    """Return a deployment's document with what deploy 0.1 did not write."""
    return {
        "tag_digest": None,
        "why": None,
        "layers": None,
        "differences": [],
        "gap_s": None,
        "failure": None,
        "rolled_back_from": None,
        "pulled_as": None,
        "renewed_digest": None,
        **document,
    }


def bench(document: Mapping[str, Any]) -> Document:
    """Return a bench document with what was not measured before runs had a key."""
    found = {**_no_key(), **document}
    for part, later in (("metrics", _METRICS), ("memory", _MEMORY)):
        if isinstance(found.get(part), Mapping):
            found[part] = {**later, **found[part]}
    if found["key"] is None:
        found["samples"] = [
            {"devices": [], **s} if isinstance(s, Mapping) else s for s in found["samples"]
        ]
    return found


_METRICS = {"load_cold_s": None}
_MEMORY = {"filled_tokens": None, "filled_share": None, "parts": None}


def _no_key() -> Document:
    return {
        "key": None,
        "blob": None,
        "effort": None,
        "time_budget_s": None,
        "architecture": None,
        "placement": None,
        "flash_attention": None,
        "promised": None,
        "effective": None,
        "cells": [],
        "left_out": [],
        "loads": [],
        "thinking": None,
        "concurrency": [],
        "comparison": None,
        "samples": [],
    }
