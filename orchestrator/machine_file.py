"""Read a machine document (schema `machine`), as `--machine FILE` and `deploy plan` take it.

Pure. Input needs only memory.total_bytes and, per accelerator, memory_total_bytes; everything else
has a default or is unknown. Unknown keys are ignored; what contradicts itself is refused.
"""

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from orchestrator.catalog.accelerators import accelerator_facts
from orchestrator.errors import MachineInvalid, one_line
from orchestrator.machine import Accelerator, Machine, Memory, Vendor
from orchestrator.units import GIB, MIB
from orchestrator.usability import judged_for

# Brand words, for products that the catalogue does not know.
_BRANDS: tuple[tuple[str, Vendor], ...] = (
    (r"nvidia|geforce|tesla|quadro|\b[rg]tx?\b", "nvidia"),
    (r"\bamd\b|radeon|instinct", "amd"),
    (r"apple", "apple"),
    (r"intel", "intel"),
    (r"huawei|ascend|atlas", "ascend"),
)
_LEAST_BYTES, _MOST_CORES = 64 * MIB, 4096
_T = TypeVar("_T")


def from_json(document: object, *, source: str, server_version: str | None = None) -> Machine:
    """Return the machine that a JSON document describes.

    `source` names the document in messages. `server_version` overrides the document's where
    `usable` is to be judged. Missing available and free sizes are taken as the total. Raises
    MachineInvalid with the JSON path: a wrong type, a negative size, more free than there is, an
    index used twice, a size or count that cannot be meant, or an accelerator whose vendor cannot be
    told.
    """
    reader = _Reader(source)
    top = reader.mapping(document, "$")
    memory = reader.mapping(top.get("memory"), "$.memory", needed="total_bytes")
    if memory.get("available_bytes") is None:
        memory = {**memory, "available_bytes": memory["total_bytes"]}
    entries = reader.sequence(top.get("accelerators"), "$.accelerators")
    completed = reader.accelerators(entries)
    machine = reader.read(Machine, {**top, "memory": memory, "accelerators": completed}, "$")
    reader.consistent(machine)
    reader.meant(machine)
    return replace(machine, accelerators=_judged(machine, completed, server_version))


def _judged(
    machine: Machine, entries: list[dict[str, Any]], server_version: str | None
) -> tuple[Accelerator, ...]:
    filled = tuple(
        _with_stated_pool(a, entry) for a, entry in zip(machine.accelerators, entries, strict=True)
    )
    server = replace(machine.server, version=server_version or machine.server.version)
    opinions = judged_for(server, filled)
    return tuple(
        told if entry.get("usable") is not None else opinion
        for told, opinion, entry in zip(filled, opinions, entries, strict=True)
    )


def _with_stated_pool(accelerator: Accelerator, entry: Mapping[str, Any]) -> Accelerator:
    """Return it with what the catalogue knows; whether it shares memory its entry knows better."""
    known = with_known_facts(accelerator)
    if entry.get("unified_memory") is None:
        return known
    return replace(known, unified_memory=accelerator.unified_memory)


def with_known_facts(accelerator: Accelerator) -> Accelerator:
    """Return it with what the catalogue knows of its name in the fields that are unknown.

    A MIG slice keeps an unknown bandwidth: the catalogue tells that of the whole card.
    """
    facts = accelerator_facts(accelerator.name, accelerator.memory_total_bytes)
    if facts is None:
        return accelerator
    is_slice = (accelerator.uuid or "").startswith("MIG-")
    bandwidth = None if is_slice else facts.bandwidth_bytes_per_s
    return replace(
        accelerator,
        compute_capability=accelerator.compute_capability or facts.compute_capability,
        gfx=accelerator.gfx or facts.gfx,
        unified_memory=accelerator.unified_memory or facts.unified_memory,
        bandwidth_bytes_per_s=accelerator.bandwidth_bytes_per_s or bandwidth,
    )


