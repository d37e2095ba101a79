"""Which accelerators a given Ollama server can run a model on, and in a sentence why not.

Pure: the probe uses it on what it read, and `--machine` files that do not say. Sources: Ollama's
docs/gpu.mdx at fb3076099 (0.33) and docs/gpu.md at v0.9.3; masks as the CUDA guide defines them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.era import NEWEST, Era, ServerVersion
from orchestrator.errors import InvalidInput
from orchestrator.machine import Accelerator, RuntimeKind

EMBEDDED = "the embedded runtime runs on the CPU only; install Ollama's release to use this GPU"
_NO_BACKEND = {
    "intel": "Ollama uses Intel GPUs through Vulkan only, from 0.30 on and where a Vulkan driver is"
    " installed: planned as a CPU",
    "ascend": "Ollama has no backend for Ascend NPUs; vLLM-Ascend or MindIE use them",
    "other": "Ollama has no backend for this vendor's accelerators",
}
# The architectures that the ROCm 7 build is compiled for (0.30 and later).
_ROCM7 = frozenset({
    "gfx908", "gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1101", "gfx1102", "gfx1150",
    "gfx1151", "gfx1200", "gfx1201",
})  # fmt: skip


def judged(
    accelerators: Sequence[Accelerator],
    *,
    server_version: str | None,
    server_runtime: RuntimeKind | None = None,
    visible_devices: str | None = None,
) -> tuple[Accelerator, ...]:
    """Return the accelerators with `usable` and `unusable_reason` set for this server.

    One that is unusable already (lost, or split into MIG slices) stays so. Of several MIG slices
    only the largest stays usable: CUDA gives a process one slice.
    """
    found = tuple(
        _marked(
            each,
            usability(
                each,
                server_version=server_version,
                server_runtime=server_runtime,
                visible_devices=visible_devices,
                among=accelerators,
            ),
        )
        for each in accelerators
    )
    slices = [a for a in found if a.usable and _is_slice(a)]
    best = max(slices, key=lambda a: a.memory_free_bytes or 0, default=None)
    reason = f"CUDA gives a process one MIG slice, and {best.uuid} has more free" if best else ""
    one = tuple(_marked(a, reason) if a in slices and a is not best else a for a in found)
    return _of_one_vendor(one)


def _of_one_vendor(found: Sequence[Accelerator]) -> tuple[Accelerator, ...]:
    """Leave usable the devices of the vendor that has most memory free: a model runs on one
    library, which is one vendor's.
    """
    free: dict[str, int] = {}
    for each in found:
        if each.usable:
            free[each.vendor] = free.get(each.vendor, 0) + (each.memory_free_bytes or 0)
    if len(free) < 2:
        return tuple(found)
    best = max(free, key=lambda vendor: free[vendor])
    reason = f"a model runs on GPUs of one vendor, and those of {best} have more memory free"
    return tuple(a if a.vendor == best else _marked(a, reason) for a in found)


def usability(
    accelerator: Accelerator,
    *,
    server_version: str | None,
    server_runtime: RuntimeKind | None = None,
    visible_devices: str | None = None,
    among: Sequence[Accelerator] = (),
) -> str | None:
    """Return why the server cannot run a model on it, or None if it can.

    `server_version` None is judged as the newest era, the strictest. `visible_devices` is the
    server's CUDA_VISIBLE_DEVICES; `among` are all accelerators of the box, which tell where that
    list stops being valid. What is unknown (capability, driver) is not held against a device.
    """
    if server_runtime == "embedded":
        return EMBEDDED
    if not _has_memory(accelerator):
        return "the driver would not tell how much memory it has"
    if accelerator.memory_total_bytes == 0:
        return "it has no memory"
    newest = _newest_era(server_version)
    if accelerator.vendor == "nvidia":
        return _nvidia(accelerator, visible_devices, among or (accelerator,), newest=newest)
    if accelerator.vendor == "amd":
        return _amd(accelerator, newest=newest)
    return _NO_BACKEND.get(accelerator.vendor)


def _nvidia(
    gpu: Accelerator, mask: str | None, among: Sequence[Accelerator], *, newest: bool
) -> str | None:
    capability = _numbers(gpu.compute_capability)
    if capability and capability < (5, 0):
        return f"compute capability {gpu.compute_capability} is below 5.0, which Ollama needs"
    driver, least = _numbers(gpu.driver), _least_driver(capability, newest=newest)
    if driver and driver[0] < least:
        card = f" for compute capability {gpu.compute_capability}" if least == 570 else ""
        return f"driver {gpu.driver} is too old: Ollama needs {least} or newer{card}"
    if mask is not None and gpu not in visible(mask, among):
        return f"the server's CUDA_VISIBLE_DEVICES={mask!r} leaves it out"
    return None


def _least_driver(capability: tuple[int, ...], *, newest: bool) -> int:
    if not newest:
        return 531
    return 570 if capability and capability <= (6, 2) else 550


def _amd(gpu: Accelerator, *, newest: bool) -> str | None:
    if newest and gpu.gfx is not None and gpu.gfx not in _ROCM7:
        return f"{gpu.gfx} is not among the architectures of Ollama's ROCm 7 build"
    return None


def visible(mask: str, accelerators: Iterable[Accelerator]) -> tuple[Accelerator, ...]:
    """Return the NVIDIA devices that CUDA_VISIBLE_DEVICES shows, in its order.

    Items are an index, the start of a GPU's UUID or a slice's MIG UUID; the first item that names
    no device ends the list ("", "-1" and "none" show nothing). CUDA numbers devices fastest first
    unless CUDA_DEVICE_ORDER says PCI_BUS_ID and NVML by PCI bus: on a box with unlike cards an
    index may mean another card, so masks of ours always use UUIDs.
    """
    cards = [a for a in accelerators if a.vendor == "nvidia"]
    shown: list[Accelerator] = []
    for item in mask.split(","):
        named = _named(item.strip(), cards)
        if named is None or named in shown:
            break
        shown.append(named)
    return tuple(shown)


def _named(item: str, cards: Sequence[Accelerator]) -> Accelerator | None:
    if re.fullmatch(r"\d+", item):
        return next((a for a in cards if a.index == int(item) and not _is_slice(a)), None)
    if item.startswith("MIG-"):
        return next((a for a in cards if a.uuid == item), None)
    if not item.startswith("GPU-"):
        return None
    matches = [a for a in cards if a.uuid and a.uuid.startswith(item)]
    return matches[0] if len(matches) == 1 else None


def _marked(accelerator: Accelerator, reason: str | None) -> Accelerator:
    if not accelerator.usable or not reason:
        return accelerator
    return replace(accelerator, usable=False, unusable_reason=reason)


def _has_memory(accelerator: Accelerator) -> bool:
    return accelerator.unified_memory or accelerator.memory_total_bytes is not None


def _is_slice(accelerator: Accelerator) -> bool:
    return (accelerator.uuid or "").startswith("MIG-")


def _numbers(text: str | None) -> tuple[int, ...]:
    """Return the leading numbers of a dotted version, () where there are none."""
    found = re.match(r"\s*v?(\d+(?:\.\d+)*)", text or "")
    return tuple(map(int, found[1].split("."))) if found else ()


def _newest_era(version: str | None) -> bool:
    try:
        era = ServerVersion.parse(version or str(NEWEST)).era
    except InvalidInput:
        return True
    return era is Era.LLAMA_SERVER
