"""The receipt of one bench run: a document that names no person and no box, and shows a change.

Pure. Its `sha256` is over the canonical JSON of all the rest: a slip or an edit shows. It is no
signature: whoever wants to deceive computes a new one.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from orchestrator.errors import InvalidInput
from orchestrator.redact import Redactor
from orchestrator.report.follows import violation
from orchestrator.report.graded import MemoryRow, SpeedRow, cells_of, memory_rows, speed_rows

Document = Mapping[str, Any]
_DERIVED = re.compile(r"deploy/(.+)-ctx\d+(?:-[0-9a-f]{6})?")
# A path of the file system, inside of a sentence; /api/ps is none, nor is a name with a slash.
_PATH = re.compile(r"(?<![\w./~:-])~?/(?!api/)[\w.@+~-]+(?:/[\w.@+~-]+)*")
_PUBLIC = ("registry.ollama.ai", "ollama.com", "hf.co", "huggingface.co", "modelscope.cn")
_REGISTRY = re.compile(r"(?<![\w./-])((?:[\w-]+\.)+[\w-]+(?::\d+)?|[\w-]+:\d+)/([\w-]+/[\w.:-]+)")
_EFFORTS = {name: ["--quick"] for name in ("validate", "again", "quick")} | {"full": ["--full"]}


def receipt(
    bench: Document,
    *,
    deployment: Document | None,
    machine: Document | None,
    version: str,
    redactor: Redactor,
) -> dict[str, Any]:
    """Return the receipt (schema `receipt`) of a run as the ledger has it.

    `deployment` is the one that the run measured, `machine` the box as it was probed then,
    `version` that of deploy. None: it is not known, and the receipt says less.
    """
    told: dict[str, Any] = _without_paths(
        redactor.document({**_subject(bench, deployment, machine), **_results(bench)})
    )
    # Sentences of ours; in "8192 tokens: the context" the redactor would see a secret.
    told["workload"]["left_out"] = list(bench.get("left_out", ()))
    names = {"tag": _tag(bench, deployment), "model": str(bench["model"])}
    told |= {k: v for k, v in names.items() if _of_nobody(v)}
    opening = {"schema": 1, "deploy": version, "command": command(bench, told["tag"])}
    return sealed({**opening, **told})


def _subject(
    bench: Document, deployment: Document | None, machine: Document | None
) -> dict[str, Any]:
    """Return what was measured where, with which settings."""
    deployed = deployment or {}
    return {
        "run": bench.get("id"),
        "measured_at": bench["started_at"],
        "tag": _tag(bench, deployment),
        "model": bench["model"],
        "architecture": bench.get("architecture") or deployed.get("architecture"),
        "quantization": bench["quantization"],
        "digest": bench["digest"],
        "blob": bench.get("blob") or deployed.get("blob"),
        "layers": deployed.get("layers"),
        "machine": _machine(bench["machine"], machine),
        "server": {"version": bench["server_version"], "runtime": bench["runtime"]},
        "settings": _settings(bench),
        "key": bench.get("key"),
    }


def _results(bench: Document) -> dict[str, Any]:
    """Return what was measured and how, beside what had been estimated."""
    compared = bench.get("comparison")
    return {
        "workload": _workload(bench),
        "speed": _speed(bench),
        "memory": _memory(bench),
        "estimates": [_with_error(row) for row in speed_rows(bench)],
        "verdict": bench["verdict"],
        "comparison": compared and {k: compared[k] for k in ("outcome", "why")},
    }


def command(bench: Document, tag: str) -> str:
    """Return the command that measures the same again, on this box or another."""
    words = ["deploy", "bench", tag, "--context", str(bench["context"])]
    words += _EFFORTS.get(bench.get("effort") or "default", [])
    if bench.get("time_budget_s") and bench.get("effort") != "again":  # there it is what was left
        words += ["--time-budget", f"{bench['time_budget_s']:.0f}s"]
    return shlex.join(words)


def sealed(document: Document) -> dict[str, Any]:
    """Return the document with the digest of all that is in it."""
    plain = {k: v for k, v in document.items() if k != "sha256"}
    return {**plain, "sha256": seal(plain)}


def seal(document: Document) -> str:
    """Return the SHA-256 of the canonical JSON (sorted keys, no blanks, UTF-8) without `sha256`."""
    plain = {k: v for k, v in document.items() if k != "sha256"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def checked(document: Any, schema: Document, source: str) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a receipt that was read from `source` as it was made; `schema` is that of receipts.

    Raises InvalidInput: it is no receipt, one of another schema, or changed after it was made.
    """
    hint = "`deploy receipt -o FILE.json` writes one"
    if not isinstance(document, dict) or not {"schema", "sha256", "command"} <= document.keys():
        raise InvalidInput(f"{source} is no receipt of deploy", hint=hint)
    if document["schema"] != 1:
        what = f"{source} is a receipt of schema {document['schema']!r}; this deploy reads 1"
        raise InvalidInput(what, hint="compare with the deploy that made it, or make it anew")
    if seal(document) != document["sha256"]:
        what = f"{source} was changed after it was made: its sha256 does not match"
        raise InvalidInput(what, hint="ask for the file as it was written; no other is compared")
    if wrong := violation(document, schema):
        raise InvalidInput(f"{source} does not follow `deploy schema receipt`: {wrong}", hint=hint)
    return document


