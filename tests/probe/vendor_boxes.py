"""Captured boxes with accelerators of AMD, Intel, Apple, Huawei and others, by name.

sysfs as amdgpu, amdkfd, xe and i915 write it; `npu-smi` as versions 24 and 25 print it for 910B3,
310P3 and 910C (tables and usages in public issues of vllm-ascend, nvtop and GPUStack); `sysctl` as
macOS 14 and 15 print it.
"""

from collections.abc import Callable
from typing import Any

from tests.probe.boxes import Box

GIB, MIB = 2**30, 2**20
_KFD = "/sys/class/kfd/kfd/topology/nodes"
_RULE = (
    "+===========================+===============+=============================================+"
)


def pci(box: Box, address: str, ids: str, driver: str | None = None, **files: Any) -> str:
    """Plug a device in: `ids` are class, vendor, device, revision. Return its folder."""
    folder = f"/sys/bus/pci/devices/{address}"
    for name, text in zip(("class", "vendor", "device", "revision"), ids.split(), strict=False):
        box.file(f"{folder}/{name}", f"{text}\n")
    if driver:
        box.link(f"{folder}/driver", f"../../../../bus/pci/drivers/{driver}")
    for name, value in files.items():
        box.file(f"{folder}/{name}", f"{value}\n")
    return folder


def kfd(box: Box, *nodes: str) -> None:
    """Write ROCm's topology: the processor, then a node each of "version minor location"."""
    box.file(f"{_KFD}/0/properties", "cpu_cores_count 16\nsimd_count 0\ngfx_target_version 0\n")
    for number, node in enumerate(nodes, 1):
        version, minor, location = node.split()
        box.file(
            f"{_KFD}/{number}/properties",
            f"cpu_cores_count 0\nsimd_count 96\ngfx_target_version {version}\nvendor_id 4098\n"
            f"location_id {location}\ndomain 0\ndrm_render_minor {minor}\n",
        )


def opened(box: Box, *minors: int, mode: str = "0660 0 109") -> None:
    """Make the devices that ROCm opens."""
    box.answer("stat /dev/kfd", mode)
    for minor in minors:
        box.answer(f"stat /dev/dri/renderD{minor}", mode)


def amd(box: Box, address: str, ids: str, minor: int, vram: int, gtt: int, **files: Any) -> str:
    """Plug a GPU with amdgpu in."""
    memory = {
        "mem_info_vram_total": vram,
        "mem_info_vram_used": 100 * MIB,
        "mem_info_gtt_total": gtt,
        "mem_info_gtt_used": 50 * MIB,
        "max_link_speed": "16.0 GT/s PCIe",
        "max_link_width": 16,
    }
    folder = pci(box, address, ids, "amdgpu", **(memory | files))
    box.file(f"{folder}/drm/renderD{minor}/dev", f"226:{minor}\n")
    return folder


def rx_7900_xtx(box: Box) -> None:
    card = {"mem_info_vram_vendor": "hynix", "unique_id": "8c6b1d8a2f3e4d5c"}
    ids = "0x030000 0x1002 0x744c 0xc8"
    amd(box, "0000:03:00.0", ids, 128, 25753026560, 16 * GIB, **card)
    box.answer("pci-name 1002:744c:c8", "AMD Radeon RX 7900 XTX")
    box.file("/sys/module/amdgpu/version", "6.12.12\n")
    kfd(box, "110000 128 768")
    opened(box, 128)


def two_mi300x(box: Box) -> None:
    # The bus has them the other way round than ROCm.
    for address, minor in (("0000:75:00.0", 129), ("0000:05:00.0", 128)):
        ids = "0x120000 0x1002 0x74a1 0x00"
        facts = {"unique_id": f"{minor:x}", "product_name": "AMD Instinct MI300X OAM"}
        board = {"board_info": "type : oam"}
        amd(box, address, ids, minor, 206141652992, 504 * GIB, **facts, **board)
    kfd(box, "90402 129 29952", "90402 128 1280")
    opened(box, 128, 129)