class _Reader:
    """Turns JSON into the dataclasses of machine.py by their own annotations."""

    def __init__(self, source: str) -> None:
        self.source = source

    def wrong(self, path: str, what: str) -> MachineInvalid:
        return MachineInvalid(f"{self.source}: {path}: {what}", path=path, source=self.source)

    def mapping(self, value: object, path: str, needed: str | None = None) -> dict[str, Any]:
        if value is None or not isinstance(value, Mapping):
            missing = value is None and needed
            raise self.wrong(path, "is missing" if missing else f"{_shown(value)} is not an object")
        if needed and value.get(needed) is None:
            raise self.wrong(f"{path}.{needed}", "is missing")
        return dict(value)

    def sequence(self, value: object, path: str) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            raise self.wrong(path, f"{_shown(value)} is not an array")
        return list(value)

    def accelerators(self, entries: list[Any]) -> list[dict[str, Any]]:
        """Fill in what an entry may leave out: vendor, name, index, free memory."""
        given = [self.mapping(e, f"$.accelerators[{i}]") for i, e in enumerate(entries)]
        taken = [each.get("index") for each in given]
        for number, entry in enumerate(given):
            path = f"$.accelerators[{number}]"
            if "memory_total_bytes" not in entry:
                raise self.wrong(f"{path}.memory_total_bytes", "is missing")
            if entry.get("vendor") is None:
                entry["vendor"] = self.vendor(entry.get("name"), path)
            if entry.get("name") is None:
                entry["name"] = f"{entry['vendor']} accelerator"
            if entry.get("index") is None:
                entry["index"] = next(i for i in range(len(given) + 1) if i not in taken)
                taken.append(entry["index"])
            entry.setdefault("memory_free_bytes", entry["memory_total_bytes"])
        return given

    def vendor(self, name: object, path: str) -> Vendor:
        # Nothing but a size: the common wish "a card with 24 GiB" means NVIDIA's.
        if name is None:
            return "nvidia"
        if facts := accelerator_facts(str(name)):
            return facts.vendor
        for pattern, vendor in _BRANDS:
            if re.search(pattern, str(name), re.IGNORECASE):
                return vendor
        wanted = ", ".join(get_args(Vendor))
        raise self.wrong(f"{path}.vendor", f"is missing, and {name!r} does not tell it: {wanted}")

    def read(self, cls: type[_T], value: object, path: str) -> _T:
        """Return a dataclass: null stands for a default, and for None where there is none."""
        given = self.mapping(value, path)
        hints = get_type_hints(cls)
        arguments = {}
        for field in fields(cls):  # type: ignore[arg-type]  # only dataclasses come here
            where = f"{path}.{field.name}"
            required = field.default is MISSING and field.default_factory is MISSING
            if given.get(field.name) is not None or (required and field.name in given):
                arguments[field.name] = self.value(hints[field.name], given[field.name], where)
            elif required:
                raise self.wrong(where, "is missing")
        return cls(**arguments)

    def value(self, kind: object, value: object, path: str) -> object:
        """Return a value of the annotated kind: a union with None, a literal, a tuple, a class."""
        options = get_args(kind)
        if get_origin(kind) in (Union, types.UnionType):
            return None if value is None else self.value(options[0], value, path)
        if get_origin(kind) is Literal:
            if value not in options:
                raise self.wrong(path, f"{_shown(value)} is not one of {', '.join(options)}")
            return value
        if get_origin(kind) is tuple:
            items = enumerate(self.sequence(value, path))
            return tuple(self.value(options[0], item, f"{path}[{i}]") for i, item in items)
        if is_dataclass(kind) and isinstance(kind, type):
            return self.read(kind, value, path)
        return self.scalar(kind, value, path)

    def scalar(self, kind: object, value: object, path: str) -> object:
        # 8e9 is an integer to JSON; true is none.
        whole = isinstance(value, float) and value.is_integer()
        if kind is int and isinstance(value, int | float) and (whole or type(value) is int):
            if value < 0:
                raise self.wrong(path, f"{value} is negative")
            if value >= 2**63:
                raise self.wrong(path, f"{_shown(value)} is out of range")
            return int(value)
        if kind is str and isinstance(value, str):
            return one_line(value)
        if kind is bool and isinstance(value, bool):
            return value
        names = {int: "an integer", str: "a string", bool: "true or false"}
        wanted = next(name for each, name in names.items() if each is kind)
        raise self.wrong(path, f"{_shown(value)} is not {wanted}")

    def consistent(self, machine: Machine) -> None:
        """Refuse what cannot be true of one machine."""
        self.free(machine.memory, "$.memory")
        seen: set[tuple[str, int]] = set()
        for number, each in enumerate(machine.accelerators):
            path = f"$.accelerators[{number}]"
            if (each.vendor, each.index) in seen:
                raise self.wrong(f"{path}.index", f"{each.index} is used twice for {each.vendor}")
            seen.add((each.vendor, each.index))
            total, free = each.memory_total_bytes, each.memory_free_bytes
            if total is not None and free is not None and free > total:
                raise self.wrong(
                    f"{path}.memory_free_bytes", f"{free} is above memory_total_bytes, {total}"
                )

    def meant(self, machine: Machine) -> None:
        """Refuse sizes and counts that no machine has: another unit was meant."""
        self.large(machine.memory.total_bytes, "$.memory.total_bytes")
        for number, each in enumerate(machine.accelerators):
            if each.memory_total_bytes:  # 0: a device without memory of its own
                path = f"$.accelerators[{number}].memory_total_bytes"
                self.large(each.memory_total_bytes, path)
        self.cores(machine.host.physical_cores, "$.host.physical_cores")
        self.cores(machine.host.logical_cores, "$.host.logical_cores")

    def large(self, size_bytes: int, path: str) -> None:
        """Refuse what cannot be meant in bytes: GiB or MiB were."""
        if size_bytes < _LEAST_BYTES:
            raise MachineInvalid(
                f"{self.source}: {path}: {size_bytes} is below {_LEAST_BYTES // MIB} MiB",
                hint=f"sizes are in bytes: 8 GiB are {8 * GIB}",
                path=path,
                source=self.source,
            )

    def cores(self, count: int | None, path: str) -> None:
        if count is not None and not 1 <= count <= _MOST_CORES:
            raise self.wrong(path, f"{count} is not from 1 to {_MOST_CORES}")

    def free(self, memory: Memory, path: str) -> None:
        free, total = memory.available_bytes, memory.total_bytes
        if free > total:
            raise self.wrong(f"{path}.available_bytes", f"{free} is above total_bytes, {total}")


def _shown(value: object) -> str:
    """Return a value as the file's author wrote it, shortened."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
