"""Which accelerators a given Ollama server can run a model on, and in a sentence why not.

Pure: the probe uses it on what it read, and `--machine` files that do not say. Sources: Ollama's
docs/gpu.mdx at fb3076099 (0.33) and docs/gpu.md at v0.9.3; its CMakePresets.json for what the ROCm
builds are compiled for; masks as the CUDA guide defines them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.era import NEWEST, Era, ServerVersion
from orchestrator.errors import InvalidInput
from orchestrator.fault import Fault
from orchestrator.machine import Accelerator, RuntimeKind, ServerState

EMBEDDED = Fault(
    "the embedded runtime runs on the CPU only",
    "`deploy runtime install --from release`, then `deploy runtime stop` and `start`: that uses it",
)
NO_BACKEND = {
    "intel": Fault(
        "Ollama uses Intel GPUs through Vulkan only, from 0.30 on and where a Vulkan driver is"
        " installed: planned as a CPU",
        "install a Vulkan driver and a server that is new enough, which may then use it",
    ),
    "ascend": Fault(
        "Ollama has no backend for Ascend NPUs", "use vLLM-Ascend or MindIE, which serve them"
    ),
    "other": Fault("Ollama has no backend for this vendor's accelerators"),
}
"""Why accelerators of a vendor are told and not planned for."""
_JETSON = frozenset({(7, 2), (8, 7)})  # Xavier and Orin; Thor has the common driver
# The architectures that each ROCm build is compiled for, by the first version that had it.
_GFX = frozenset({
    "gfx908", "gfx90a", "gfx942", "gfx1030", "gfx1100", "gfx1101", "gfx1102", "gfx1151", "gfx1200",
    "gfx1201",
})  # fmt: skip
_ROCM6 = _GFX | {"gfx940", "gfx941", "gfx1010", "gfx1012"}
_ROCM7 = _GFX | {"gfx950", "gfx1150"}
_ROCM: tuple[tuple[str, int, frozenset[str]], ...] = (
    ("0.30.0", 7, _ROCM7),
    ("0.18.0", 7, _ROCM7 | {"gfx1010", "gfx1012", "gfx1103"}),
    ("0.12.11", 6, _ROCM6),
    ("0.0.1", 6, _ROCM6 | {"gfx900", "gfx906"}),
)
_UNMASK = "take the variable out of the server's environment, if that is not meant"
# Of the integrated GPUs of AMD the one that Ollama uses without being told to.
_STRIX_HALO = "gfx1151"
_MI300 = "gfx942"  # where it shares the host's memory (MI300A) it is no small GPU beside a CPU


def judged_for(server: ServerState, accelerators: Sequence[Accelerator]) -> tuple[Accelerator, ...]:
    """Return the accelerators as this server, by its version and settings, can use them."""
    settings = server.settings
    return judged(
        accelerators,
        server_version=server.version,
        server_runtime=server.runtime,
        visible_devices=settings.visible_devices,
        amd_visible_devices=settings.amd_visible_devices,
        gfx_override=settings.gfx_override,
        igpu_enable=settings.igpu_enable,
    )


def judged(
    accelerators: Sequence[Accelerator],
    *,
    server_version: str | None,
    server_runtime: RuntimeKind | None = None,
    visible_devices: str | None = None,
    amd_visible_devices: str | None = None,
    gfx_override: str | None = None,
    igpu_enable: bool | None = None,
) -> tuple[Accelerator, ...]:
    """Return the accelerators with `usable`, its reason and remedy set for this server.

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
                amd_visible_devices=amd_visible_devices,
                gfx_override=gfx_override,
                igpu_enable=igpu_enable,
                among=accelerators,
            ),
        )
        for each in accelerators
    )
    slices = [a for a in found if a.usable and _is_slice(a)]
    best = max(slices, key=lambda a: a.memory_free_bytes or 0, default=None)
    if best is None:
        return _of_one_vendor(found)
    second = Fault(f"CUDA gives a process one MIG slice, and {best.uuid} has more free")
    return _of_one_vendor(
        [_marked(a, second) if a in slices and a is not best else a for a in found]
    )