def rx_6700_xt(box: Box) -> None:
    ids = "0x030000 0x1002 0x73df 0xc1"
    amd(box, "0000:0b:00.0", ids, 128, 12 * GIB, 16 * GIB, mem_info_vram_vendor="samsung")
    box.answer("pci-name 1002:73df:c1", "AMD Radeon RX 6700 XT")
    kfd(box, "100301 128 2816")
    opened(box, 128)


def ryzen_7840u(box: Box) -> None:
    ids = "0x030000 0x1002 0x15bf 0xc4"
    amd(box, "0000:c1:00.0", ids, 128, 512 * MIB, 15 * GIB)
    box.answer("pci-name 1002:15bf", "Phoenix1")
    kfd(box, "110003 128 49408")
    opened(box, 128)


def strix_halo(box: Box, vram: int = 512 * MIB, gtt: int = 62 * GIB) -> None:
    ids = "0x038000 0x1002 0x1586 0xc1"
    amd(box, "0000:c3:00.0", ids, 128, vram, gtt, mem_info_vram_vendor="unknown")
    box.answer("pci-name 1002:1586:c1", "AMD Radeon 8060S Graphics")
    kfd(box, "110501 128 49920")
    opened(box, 128)


def mi300a(box: Box) -> None:
    ids = "0x120000 0x1002 0x74a0 0x00"
    amd(box, "0000:01:00.0", ids, 128, 128 * GIB, 64 * GIB)
    box.answer("pci-name 1002:74a0:00", "AMD Instinct MI300A")
    kfd(box, "90402 128 256")
    opened(box, 128)


def container_without_kfd(box: Box) -> None:
    ids = "0x030000 0x1002 0x744c 0xc8"
    amd(box, "0000:03:00.0", ids, 128, 25753026560, 16 * GIB, mem_info_vram_vendor="hynix")
    box.answer("pci-name 1002:744c", "Navi 31 [Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M]")
    kfd(box)


def arc_a770_i915(box: Box) -> None:
    pci(box, "0000:00:02.0", "0x030000 0x8086 0xa780", "i915")
    folder = pci(box, "0000:03:00.0", "0x030000 0x8086 0x56a0", "i915", max_link_width=1)
    box.file(f"{folder}/drm/card1/lmem_total_bytes", f"{16 * GIB}\n")


def arc_a770_xe(box: Box) -> None:
    folder = pci(box, "0000:03:00.0", "0x030000 0x8086 0x56a0", "xe")
    box.file(f"{folder}/tile0/physical_vram_size_bytes", f"{16 * GIB}\n")
    box.answer("pci-name 8086:56a0", "DG2 [Arc A770]")


def max_1550(box: Box) -> None:
    folder = pci(box, "0000:29:00.0", "0x038000 0x8086 0x0bd5", "xe")
    for tile in (0, 1):
        box.file(f"{folder}/tile{tile}/physical_vram_size_bytes", f"{64 * GIB}\n")


def intel_igpu(box: Box) -> None:
    pci(box, "0000:00:02.0", "0x030000 0x8086 0x9a49", "i915")
    # The neural processor beside it is no GPU, and the management chip of a server neither.
    pci(box, "0000:00:0b.0", "0x120000 0x8086 0x7d1d", "intel_vpu")
    box.answer("pci-name 8086:9a49", "TigerLake-LP GT2 [Iris Xe Graphics]")


def mac(box: Box, chip: str, memory: int, limit_mib: int = 0, extra: str = "") -> None:
    box.answer("uname", "Darwin arm64")
    box.answer(
        "sysctl",
        f"hw.memsize: {memory}\niogpu.wired_limit_mb: {limit_mib}\n"
        f"machdep.cpu.brand_string: {chip}\nsysctl.proc_translated: 0\n{extra}",
    )


