"""Write docs/what-fits.md: what the machines in scripts/machines/ hold, by the plan itself.

python scripts/card_table.py            write the page
python scripts/card_table.py --check    exit 1 if it is not what the code says now
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from orchestrator.catalog import Catalog
from orchestrator.lone import estimated
from orchestrator.machine import Machine
from orchestrator.machine_file import from_json
from orchestrator.plan import Plan, choose
from orchestrator.profile import Profile, parse
from orchestrator.settings import Wishes
from orchestrator.units import gb, gib

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "what-fits.md"
MACHINES = REPOSITORY / "scripts" / "machines"
VERSION, OLDER = "0.33.0", ("0.20.0", "0.9.3")
CONTEXTS = (4096, 32768)
CARDS = (
    "rtx-4090", "rtx-4080", "rtx-4070-ti", "rtx-4070", "rtx-3060-ti", "rtx-3060", "rtx-3050",
    "rtx-2080-ti", "rtx-2080-super", "rtx-2070-super", "rtx-2060-super", "gt-710",
)  # fmt: skip
SERVERS = ("a10", "2x-a100-40gb", "h100-80gb", "8x-a100-80gb", "8x-h100-80gb")
# Tag, size of its file and memory it needs, both in GB, as an article gives them.
CLAIMED = (
    ("deepseek-r1:1.5b", 1.1, 2), ("deepseek-r1:7b", 4.7, 5),
    ("deepseek-r1:8b-llama-distill-q4_K_M", 4.9, 6), ("deepseek-r1:14b", 9.0, 10),
    ("deepseek-r1:32b", 20, 22), ("deepseek-r1:70b", 43, 45),
)  # fmt: skip
HEADS = ("machine", "DeepSeek-R1, 4k", "DeepSeek-R1, 32k", "any model, 4k", "any model, 32k")

TEXT = """# What fits where

Made by `python scripts/card_table.py` from the plan itself; do not edit. The machines are the files
in `scripts/machines/`, with all of their memory free; ask the same with

```sh
deploy plan --compare scripts/machines/*.json --server-version {version} --context 32768
```

One slot, Ollama {version}, the profile [default](../profiles/default.toml): the largest model that
lies wholly on GPUs, if that is one of 3B or more, else the largest that the box runs at {floor:g}
tokens a second. "DeepSeek-R1" is the same with that family alone. Each cell: the tag, the memory
that it takes in all, and where it runs if that is not one GPU.

## The cards that articles name

Each in a box with 32 GiB of host memory. The GT 710 is too old for Ollama: its box, a Ryzen 9 5950X
with 64 GiB of DDR4-2400, runs on the processor.

{cards}

## The servers that articles name

An A10 with 32 GiB and 50 GB of disk; two A100 40 GB or one H100 with 64 GiB and 100 GB; eight A100
or H100 80 GB with 128 GiB and 1 TB.

{servers}

## Under older servers

Where the same machine holds another model, because that version of Ollama counts otherwise before
it places layers.

{older}

## What one article says the distills need

At 4,096 tokens and one slot, on one card that takes all layers, Ollama {version}. "On the card"
counts {driver} for the driver's context.

{claimed}

The sizes of the files are right. The memory is right for 4,096 tokens and one slot; at 32,768 the
KV cache alone of 32B is {cache}.
"""


@cache
def machine(name: str, version: str) -> Machine:
    """Return a machine of scripts/machines/ under a version of Ollama."""
    document = json.loads((MACHINES / f"{name}.json").read_text("utf-8"))
    document["server"] = {"version": version}
    return from_json(document, source=name)


def default() -> Profile:
    """Return the bundled default profile."""
    return parse((REPOSITORY / "profiles" / "default.toml").read_text("utf-8"), "default")


@cache
def plan(name: str, version: str, context: int, *, any_family: bool) -> Plan:
    """Return the plan for a machine, of DeepSeek-R1 alone or of all families of the profile."""
    profile = default()
    if not any_family:
        profile = replace(profile, families=(("deepseek-r1",),))
    wishes = Wishes(context=context, parallel=1)
    return choose(profile, machine(name, version), Catalog.bundled().candidates, wishes=wishes)


def title(name: str) -> str:
    """Return how a machine is called in a table: its cards, without the vendor."""
    names = [a.name for a in machine(name, VERSION).accelerators]
    short = names[0].removeprefix("NVIDIA ").removeprefix("GeForce ")
    return short if len(names) == 1 else f"{len(names)} x {short}"


def cell(found: Plan) -> str:
    """Return tag, memory and place of a pick."""
    if found.chosen is None:
        return "nothing"
    estimate, placement = found.chosen.estimate, found.chosen.placement
    where = {"cpu": ", CPU", "split": ", split", "gpu": ""}[placement.kind]
    if placement.kind == "gpu" and len(estimate.devices) > 1:
        where = f", {len(estimate.devices)} GPUs"
    return f"{found.chosen.candidate.tag}: {gib(estimate.total_bytes, 1)}{where}"


def cells(name: str, version: str) -> list[str]:
    """Return the four picks of a machine: one family and all, at both contexts."""
    return [
        cell(plan(name, version, context, any_family=any_family))
        for any_family in (False, True)
        for context in CONTEXTS
    ]


def older() -> Iterator[list[str]]:
    """Yield what another version places otherwise, of the R1 family."""
    for name in (*CARDS, *SERVERS):
        for context in CONTEXTS:
            now, *then = (
                plan(name, version, context, any_family=False) for version in (VERSION, *OLDER)
            )
            tags = [p.chosen.candidate.tag if p.chosen else None for p in (now, *then)]
            if len(set(tags)) > 1:
                yield [title(name), f"{context // 1024}k", *map(cell, (now, *then))]


def claimed() -> Iterator[list[str]]:
    """Yield what an article says of a tag beside what the estimate says."""
    for tag, file_gb, memory_gb in CLAIMED:
        model = Catalog.bundled().find(tag)
        found = estimated(model, Wishes(context=CONTEXTS[0], parallel=1), None, VERSION, None)
        yield [
            tag, f"{file_gb} GB", gb(model.file_bytes), f"about {memory_gb} GB",
            gb(found.devices[0].bytes), gib(found.devices[0].bytes), gib(found.host_bytes),
        ]  # fmt: skip


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; a line that says so where there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    rule = "|" + "---|" * len(heads)
    return "\n".join([f"| {' | '.join(heads)} |", rule, *lines]) if lines else "Nowhere."


def page() -> str:
    """Return the text that docs/what-fits.md must have."""
    large = estimated(
        Catalog.bundled().find("deepseek-r1:32b"), Wishes(context=CONTEXTS[1]), None, VERSION, None
    )
    of_cards = [[title(name), *cells(name, VERSION)] for name in CARDS]
    of_servers = [[title(name), *cells(name, VERSION)] for name in SERVERS]
    heads = (
        "tag", "file: article", "file", "memory: article", "on the card", "the same", "on the host",
    )  # fmt: skip
    return TEXT.format(
        version=VERSION,
        floor=default().min_tps,
        cards=table(HEADS, of_cards),
        servers=table(HEADS, of_servers),
        older=table(("machine", "context", *(f"Ollama {v}" for v in (VERSION, *OLDER))), older()),
        claimed=table(heads, claimed()),
        driver=gib(large.overhead_bytes),
        cache=gib(large.kv_cache_bytes),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or compare it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only say whether it is current")
    wanted = page()
    if not parser.parse_args(arguments).check:
        PAGE.write_text(wanted, "utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text("utf-8") == wanted:
        return 0
    print(f"{PAGE.name} is not current: run python scripts/card_table.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
