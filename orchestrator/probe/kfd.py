"""The devices that ROCm numbers: the nodes of its kernel driver's topology in sysfs."""

from dataclasses import dataclass

from orchestrator.probe.pci import PciDevice
from orchestrator.probe.sight import Sight, whole

_NODES = "/sys/class/kfd/kfd/topology/nodes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A GPU, or a partition of one. `gfx` is its architecture, such as "gfx1100"."""

    gfx: str | None
    render_minor: int | None
    address: str | None


def gpu_nodes(sight: Sight) -> tuple[Node, ...]:
    """Return the GPUs in the order in which ROCm counts them from 0.

    In a container those that its device rules keep from it cannot be read, and are not counted.
    """
    numbers = sorted(n for n in map(whole, sight.names(_NODES)) if n is not None)
    read = (_properties(sight.text(f"{_NODES}/{n}/properties")) for n in numbers)
    return tuple(_node(p) for p in read if p.get("gfx_target_version") or p.get("simd_count"))


def nodes_of(
    device: PciDevice, minors: frozenset[int], nodes: tuple[Node, ...]
) -> tuple[tuple[int, Node], ...]:
    """Return the nodes that are this device, each with its number."""
    return tuple(
        (number, node)
        for number, node in enumerate(nodes)
        if node.render_minor in minors or node.address == device.address
    )


def _properties(text: str) -> dict[str, int]:
    rows = (line.split(" ", 1) for line in text.splitlines() if " " in line)
    numbers = ((key, whole(value)) for key, value in rows)
    return {key: number for key, number in numbers if number is not None and number >= 0}


def _node(properties: dict[str, int]) -> Node:
    return Node(
        gfx=_gfx(properties.get("gfx_target_version", 0)),
        render_minor=properties.get("drm_render_minor"),
        address=_address(properties.get("domain", 0), properties.get("location_id", 0)),
    )


def _gfx(version: int) -> str | None:
    """Return the name of an architecture: 110501 is 11.5.1, and the last two are hexadecimal."""
    major, minor, stepping = version // 10000, version // 100 % 100, version % 100
    if not 0 < major < 100 or minor > 15 or stepping > 15:
        return None
    return f"gfx{major}{minor:x}{stepping:x}"


def _address(domain: int, location: int) -> str | None:
    if not location:
        return None
    bus, slot, function = location >> 8 & 0xFF, location >> 3 & 0x1F, location & 7
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function}"
