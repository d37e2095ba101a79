"""The answer of nvml.py, read as if a stranger had written it: what is no such value is None."""

import json
import re
from dataclasses import dataclass, field

from orchestrator.errors import one_line
from orchestrator.machine import DeviceProcess

_MOST, _LONGEST = 2**63 - 1, 200
_ADDRESS = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A device or MIG slice; `slices` None: MIG is off. `codes`: NVML's errors by what was asked.

    `pci` is the address in sysfs; `virtualization` is NVML's number: 2 is a vGPU.
    """

    name: str | None = None
    uuid: str | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None
    reserved_bytes: int | None = None
    capability: str | None = None
    bus_width: int | None = None
    clock_mhz: int | None = None
    pci: str | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    ecc: bool | None = None
    virtualization: int | None = None
    processes: tuple[DeviceProcess, ...] = ()
    slices: "tuple[Gpu, ...] | None" = None
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def bandwidth_bytes_per_s(self) -> int | None:
        """The most that the memory moves: NVML names the command clock, data on both edges."""
        if not self.bus_width or not self.clock_mhz:
            return None
        return self.bus_width * self.clock_mhz * 10**6 * 2 // 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """All that was read. `gpus` None: no list of them; `code`: NVML did not start; `fault`: what
    the loader said of a library; `binding`: what is amiss with pynvml; `library` and `installed`:
    the versions of the one loaded and of those beside it, after a mismatch.
    """

    gpus: tuple[Gpu, ...] | None = None
    driver: str | None = None
    code: int = 0
    fault: str = ""
    binding: str | None = None
    library: str | None = None
    installed: tuple[str, ...] = ()


def parsed(text: str) -> Answer | None:
    """Return what the child printed last, None where that is no answer of its kind."""
    last = text.strip().rpartition("\n")[2]
    try:
        said = json.loads(last)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    gpus = said.get("gpus")
    version = re.search(r"\.so\.([0-9]+(?:\.[0-9]+)+)$", _text(said.get("library")) or "")
    return Answer(
        gpus=tuple(_gpu(each) for each in gpus) if isinstance(gpus, list) else None,
        driver=_text(said.get("driver")),
        code=_number(said.get("code")) or 0,
        fault=_text(said.get("fault")) or "",
        binding=_text(said.get("binding")),
        library=version[1] if version else None,
        installed=tuple(filter(None, map(_text, _list(said.get("installed"))))),
    )


def _gpu(said: object) -> Gpu:
    """Return a device; one that is no object keeps its place, for its index is the driver's."""
    told: dict[str, object] = said if isinstance(said, dict) else {}
    total, ecc = _number(told.get("total")), told.get("ecc")
    slices, codes = told.get("slices"), told.get("codes")
    return Gpu(
        name=_text(told.get("name")),
        uuid=_text(told.get("uuid")),
        total_bytes=total,
        free_bytes=_number(told.get("free"), most=total),
        reserved_bytes=_number(told.get("reserved"), most=total),
        capability=_matching(r"[0-9]{1,3}\.[0-9]{1,3}", told.get("capability")),
        bus_width=_number(told.get("bus_width"), most=10**6),
        clock_mhz=_number(told.get("clock_mhz"), most=10**6),
        pci=_sysfs(told.get("pci")),
        pcie_generation=_number(told.get("pcie_generation"), most=100) or None,
        pcie_width=_number(told.get("pcie_width"), most=100) or None,
        ecc=ecc if isinstance(ecc, bool) else None,
        virtualization=_number(told.get("virtualization")),
        processes=_processes(told.get("processes")),
        slices=tuple(_gpu(each) for each in slices) if isinstance(slices, list) else None,
        codes=_codes(codes if isinstance(codes, dict) else {}),
    )


def _codes(said: dict[str, object]) -> dict[str, int]:
    return {call: known for call, code in said.items() if (known := _number(code))}


def _processes(said: object) -> tuple[DeviceProcess, ...]:
    found: dict[int, DeviceProcess] = {}
    for each in _list(said):
        told = each if isinstance(each, dict) else {}
        if pid := _number(told.get("pid"), most=2**32):
            name, used = _program(told.get("name")), _number(told.get("bytes"))
            found.setdefault(pid, DeviceProcess(pid=pid, name=name, bytes=used))
    return tuple(found.values())


def _program(said: object) -> str | None:
    """Return the program's name of a command; NVML writes "[Not Found]" where it has none."""
    words = (_text(said) or "").split()
    if not words or words[0].startswith(("[", "-")):
        return None
    return words[0].rpartition("/")[2] or None


def _sysfs(said: object) -> str | None:
    """Return an address as sysfs writes it: NVML pads the domain to eight digits."""
    found = _ADDRESS.fullmatch((_text(said) or "").lower())
    if found is None:
        return None
    domain, bus, device, function = found.groups()
    return f"{int(domain, 16):04x}:{bus}:{device}.{function}"


def _list(said: object) -> list[object]:
    return said if isinstance(said, list) else []


def _matching(pattern: str, said: object) -> str | None:
    return said if isinstance(said, str) and re.fullmatch(pattern, said) else None


def _text(said: object) -> str | None:
    return one_line(said.strip())[:_LONGEST] or None if isinstance(said, str) else None


def _number(said: object, *, most: int | None = None) -> int | None:
    """Return a whole number from 0 to `most`."""
    if not isinstance(said, int) or isinstance(said, bool):
        return None
    return said if 0 <= said <= (_MOST if most is None else most) else None