def m4_max(box: Box) -> None:
    mac(box, "Apple M4 Max", 128 * GIB, limit_mib=120000)
    box.answer("ioreg", '+-o AGXAcceleratorG16X\n  {\n    "gpu-core-count" = 40\n  }\n')


def rosetta(box: Box) -> None:
    mac(box, "Apple M2 Max", 96 * GIB)
    box.answer("uname", "Darwin x86_64")
    box.answer(
        "sysctl",
        f"hw.memsize: {96 * GIB}\nmachdep.cpu.brand_string: Apple M2 Max\n"
        "sysctl.proc_translated: 1\n",
    )


def intel_mac(box: Box) -> None:
    box.answer("uname", "Darwin x86_64")
    brand = "Intel(R) Core(TM) i9-9880H CPU @ 2.30GHz"
    box.answer("sysctl", f"hw.memsize: {32 * GIB}\nmachdep.cpu.brand_string: {brand}\n")


def table(*rows: str) -> str:
    """Return what `npu-smi info` prints around the rows of its chips."""
    head = (
        "| npu-smi 24.1.0                   Version: 24.1.0                                     |",
        "+---------------------------+---------------+-----------------------------------------+",
        "| NPU   Name                | Health        | Power(W)  Temp(C)  Hugepages-Usage(page) |",
        "| Chip  Phy-ID              | Bus-Id        | AICore(%) Memory-Usage(MB) HBM-Usage(MB) |",
    )
    tail = (
        _RULE,
        "| NPU     Chip              | Process id    | Process name   | Process memory(MB)      |",
        _RULE,
        "| 0       0                 | 111           | python         | 37974                   |",
        "| No running processes found in NPU 7                                                 |",
    )
    return "\n".join((*head, _RULE, *rows, *tail)) + "\n"


def _chip(npu: int, name: str, second: str, bus: str, usage: str) -> tuple[str, str]:
    return (
        f"| {npu:<5} {name:<19} | OK            | 94.3        53                0    / 0 |",
        f"| {second:<25} | {bus}  | 0           {usage}         |",
    )


def _nodes(box: Box, count: int, device: str, buses: list[str]) -> None:
    for number in range(count):
        box.file(f"/dev/davinci{number}", "")
    box.file("/dev/davinci_manager", "")
    for bus in buses:
        pci(box, bus, f"0x120000 0x19e5 {device}", "devdrv_device_driver")
    pci(box, "0000:07:00.0", "0x030000 0x19e5 0x1711", "hibmc-drm")


def ascend_910b(box: Box) -> None:
    buses = [f"0000:{b}:00.0" for b in ("c1", "c2", "81", "82", "01", "02", "41", "42")]
    _nodes(box, 8, "0xd802", buses)
    rows = (
        _chip(n, "910B3", "0", bus.upper(), f"0    / 0          {4487 + n} / 65536")
        for n, bus in enumerate(buses)
    )
    box.answer("npu-smi info", table(*(line for pair in rows for line in pair)))


def ascend_310p(box: Box) -> None:
    _nodes(box, 4, "0xd500", ["0000:01:00.0", "0000:02:00.0"])
    first = _chip(2, "310P3", "0       0", "0000:01:00.0", "1529 / 44280")
    second = _chip(2, "310P3", "1       1", "0000:01:00.0", "1412 / 43693")
    third = _chip(32768, "310P3", "0       2", "0000:02:00.0", "0 / 0   0 / 0")
    fourth = _chip(32768, "310P3", "1       3", "0000:02:00.0", "19435/ 21527")
    box.answer("npu-smi info", table(*first, *second, *third, *fourth))
    chips = ((44280, 3, 0), (43693, 50, 1))
    usages = "".join(
        f"\tDDR Capacity(MB)               : {size}\n\tDDR Usage Rate(%)              : {rate}\n"
        f"\tAicore Usage Rate(%)           : 0\n\tChip ID                        : {chip}\n\n"
        for size, rate, chip in chips
    )
    head = "\tNPU ID                         : 32768\n\tChip Count                     : 2\n\n"
    box.answer("npu-smi info -t usages -i 32768", head + usages)