def _tag(bench: Document, deployment: Document | None) -> str:
    """Return what a person calls the model: its tag, not the name that deploy derived."""
    if deployment:
        return str(deployment["tag"])
    derived = _DERIVED.fullmatch(bench["model"])
    return derived[1] if derived else str(bench["model"])


def _of_nobody(model: str) -> bool:
    """Whether a model's name has no host or account of somebody in it."""
    return model.removeprefix("deploy/").count("/") == 0


def _machine(named: Document, machine: Document | None) -> dict[str, Any]:
    """Return the parts of a box that decide speed and memory; null: it was never probed."""
    host, memory = (machine or {}).get("host", {}), (machine or {}).get("memory", {})
    cards = [a for a in (machine or {}).get("accelerators", ()) if a.get("usable")]
    keys = ("vendor", "name", "memory_total_bytes", "driver")
    return {
        "name": named["name"],
        "digest": named["digest"],
        "cpu": host.get("cpu"),
        "physical_cores": host.get("physical_cores"),
        "memory_bytes": memory.get("total_bytes"),
        "accelerators": [{k: a.get(k) for k in keys} for a in cards] if machine else None,
    }


def _settings(bench: Document) -> dict[str, Any]:
    keys = ("options", "context", "parallel", "kv_cache_type", "flash_attention", "placement")
    return {**{k: bench.get(k) for k in keys}, "effective": bench.get("effective")}


def _workload(bench: Document) -> dict[str, Any]:
    prompt = bench["prompt"]
    same = ("generate_tokens", "stopped", "wall_s", "clocks_disagree", "rejected", "noise")
    return {
        "effort": bench.get("effort"),
        "seed": prompt["seed"],
        "exact": prompt["exact"],
        "prompt_tokens": prompt["tokens"],
        **{k: bench[k] for k in same},
    }


def _speed(bench: Document) -> dict[str, Any]:
    thinking = bench.get("thinking")
    kept = ("ttft_s", "first_answer_s", "max_tokens")
    return {
        "cells": cells_of(bench),
        "load_cold_s": bench["metrics"].get("load_cold_s"),
        "load_s": bench["metrics"].get("load_s"),
        "loads": bench.get("loads", []),
        "thinking": thinking
        and {**{k: thinking[k] for k in kept}, "chats": len(thinking["samples"])},
        "concurrency": bench.get("concurrency", []),
    }


def _memory(bench: Document) -> dict[str, Any]:
    memory = bench["memory"]
    return {
        "filled_tokens": memory.get("filled_tokens"),
        "filled_share": memory.get("filled_share"),
        "parts": [_with_error(row) for row in memory_rows(bench)],
    }


def _with_error(row: MemoryRow | SpeedRow) -> dict[str, Any]:
    return {**asdict(row), "error": row.error}


def _without_paths(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a JSON value without paths, and without the hosts of somebody's own registry."""
    if isinstance(value, dict):
        return {k: _without_paths(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_paths(v) for v in value]
    if not isinstance(value, str):
        return value
    return _PATH.sub("(a path)", _REGISTRY.sub(_registry, value))


def _registry(found: "re.Match[str]") -> str:
    return found[0] if found[1] in _PUBLIC else f"registry/{found[2]}"
