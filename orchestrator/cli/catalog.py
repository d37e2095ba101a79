"""`deploy catalog [TAG]`."""

from typing import Any

import click

from orchestrator import memory
from orchestrator.catalog import Catalog
from orchestrator.cli.options import common, start_log
from orchestrator.cli.render import emit, table
from orchestrator.memory import Run
from orchestrator.model import Candidate
from orchestrator.units import KIB, gb

_KV_TOKENS = 256


@click.command()
@click.argument("tag", required=False)
@click.option("--all", "everything", is_flag=True, help="Every file, not only chat models.")
@common
def catalog(
    tag: str | None, everything: bool, as_json: bool, verbose: bool, log_format: str | None
) -> None:
    """List what could be deployed, or show all about one model."""
    start_log(verbose=verbose, log_format=log_format)
    bundled = Catalog.bundled()
    if tag:
        found = [bundled.find(tag)]
        text = _one(bundled, found[0])
    else:
        found = [c for c in bundled.candidates if everything or _is_default(c)]
        text = _list(found)
    emit({"schema": 1, "models": [_row(c) for c in found]}, text, as_json=as_json)


def _is_default(candidate: Candidate) -> bool:
    """The files that a size's plain tag names: deepseek-r1:7b, not …-q4_K_M."""
    return candidate.kind == "chat" and candidate.model in candidate.tags


def kv_bytes_per_token(candidate: Candidate) -> int:
    """Return the KV cache of one token at f16."""
    run = Run(context=_KV_TOKENS)
    each = memory.kv_bytes_per_layer(candidate.architecture, run)
    return each * candidate.architecture.attention_layers // _KV_TOKENS


def _row(c: Candidate) -> dict[str, Any]:
    return {
        "tag": c.tag,
        "tags": list(c.tags),
        "family": c.family,
        "kind": c.kind,
        "quantization": c.quantization,
        "format": c.format,
        "parameters_total": c.parameters_total,
        "parameters_active": c.parameters_active,
        "file_bytes": c.file_bytes,
        "bytes_basis": c.bytes_basis,
        "digest": c.digest,
        "kv_cache_bytes_per_token": kv_bytes_per_token(c),
        "context": c.architecture.context_length,
        "license": c.license,
        "commercial_use": c.commercial_use,
        "released": c.released,
        "thinking": c.thinking,
        "min_server_version": c.min_server_version,
    }


def _list(found: list[Candidate]) -> str:
    rows = [
        (
            c.model,
            f"{c.parameters_total / 1e9:.1f}B",
            c.quantization,
            gb(c.file_bytes),
            f"{c.architecture.context_length // KIB}K",
            c.license,
        )
        for c in found
    ]
    return table(rows, ("tag", "size", "quant", "download", "context", "licence"))


def _one(bundled: Catalog, c: Candidate) -> str:
    facts = bundled.facts(c)
    active = f", {c.parameters_active / 1e9:.1f}B active"
    lines = [
        f"tag         {c.tag}",
        f"also        {', '.join(t for t in c.tags if t != c.tag) or '-'}",
        f"parameters  {c.parameters_total / 1e9:.2f}B"
        + (active if c.parameters_active < c.parameters_total else ""),
        f"file        {c.file_bytes} bytes ({gb(c.file_bytes)}, {c.bytes_basis}), "
        f"{c.quantization}, {c.format}",
        f"digest      {c.digest or 'unknown'}",
        f"KV cache    {kv_bytes_per_token(c) / KIB:.0f} KiB a token at f16",
        f"context     {c.architecture.context_length} tokens",
        f"licence     {c.license}{'' if c.commercial_use else ' (no commercial use)'}",
        f"thinking    {'yes' if c.thinking else 'no'}",
        f"needs       Ollama {c.min_server_version or 'of any version'}",
        f"released    {c.released}",
        f"weights at  {', '.join((*facts.hf_repos, *facts.gguf_repos)) or 'unknown'}",
    ]
    lines += [f"formerly    {m.tag}: {m.digest[:19]}, {gb(m.bytes)}, {m.seen}" for m in facts.moved]
    lines += [f"source      {s}" for s in facts.sources]
    return "\n".join(lines)
