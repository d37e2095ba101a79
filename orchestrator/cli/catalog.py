"""`deploy catalog [TAG]` and `deploy catalog check [TAG...]`."""

from collections.abc import Sequence
from typing import Any

import click

from orchestrator import memory
from orchestrator.catalog import Catalog
from orchestrator.catalog.census import Entry, counts, in_order
from orchestrator.cli.options import common, start_log
from orchestrator.cli.render import emit, table
from orchestrator.cli.terminal import progress
from orchestrator.errors import InvalidInput
from orchestrator.memory import Run
from orchestrator.model import Candidate, registry_address
from orchestrator.units import KIB, gb

_KV_TOKENS = 256
_WITH_VALUE = ("--registry", "--log-format")
_REGISTRY = "https://registry.ollama.ai"


class _ShowUnlessCheck(click.Group):
    """Takes `deploy catalog TAG` for `deploy catalog show TAG`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in front, wherever it stands, and `show` where none is named."""
        if not {"-h", "--help"}.isdisjoint(args[:1]):
            return super().parse_args(ctx, args)
        pairs = zip(["", *args], args, strict=False)
        words = [w for before, w in pairs if w[:1] != "-" and before not in _WITH_VALUE]
        if words and words[0] in self.commands:
            args.remove(words[0])
            return super().parse_args(ctx, [words[0], *args])
        return super().parse_args(ctx, ["show", *args])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of `show`, which may be left out, and the commands."""
        shown = self.commands["show"].get_params(ctx)
        records = [p.get_help_record(ctx) for p in shown if isinstance(p, click.Option)]
        with formatter.section("Options"):
            formatter.write_dl([each for each in records if each])
        self.format_commands(ctx, formatter)


@click.group(cls=_ShowUnlessCheck, subcommand_metavar="[TAG] | check [TAG]...")
def catalog() -> None:
    """List what could be deployed, show all about one TAG, or check all against a registry."""


@catalog.command()
@click.argument("tag", required=False)
@click.option("--all", "everything", is_flag=True, help="Every file, not only chat models.")
@common
def show(
    tag: str | None, everything: bool, as_json: bool, verbose: bool, log_format: str | None
) -> None:
    """List what could be deployed, or show all about one model; `show` may be left out."""
    start_log(verbose=verbose, log_format=log_format)
    bundled = Catalog.bundled()
    if tag:
        found = [bundled.find(tag)]
        text = _one(bundled, found[0])
    else:
        found = [c for c in bundled.candidates if everything or _is_default(c)]
        text = f"{_list(found)}\n{_unlisted(bundled.candidates, found)}".rstrip()
    emit({"schema": 1, "models": [_row(c) for c in found]}, text, as_json=as_json)


@catalog.command()
@click.argument("tags", metavar="[TAG]...", nargs=-1)
@click.option("--registry", metavar="URL", default=_REGISTRY, show_default=True)
@common
def check(
    tags: tuple[str, ...], registry: str, as_json: bool, verbose: bool, log_format: str | None
) -> None:
    """Compare the catalogue with a registry's manifests: what moved, what is gone, what is new.

    Without TAG: every tag, within five minutes. What moved is an answer: the exit code is 0.
    """
    from orchestrator.source.census import census

    start_log(verbose=verbose, log_format=log_format)
    try:
        host, insecure = registry_address(registry)
    except ValueError as e:
        raise InvalidInput(f"--registry: {e}") from e
    with progress() as shown:
        found = in_order(census(_wanted(tags), host, shown, insecure=insecure))
    document = {
        "schema": 1,
        "registry": registry,
        "counts": counts(found),
        "tags": [entry.to_json() for entry in found],
    }
    emit(document, _changes(found), as_json=as_json)


def _wanted(tags: tuple[str, ...]) -> dict[str, Candidate]:
    """Return the files by the tags to ask for: those that were named, or all."""
    bundled = Catalog.bundled()
    if tags:
        return {tag: bundled.find(tag) for tag in tags}
    return {tag: c for c in bundled.candidates for tag in c.tags}


def _changes(found: list[Entry]) -> str:
    """Return a line for each tag that is not as the catalogue has it, and how many there are."""
    rows = [
        (e.tag, e.state, _shown(e.known.digest, e.known.file_bytes), _now(e))
        for e in found
        if e.state != "same"
    ]
    summary = ", ".join(f"{n} {state}" for state, n in counts(found).items())
    lines = [table(rows, ("tag", "state", "catalogue", "registry")), ""] if rows else []
    return "\n".join([*lines, f"{len(found)} tags: {summary}"])


def _now(entry: Entry) -> str:
    return _shown(entry.now.digest, entry.now.size_bytes) if entry.now else entry.detail


def _shown(digest: str | None, size_bytes: int) -> str:
    return f"{digest[7:19] if digest else 'digest unknown'}, {size_bytes} bytes"


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
    by_family = sorted(found, key=lambda c: (c.family, c.parameters_total, c.file_bytes, c.tag))
    rows = [
        (
            c.model if _is_default(c) else c.tag,
            f"{c.parameters_total / 1e9:.1f}B",
            c.quantization,
            _about(c) + gb(c.file_bytes),
            f"{c.architecture.context_length // KIB}K",
            c.license,
        )
        for c in by_family
    ]
    return table(rows, ("tag", "size", "quant", "download", "context", "licence"))


def _unlisted(candidates: Sequence[Candidate], found: Sequence[Candidate]) -> str:
    """Return how many tags the list leaves out, and how to see them."""
    left = sum(len(c.tags) for c in candidates) - sum(len(c.tags) for c in found)
    if not left:
        return ""
    what = "other quantizations, base, code, vision and embedding models"
    return f"\n{left} tags are not listed ({what}): `deploy catalog --all`, or `deploy catalog TAG`"


def _about(c: Candidate) -> str:
    """Return the word before a size of which only the library's rounded figure is known."""
    return "about " if c.bytes_basis == "listed" else ""


def _file(c: Candidate) -> str:
    if c.bytes_basis == "listed":
        return f"about {gb(c.file_bytes)} (as the library lists it)"
    return f"{c.file_bytes} bytes ({gb(c.file_bytes)}, {c.bytes_basis})"


def _one(bundled: Catalog, c: Candidate) -> str:
    facts = bundled.facts(c)
    active = f", {c.parameters_active / 1e9:.1f}B active"
    lines = [
        f"tag         {c.tag}",
        f"also        {', '.join(t for t in c.tags if t != c.tag) or '-'}",
        f"parameters  {c.parameters_total / 1e9:.2f}B"
        + (active if c.parameters_active < c.parameters_total else ""),
        f"file        {_file(c)}, {c.quantization}, {c.format}",
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
