"""What Huawei's `npu-smi` tells of the Ascend chips of a box, as versions 22 to 26 print it.

The table of `npu-smi info` has two lines a chip, and tells everything with one call. A chip whose
memory it does not show is asked for by `npu-smi info -t usages`. After the first call that fails
or hangs nothing more is asked: a chip that is lost makes each of them hang.
"""

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace

from orchestrator.probe.pci_names import shown
from orchestrator.probe.sight import Answer, Sight
from orchestrator.units import MIB

_LIMIT_S = 10.0
_MOST_NPUS = 64
_FOLDERS = ("/usr/local/sbin", "/usr/local/bin")  # not on every PATH of cron
_HEAD = re.compile(r"([0-9]{1,6})\s+([A-Za-z0-9][\w.+-]*)")
_BUS = re.compile(r"[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]")
_PAIR = re.compile(r"([0-9]{1,9})\s*/\s*([0-9]{1,9})")
_VERSION = re.compile(r"^\|\s*npu-smi\s.*Version:\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chip:
    """A chip: an NPU has one or two. `name` is npu-smi's: "910B3", "310P3", "Ascend910"."""

    npu: int
    number: int
    name: str | None = None
    bus: str | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The chips, and the driver's version; `fault` says why there are none."""

    chips: tuple[Chip, ...] = ()
    driver: str | None = None
    fault: str | None = None


def read_chips(sight: Sight) -> Reading:
    """Return what npu-smi tells. Never raises, and waits for one call that hangs, not for more."""
    table = _ask(sight, "info")
    if table.fault:
        return Reading(fault=table.fault)
    version = _VERSION.search(table.text)
    chips = _with_memory(table_chips(table.text), sight) or _listed(sight)
    if not chips:
        return Reading(fault=_refusal(table.text))
    return Reading(chips, shown(version[1]) if version else None)


def table_chips(text: str) -> tuple[Chip, ...]:
    """Return the chips of the table: a line with number and name, then one with the address."""
    chips: list[Chip] = []
    head: tuple[int, str] | None = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        at = next((i for i, cell in enumerate(cells) if _BUS.fullmatch(cell)), None)
        if at is not None and head is not None:
            number = re.match("[0-9]{1,6}", cells[0])
            total, free = _memory_of(cells[-1])
            chips.append(
                Chip(
                    npu=head[0],
                    number=int(number[0]) if number else 0,
                    name=head[1],
                    bus=cells[at].lower(),
                    total_bytes=total,
                    free_bytes=free,
                )
            )
        found = _HEAD.fullmatch(" ".join(cells[:-2]))
        head = (int(found[1]), found[2]) if found and at is None else None
    return tuple(chips)


def usages(text: str) -> dict[int, tuple[int, int | None]]:
    """Return total and free bytes by chip of `-t usages`, where the chip ends its paragraph."""
    found: dict[int, tuple[int, int | None]] = {}
    told: dict[str, int] = {}
    for key, value in re.findall(r"^\s*([^:\n]+?)\s*:\s*([0-9]{1,9})\s*$", text, re.MULTILINE):
        told[key] = int(value)
        if key == "Chip ID":
            _note(found, told.pop(key), told)
            told = {}
    if not found:  # the newest do not number the chips of an NPU
        _note(found, 0, told)
    return found


def _note(found: dict[int, tuple[int, int | None]], chip: int, told: dict[str, int]) -> None:
    kind = next((k for k in ("HBM", "DDR") if told.get(f"{k} Capacity(MB)")), None)
    if kind is None:
        return
    total = told[f"{kind} Capacity(MB)"] * MIB
    rate = told.get(f"{kind} Usage Rate(%)")
    found[chip] = total, None if rate is None else total * max(0, 100 - rate) // 100


def _asked(npus: Iterable[int], sight: Sight) -> dict[tuple[int, int], tuple[int, int | None]]:
    """Return what `usages` tells of the chips of these NPUs, by NPU and chip."""
    known: dict[tuple[int, int], tuple[int, int | None]] = {}
    for npu in list(dict.fromkeys(npus))[:_MOST_NPUS]:
        answer = _ask(sight, f"info -t usages -i {npu}")
        if answer.fault:
            break
        known |= {(npu, number): memory for number, memory in usages(answer.text).items()}
    return known


def _with_memory(chips: tuple[Chip, ...], sight: Sight) -> tuple[Chip, ...]:
    known = _asked((chip.npu for chip in chips if chip.total_bytes is None), sight)
    silent = (None, None)
    return tuple(
        chip if chip.total_bytes is not None else _holding(chip, known.get(_key(chip), silent))
        for chip in chips
    )


def _listed(sight: Sight) -> tuple[Chip, ...]:
    """Return the chips of the NPUs of `info -l`: `usages` tells how many each has."""
    text = _ask(sight, "info -l").text
    npus = re.findall(r"^\s*NPU ID\s*:\s*([0-9]{1,6})\s*$", text, re.MULTILINE)
    known = _asked(map(int, npus), sight)
    chips = {(int(npu), 0): Chip(npu=int(npu), number=0) for npu in npus}
    chips |= {key: _holding(Chip(npu=key[0], number=key[1]), known[key]) for key in known}
    return tuple(chips[key] for key in sorted(chips))


def _holding(chip: Chip, memory: tuple[int | None, int | None]) -> Chip:
    return replace(chip, total_bytes=memory[0], free_bytes=memory[1])


def _key(chip: Chip) -> tuple[int, int]:
    return chip.npu, chip.number


def _memory_of(cell: str) -> tuple[int | None, int | None]:
    """Return total and free bytes: of two pairs that of HBM stands last; "0 / 0" is none."""
    pairs = [(int(used), int(total)) for used, total in _PAIR.findall(cell)]
    used, total = next((pair for pair in reversed(pairs) if pair[1]), (0, 0))
    return (total * MIB, max(0, total - used) * MIB) if total else (None, None)


def _refusal(text: str) -> str:
    last = shown((text.strip().splitlines() or [""])[-1])
    said = f'"{last}"' if last else "nothing"
    return (
        f"npu-smi says {said}: it needs root or the group HwHiAiUser, and a driver that is loaded"
    )


def _ask(sight: Sight, what: str) -> Answer:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_FOLDERS))
    program = shutil.which("npu-smi", path=path) or "npu-smi"
    return sight.tool(f"npu-smi {what}", [program, *what.split()], limit_s=_LIMIT_S)