def ascend_910c(box: Box) -> None:
    buses = ["0000:9d:00.0", "0000:9f:00.0", "0000:99:00.0", "0000:9b:00.0"]
    _nodes(box, 4, "0xd803", buses)
    rows = (
        _chip(n // 2, "Ascend910", f"{n % 2}     {n}", bus.upper(), f"0    / 0    {used} / 65536")
        for n, (bus, used) in enumerate(zip(buses, (3416, 3195, 3415, 2886), strict=True))
    )
    box.answer("npu-smi info", table(*(line for pair in rows for line in pair)))


def ascend_without_table(box: Box) -> None:
    """A version whose table is not understood: the lists of one value a line are."""
    _nodes(box, 2, "0xd802", ["0000:c1:00.0", "0000:c2:00.0"])
    box.answer("npu-smi info", "a table of another shape\n")
    ids = "".join(f"\tNPU ID                         : {n}\n\tProduct Name : x\n" for n in (0, 3))
    box.answer("npu-smi info -l", f"\tTotal Count                    : 2\n\n{ids}")
    for npu in (0, 3):
        box.answer(
            f"npu-smi info -t usages -i {npu}",
            f"\tNPU ID                         : {npu}\n\tChip Count                     : 1\n\n"
            "\tDDR Capacity(MB)               : 15171\n\tDDR Usage Rate(%)              : 3\n"
            "\tHBM Capacity(MB)               : 65536\n\tHBM Usage Rate(%)              : 25\n"
            "\tChip ID                        : 0\n",
        )


def ascend_hangs(box: Box) -> None:
    _nodes(box, 2, "0xd802", ["0000:c1:00.0", "0000:c2:00.0"])
    box.answer("npu-smi info", "fault: npu-smi did not answer within 10 s")


def ascend_without_right(box: Box) -> None:
    _nodes(box, 2, "0xd802", ["0000:c1:00.0", "0000:c2:00.0"])
    box.answer(
        "npu-smi info",
        "DrvMngGetConsoleLogLevel failed. (ret=4)\ndcmi module initialize failed. ret is -8005\n",
    )
    box.answer("npu-smi info -l", "dcmi module initialize failed. ret is -8005\n")


def hygon(box: Box) -> None:
    pci(box, "0000:05:00.0", "0x038000 0x1d94 0x6211", "hydcu")
    pci(box, "0000:06:00.0", "0x038000 0x1d94 0x62b7", "hydcu")
    pci(box, "0000:00:01.0", "0x060400 0x1d94 0x1453")
    pci(box, "0000:09:00.0", "0x030000 0x1a03 0x2000", "ast")
    box.answer("pci-name 1d94:6211", "K100_AI")


def virtual_display(box: Box) -> None:
    for number, ids in enumerate((
        "0x030000 0x1a03 0x2000",  # ASPEED
        "0x030000 0x102b 0x0538",  # Matrox
        "0x030000 0x1234 0x1111",  # QEMU
        "0x030000 0x15ad 0x0405",  # VMware
        "0x038000 0x1af4 0x1050",  # virtio
        "0x030000 0x19e5 0x1711",  # Huawei's management chip
    )):  # fmt: skip
        pci(box, f"0000:00:{number:02x}.0", ids)


BOXES: dict[str, Callable[[Box], None]] = {
    each.__name__: each
    for each in (
        rx_7900_xtx, two_mi300x, rx_6700_xt, ryzen_7840u, strix_halo, mi300a,
        container_without_kfd, arc_a770_i915, arc_a770_xe, max_1550, intel_igpu, m4_max, rosetta,
        intel_mac, ascend_910b, ascend_310p, ascend_910c, ascend_without_table, ascend_hangs,
        ascend_without_right, hygon, virtual_display,
    )
}  # fmt: skip
