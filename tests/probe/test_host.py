from pathlib import Path

import pytest

from orchestrator.machine import Host, NumaNode
from orchestrator.probe.cores import cpu_list
from orchestrator.probe.host import read_host
from orchestrator.probe.sight import Sight
from tests.probe.boxes import Box

GIB = 2**30
RYZEN = Path(__file__).parents[1] / "captured" / "ryzen-5950x"
CPUINFO = """processor\t: 0
model name\t: AMD Ryzen 9 5950X
flags\t\t: fpu sse4_2 avx avx2 fma f16c hypervisor

processor\t: 1
model name\t: other
"""
V2 = "35 23 0:30 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
V1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
CPUS = "/sys/devices/system/cpu"
APPLE = """hw.memsize: 38654705664
machdep.cpu.brand_string: Apple M3 Pro
hw.physicalcpu: 12
hw.logicalcpu: 12
hw.perflevel0.physicalcpu: 6
sysctl.proc_translated: 0
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_FP16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
hw.optional.AdvSIMD: 1
"""


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Four cores of two threads each: cpu0 and cpu4 share core 0."""
    box = Box(tmp_path)
    box.answer("uname", "Linux x86_64")
    box.file("/proc/cpuinfo", CPUINFO)
    box.file(f"{CPUS}/online", "0-7\n")
    box.file(f"{CPUS}/present", "0-7\n")
    for cpu in range(8):
        if cpu:  # the first cannot be switched off
            box.file(f"{CPUS}/cpu{cpu}/online", "1\n")
        box.file(f"{CPUS}/cpu{cpu}/topology/core_id", f"{cpu % 4}\n")
        box.file(f"{CPUS}/cpu{cpu}/topology/physical_package_id", "0\n")
    allow(box, "0-7")
    return box


def allow(box: Box, cpus: str, pid: int | str = "self") -> None:
    box.file(f"/proc/{pid}/status", f"Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t{cpus}\n")


def read(box: Box, pid: int | None = None) -> Host:
    return read_host(pid, box.sight, {})


def cores(host: Host) -> tuple[int | None, int | None, int | None]:
    return host.physical_cores, host.logical_cores, host.threads


def test_the_processor_and_its_threads(box: Box) -> None:
    host = read(box)
    assert (host.os, host.arch, host.cpu) == ("linux", "x86_64", "AMD Ryzen 9 5950X")
    assert cores(host) == (4, 8, 4)


def test_only_what_ggml_has_kernels_for(box: Box) -> None:
    assert read(box).isa == ("sse4_2", "avx", "f16c", "fma", "avx2")


def test_arm_writes_features(box: Box) -> None:
    box.file("/proc/cpuinfo", "processor : 0\nFeatures : fp asimd asimddp i8mm\n")
    box.file("/proc/device-tree/model", "NVIDIA Jetson AGX Orin\0")
    assert (read(box).cpu, read(box).isa) == (
        "NVIDIA Jetson AGX Orin",
        ("asimd", "asimddp", "i8mm"),
    )


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3,8\n", {0, 1, 2, 3, 8}),
        ("5", {5}),
        ("", set()),
        ("3-1", set()),
        ("²,-1,4-,1-2-3,6", {6}),
        ("8191-99999", {8191}),
        ("0-99999999999", set()),
    ],
)
def test_lists_of_processors(text: str, cpus: set[int]) -> None:
    assert cpu_list(text) == cpus


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        pytest.param("0,4", (1, 2, 1), id="two-threads-of-one-core"),
        pytest.param("0-1", (2, 2, 2), id="two-cores"),
        pytest.param("5", (1, 1, 1), id="one-thread"),
        pytest.param("0-127", (4, 8, 4), id="more-than-are-there"),
    ],
)
def test_cores_within_the_affinity_mask(
    box: Box, allowed: str, expected: tuple[int, int, int]
) -> None:
    allow(box, allowed)
    assert cores(read(box)) == expected


def test_the_affinity_is_that_of_the_server(box: Box) -> None:
    allow(box, "0-1", pid=4711)
    assert cores(read(box, 4711)) == (2, 2, 2)


def test_of_a_server_that_is_gone_our_own_affinity_is_told(box: Box) -> None:
    allow(box, "0-1")
    assert cores(read(box, 4712)) == (2, 2, 2)


def test_a_system_without_such_files_answers_by_the_affinity_it_told(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.answer("uname", "FreeBSD amd64")
    box.answer("affinity", "0,2,3")
    assert cores(read(box)) == (None, 3, 3)


def switch_off(box: Box, *cpus: int) -> None:
    box.file(f"{CPUS}/online", ",".join(str(n) for n in range(8) if n not in cpus))
    for cpu in cpus:
        box.file(f"{CPUS}/cpu{cpu}/online", "0\n")


def test_a_processor_that_is_switched_off_does_not_count(box: Box) -> None:
    switch_off(box, 4, 5, 6, 7)
    assert cores(read(box)) == (4, 4, 4)
    allow(box, "2-5")
    assert cores(read(box)) == (2, 2, 2)


def test_a_captured_box_that_kept_no_list_of_those_present_tells_those_online(box: Box) -> None:
    (box.root / f"{CPUS[1:]}/present").unlink()
    box.file(f"{CPUS}/online", "0-3\n")
    assert cores(read(box)) == (4, 4, 4)
    allow(box, "4-7")
    assert cores(read(box)) == (4, 4, 4)


@pytest.mark.parametrize(
    ("allowed", "quota", "told", "quota_binds"),
    [
        pytest.param("0-7", "max", None, False, id="all"),
        pytest.param("0-1", "max", 2, False, id="a-cpuset"),
        pytest.param("0-7", "250000", 2, True, id="a-quota"),
        pytest.param("0-2", "250000", 2, True, id="a-quota-within-a-cpuset"),
        pytest.param("0", "250000", 1, False, id="a-cpuset-within-a-quota"),
        pytest.param("0-7", "6400000", None, False, id="a-quota-above-the-box"),
    ],
)
def test_a_server_counts_the_box_and_is_told_where_it_may_use_less(
    box: Box, allowed: str, quota: str, told: int | None, *, quota_binds: bool
) -> None:
    allow(box, allowed)
    box.file("/proc/self/mountinfo", V2)
    box.file("/proc/self/cgroup", "0::/\n")
    box.file("/sys/fs/cgroup/cpu.max", f"{quota} 100000\n")
    host = read(box)
    assert (host.box_cores, host.told_threads, host.quota_binds) == (4, told, quota_binds)


def test_a_server_counts_no_core_that_is_switched_off(box: Box) -> None:
    switch_off(box, 3, 7)
    assert (read(box).box_cores, read(box).told_threads) == (3, None)


def test_a_server_counts_cores_that_the_scheduler_leaves_alone(box: Box) -> None:
    box.file(f"{CPUS}/isolated", "2-3,6-7\n")
    assert (read(box).box_cores, read(box).told_threads) == (4, 2)


@pytest.mark.parametrize(
    ("isolated", "expected"),
    [
        pytest.param("2-3,6-7", (2, 4, 2), id="some"),
        pytest.param("0-7", (4, 8, 4), id="all-that-the-server-was-given"),
        pytest.param("", (4, 8, 4), id="none"),
    ],
)
def test_the_scheduler_spreads_nothing_over_isolated_processors(
    box: Box, isolated: str, expected: tuple[int, int, int]
) -> None:
    box.file(f"{CPUS}/isolated", f"{isolated}\n")
    assert cores(read(box)) == expected


@pytest.mark.parametrize("allowed", ["4-7", "2-5"])
def test_numbers_of_processors_that_lxcfs_made_up_do_not_hide_those_allowed(
    box: Box, allowed: str
) -> None:
    allow(box, allowed)
    box.file(f"{CPUS}/online", "0-3\n")
    assert cores(read(box)) == (4, 4, 4)


def test_with_one_thread_a_core_all_of_them_count(box: Box) -> None:
    allow(box, "0-3")
    for cpu in range(4):
        box.file(f"{CPUS}/cpu{cpu}/topology/thread_siblings_list", f"{cpu}\n")
    assert cores(read(box)) == (4, 4, 4)


def test_cores_of_two_packages_are_told_apart(box: Box) -> None:
    for cpu in range(4, 8):
        box.file(f"{CPUS}/cpu{cpu}/topology/physical_package_id", "1\n")
    assert cores(read(box)) == (8, 8, 8)


def test_cores_of_arm_clusters_that_number_alike_are_told_apart(box: Box) -> None:
    for cpu in range(8):
        box.file(f"{CPUS}/cpu{cpu}/topology/thread_siblings_list", f"{cpu}\n")
    assert cores(read(box)) == (8, 8, 8)


@pytest.mark.parametrize("core", [None, "-1\n", "²\n"])
def test_without_a_topology_physical_cores_are_unknown_and_each_gets_a_thread(
    box: Box, core: str | None
) -> None:
    for cpu in range(8):
        path = box.root / f"{CPUS[1:]}/cpu{cpu}/topology/core_id"
        path.write_text(core) if core else path.unlink()
    assert cores(read(box)) == (None, 8, 8)


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        pytest.param("0-15", (12, 16, 4), id="both-kinds"),
        pytest.param("0-1,8-15", (9, 10, 1), id="one-fast-core"),
        pytest.param("8-15", (8, 8, 8), id="slow-ones-only"),
    ],
)
def test_of_two_kinds_of_cores_the_fast_get_the_threads(
    box: Box, allowed: str, expected: tuple[int, int, int]
) -> None:
    """Four fast cores of two threads, as Intel numbers them, and eight slow ones of one."""
    allow(box, allowed)
    box.file(f"{CPUS}/online", "0-15\n")
    box.file(f"{CPUS}/present", "0-15\n")
    box.file("/sys/devices/cpu_core/cpus", "0-7\n")
    box.file("/sys/devices/cpu_atom/cpus", "8-15\n")
    for cpu in range(16):
        pair = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}" if cpu < 8 else f"{cpu}"
        box.file(f"{CPUS}/cpu{cpu}/topology/thread_siblings_list", f"{pair}\n")
    assert cores(read(box)) == expected
    assert read(box).box_cores == 4


@pytest.mark.parametrize(
    ("quota", "granted", "expected"),
    [
        pytest.param("max 100000", None, (4, 8, 4), id="none"),
        pytest.param("200000 100000", 2000, (2, 2, 2), id="two-cores"),
        pytest.param("150000 100000", 1500, (2, 2, 1), id="a-part-of-a-core-is-no-thread"),
        pytest.param("250000 100000", 2500, (3, 3, 2), id="two-and-a-half"),
        pytest.param("5000 100000", 50, (1, 1, 1), id="less-than-a-core"),
        pytest.param("3200000 100000", 32000, (4, 8, 4), id="more-than-there-is"),
        pytest.param("² 100000", None, (4, 8, 4), id="no-number"),
        pytest.param("200000 0", None, (4, 8, 4), id="no-period"),
    ],
)
def test_a_cpu_quota_of_version_2(
    box: Box, quota: str, granted: int | None, expected: tuple[int, int, int]
) -> None:
    box.file("/proc/self/mountinfo", V2)
    box.file("/proc/self/cgroup", "0::/a/b\n")
    box.file("/sys/fs/cgroup/a/cpu.max", f"{quota}\n")
    box.file("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
    assert (read(box).cpu_quota, cores(read(box))) == (granted, expected)


def test_the_tightest_quota_on_the_way_up_binds(box: Box) -> None:
    box.file("/proc/self/mountinfo", V2)
    box.file("/proc/self/cgroup", "0::/a/b\n")
    box.file("/sys/fs/cgroup/a/cpu.max", "200000 100000\n")
    box.file("/sys/fs/cgroup/a/b/cpu.max", "400000 100000\n")
    assert read(box).cpu_quota == 2000


@pytest.mark.parametrize(
    ("quota", "granted", "expected"),
    [("-1", None, (4, 8, 4)), ("300000", 3000, (3, 3, 3)), ("50000", 500, (1, 1, 1))],
)
def test_a_cpu_quota_of_version_1(
    box: Box, quota: str, granted: int | None, expected: tuple[int, int, int]
) -> None:
    box.file("/proc/self/mountinfo", V1)
    box.file("/proc/self/cgroup", "2:cpu,cpuacct:/a\n")
    box.file("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", f"{quota}\n")
    box.file("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
    assert (read(box).cpu_quota, cores(read(box))) == (granted, expected)


def test_a_box_that_kept_nothing_leaves_everything_unknown(tmp_path: Path) -> None:
    assert read_host(None, Sight(tmp_path)) == Host(os="linux", arch="x86_64")


def test_numa_nodes_and_memory_that_no_processor_is_near_to(box: Box) -> None:
    nodes = {"node0": ("0-3", 64), "node2": ("4-7", 32), "node10": ("", 96), "node3": ("?", 1)}
    for name, (cpus, total) in nodes.items():
        number = name.removeprefix("node")
        meminfo = (
            f"Node {number} MemTotal: {total * 2**20} kB\nNode {number} MemFree: {2**20} kB\n"
            f"Node {number} Inactive(file): {2**20} kB\nNode {number} HugePages_Total: 0\n"
        )
        box.file(f"/sys/devices/system/node/{name}/cpulist", f"{cpus}\n")
        box.file(f"/sys/devices/system/node/{name}/meminfo", meminfo)
    box.file("/sys/devices/system/node/online", "0,2-3,10\n")
    assert read(box).numa == (
        NumaNode(index=0, cpus="0-3", total_bytes=64 * GIB, free_bytes=2 * GIB),
        NumaNode(index=2, cpus="4-7", total_bytes=32 * GIB, free_bytes=2 * GIB),
        NumaNode(index=10, cpus="", total_bytes=96 * GIB, free_bytes=2 * GIB),
    )


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("Linux version 5.15.153.1-microsoft-standard-WSL2 (root@x) (gcc) #1 SMP\n", "wsl2"),
        ("Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)\n", "wsl2"),
        ("Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)\n", None),
    ],
)
def test_the_virtual_machine_of_windows(box: Box, version: str, kind: str | None) -> None:
    box.file("/proc/version", version)
    assert read(box).virtualization == kind


@pytest.mark.parametrize(
    ("mark", "environ", "kind"),
    [
        pytest.param(None, {}, None, id="none"),
        pytest.param(".dockerenv", {}, "docker", id="docker"),
        pytest.param("run/.containerenv", {}, "podman", id="podman"),
        pytest.param(".dockerenv", {"KUBERNETES_SERVICE_HOST": "x"}, "kubernetes", id="kubernetes"),
        pytest.param(None, {"container": "lxc"}, "lxc", id="told-by-the-environment"),
    ],
)
def test_the_kind_of_container(
    box: Box, mark: str | None, environ: dict[str, str], kind: str | None
) -> None:
    if mark:
        box.file(mark, "")
    assert read_host(None, box.sight, environ).container == kind


def test_a_captured_box_tells_its_own_container_and_not_ours(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("container", "lxc")
    assert read_host(None, box.sight).container is None
    box.answer("container", "kubernetes")
    assert read_host(None, box.sight).container == "kubernetes"


def test_an_apple_processor_gives_threads_to_its_fast_cores(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.answer("uname", "Darwin arm64")
    box.answer("sysctl host", APPLE)
    assert read(box) == Host(
        os="darwin",
        arch="arm64",
        cpu="Apple M3 Pro",
        physical_cores=12,
        logical_cores=12,
        threads=6,
        box_cores=6,
        isa=("asimd", "asimddp", "asimdhp", "i8mm"),
    )


def test_a_translated_python_does_not_hide_the_apple_processor(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.answer("uname", "Darwin x86_64")
    box.answer("sysctl host", APPLE.replace("translated: 0", "translated: 1"))
    assert read(box).arch == "arm64"


def test_a_mac_of_intel(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.answer("uname", "Darwin x86_64")
    box.answer(
        "sysctl host",
        "machdep.cpu.brand_string: Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz\nhw.physicalcpu: 6\n"
        "hw.logicalcpu: 12\nhw.optional.sse4_2: 1\nhw.optional.avx1_0: 1\nhw.optional.f16c: 1\n"
        "hw.optional.fma: 1\nhw.optional.avx2_0: 1\nhw.optional.bmi2: 1\nhw.optional.avx512f: 0\n",
    )
    assert cores(read(box)) == (6, 12, 6)
    assert read(box).isa == ("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2")


def test_a_mac_whose_sysctl_does_not_answer(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.answer("uname", "Darwin arm64")
    box.answer("sysctl host", "fault: sysctl cannot be started (No such file or directory)")
    assert read(box) == Host(os="darwin", arch="arm64")


def test_a_users_ryzen_box() -> None:
    host = read_host(None, Sight(RYZEN))
    assert (host.cpu, host.arch) == ("AMD Ryzen 9 5950X 16-Core Processor", "x86_64")
    assert cores(host) == (16, 32, 16)
    assert host.isa == ("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2")
    assert (host.box_cores, host.told_threads) == (16, None)
    assert (host.cpu_quota, host.container, host.virtualization) == (None, None, None)
    assert [(node.index, node.cpus) for node in host.numa] == [(0, "0-31")]


def test_this_machine() -> None:
    host = read_host()
    assert host.os
    assert host.logical_cores
    assert host.threads
    assert 1 <= host.threads <= host.logical_cores
    assert host.box_cores
    assert host.box_cores >= 1