def _of_one_vendor(found: Sequence[Accelerator]) -> tuple[Accelerator, ...]:
    """Leave usable the devices of the vendor that has most memory free: a model runs on one
    library, which is one vendor's. Shared memory of the host counts only where none has its own.
    """
    usable = [a for a in found if a.usable]
    own = [a for a in usable if not a.unified_memory]
    free: dict[str, int] = {}
    for each in own or usable:
        free[each.vendor] = free.get(each.vendor, 0) + (each.memory_free_bytes or 0)
    if len({a.vendor for a in usable}) < 2:
        return tuple(found)
    best = max(free, key=lambda vendor: free[vendor])

    def second(vendor: str) -> Fault:
        what = "have more memory free" if vendor in free else "have memory of their own"
        return Fault(f"a model runs on GPUs of one vendor, and those of {best} {what}")

    return tuple(a if a.vendor == best else _marked(a, second(a.vendor)) for a in found)


def usability(
    accelerator: Accelerator,
    *,
    server_version: str | None,
    server_runtime: RuntimeKind | None = None,
    visible_devices: str | None = None,
    amd_visible_devices: str | None = None,
    gfx_override: str | None = None,
    igpu_enable: bool | None = None,
    among: Sequence[Accelerator] = (),
) -> Fault | None:
    """Return why the server cannot run a model on it, or None if it can.

    `server_version` None is judged as the newest era, the strictest. `visible_devices` is the
    server's CUDA_VISIBLE_DEVICES, `amd_visible_devices` its ROCR_ or HIP_VISIBLE_DEVICES; `among`
    are all accelerators of the box, which tell where that list stops being valid. `gfx_override` is
    its HSA_OVERRIDE_GFX_VERSION, `igpu_enable` its OLLAMA_IGPU_ENABLE. What is unknown (capability,
    architecture, driver) is not held against a device.
    """
    if accelerator.vendor in NO_BACKEND:
        return NO_BACKEND[accelerator.vendor]
    # What no server could use comes first: for that card no other runtime is a remedy.
    if fault := _without_memory(accelerator) or _too_old(accelerator):
        return fault
    if server_runtime == "embedded":
        return EMBEDDED
    among = among or (accelerator,)
    newest = _newest_era(server_version)
    if accelerator.vendor == "nvidia":
        return _nvidia(accelerator, visible_devices, among, newest=newest)
    if accelerator.vendor != "amd":
        return None
    return (
        _masked(accelerator, amd_visible_devices, among)
        or _integrated(accelerator, enable=igpu_enable, newest=newest)
        or _no_kernels(accelerator, server_version, gfx_override)
    )


def _too_old(gpu: Accelerator) -> Fault | None:
    capability = _numbers(gpu.compute_capability) if gpu.vendor == "nvidia" else ()
    if not capability or capability >= (5, 0):
        return None
    return Fault(f"compute capability {gpu.compute_capability} is below 5.0, which Ollama needs")


def _nvidia(
    gpu: Accelerator, mask: str | None, among: Sequence[Accelerator], *, newest: bool
) -> Fault | None:
    capability = _numbers(gpu.compute_capability)
    driver, least = _numbers(gpu.driver), _least_driver(capability, newest=newest)
    # A Jetson's driver has numbers of its own (540 with JetPack 6), and Ollama builds for it.
    if driver and driver[0] < least and capability not in _JETSON:
        card = f" for compute capability {gpu.compute_capability}" if least == 570 else ""
        what = f"driver {gpu.driver} is too old: Ollama needs {least} or newer{card}"
        return Fault(what, f"upgrade the driver to {least} or newer")
    if mask is not None and gpu not in visible(mask, among):
        return Fault(f"the server's CUDA_VISIBLE_DEVICES={mask!r} leaves it out", _UNMASK)
    return None


def _least_driver(capability: tuple[int, ...], *, newest: bool) -> int:
    if not newest:
        return 531
    return 570 if capability and capability <= (6, 2) else 550


def _masked(gpu: Accelerator, mask: str | None, among: Sequence[Accelerator]) -> Fault | None:
    if mask is None or gpu in amd_visible(mask, among):
        return None
    return Fault(f"the server's ROCR_ or HIP_VISIBLE_DEVICES={mask!r} leaves it out", _UNMASK)


def _integrated(gpu: Accelerator, *, enable: bool | None, newest: bool) -> Fault | None:
    """Return why a GPU inside a processor is left to the CPU."""
    if not gpu.unified_memory or gpu.gfx in (None, _MI300):
        return None
    if not newest:
        return Fault(
            "an integrated GPU, of whose memory Ollama counts before 0.30 only what the firmware"
            " set aside: planned as a CPU"
        )
    if gpu.gfx == _STRIX_HALO if enable is None else enable:
        return None
    return Fault(
        "Ollama leaves integrated GPUs out unless its server has OLLAMA_IGPU_ENABLE=1",
        "start the server with it, if this one is to be used",
    )


def _no_kernels(gpu: Accelerator, version: str | None, override: str | None) -> Fault | None:
    """Return why ROCm has no kernels for it; the override is taken for what the GPU is."""
    server = _version(version)
    if override and server.era is Era.ESTIMATE:
        return None  # whatever it names: these versions then check nothing
    gfx = _overridden(override) or gpu.gfx
    rocm, built = next((r, b) for least, r, b in _ROCM if ServerVersion.parse(least) <= server)
    if gfx is None or gfx in built:
        return None
    related = gfx.startswith("gfx103")
    return Fault(
        f"{gfx} is not among the architectures of Ollama's ROCm {rocm} build",
        "start the server with HSA_OVERRIDE_GFX_VERSION=10.3.0, which may make it run"
        if related
        else None,
    )


def _overridden(override: str | None) -> str | None:
    """Return the architecture that "10.3.0" or "gfx1030" names; None: it names none."""
    text = (override or "").strip()
    if re.fullmatch(r"gfx[1-9][0-9a-f]{2,3}", text):
        return text
    found = re.fullmatch(r"([1-9][0-9]?)\.([0-9]|1[0-5])\.([0-9]|1[0-5])", text)
    return f"gfx{found[1]}{int(found[2]):x}{int(found[3]):x}" if found else None


def amd_visible(mask: str, accelerators: Iterable[Accelerator]) -> tuple[Accelerator, ...]:
    """Return the AMD devices that ROCR_ or HIP_VISIBLE_DEVICES shows, in its order.

    Items are an index in ROCm's order or the start of a UUID; the first that names no device ends
    the list, so that "" and "-1" show nothing.
    """
    cards = [a for a in accelerators if a.vendor == "amd"]
    shown: list[Accelerator] = []
    for item in (each.strip() for each in mask.split(",")):
        named = [a for a in cards if item == str(a.index)]
        if item.startswith("GPU-"):
            named = [a for a in cards if a.uuid and a.uuid.startswith(item)]
        if len(named) != 1 or named[0] in shown:
            break
        shown += named
    return tuple(shown)


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
    if re.fullmatch(r"[0-9]{1,9}", item):
        numbered = (a for a in cards if not _is_slice(a) and not _only_on_the_bus(a))
        return next((a for a in numbered if a.index == int(item)), None)
    if item.startswith("MIG-"):
        return next((a for a in cards if a.uuid == item), None)
    if not item.startswith("GPU-"):
        return None
    matches = [a for a in cards if a.uuid and a.uuid.startswith(item)]
    return matches[0] if len(matches) == 1 else None


def _marked(accelerator: Accelerator, fault: Fault | None) -> Accelerator:
    if not accelerator.usable or fault is None:
        return accelerator
    return replace(accelerator, usable=False, unusable_reason=fault.text, remedy=fault.remedy)


def _without_memory(accelerator: Accelerator) -> Fault | None:
    if not accelerator.unified_memory and accelerator.memory_total_bytes is None:
        return Fault("the driver would not tell how much memory it has")
    return Fault("it has no memory") if accelerator.memory_total_bytes == 0 else None


def _is_slice(accelerator: Accelerator) -> bool:
    return (accelerator.uuid or "").startswith("MIG-")


def _only_on_the_bus(gpu: Accelerator) -> bool:
    """Say whether the driver does not list a card: then no server can name it by an index."""
    return not gpu.usable and gpu.pci is not None and gpu.uuid is None and gpu.driver is None


def _numbers(text: str | None) -> tuple[int, ...]:
    """Return the leading numbers of a dotted version, () where there are none."""
    found = re.match(r"\s*v?([0-9]{1,9}(?:\.[0-9]{1,9})*)", text or "")
    return tuple(map(int, found[1].split("."))) if found else ()


def _newest_era(version: str | None) -> bool:
    return _version(version).era is Era.LLAMA_SERVER


def _version(text: str | None) -> ServerVersion:
    """Return a version; one that is not known, or not readable, is taken for the newest."""
    try:
        return ServerVersion.parse(text or str(NEWEST))
    except InvalidInput:
        return NEWEST
