from pathlib import Path

import pytest

from orchestrator.machine import Host
from orchestrator.probe.host import read_host

CPUINFO = """processor\t: 0
model name\t: AMD Ryzen 9 5950X
flags\t\t: fpu sse4_2 avx avx2 fma f16c hypervisor

processor\t: 1
model name\t: other
"""
V2 = "35 23 0:30 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
V1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
ALL = frozenset(range(8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four cores of two threads each: cpu0 and cpu4 share core 0."""
    write(tmp_path, "proc/cpuinfo", CPUINFO)
    for cpu in range(8):
        topology = f"sys/devices/system/cpu/cpu{cpu}/topology"
        write(tmp_path, f"{topology}/core_id", f"{cpu % 4}\n")
        write(tmp_path, f"{topology}/physical_package_id", "0\n")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def read(root: Path, cores: frozenset[int] = ALL) -> Host:
    return read_host(None, root, cores=cores, environ={})


def test_the_processor_and_its_threads(root: Path) -> None:
    host = read(root)
    assert (host.cpu, host.physical_cores, host.logical_cores) == ("AMD Ryzen 9 5950X", 4, 8)


def test_only_what_ggml_has_kernels_for(root: Path) -> None:
    assert read(root).isa == ("sse4_2", "avx", "f16c", "fma", "avx2")


def test_arm_writes_features(root: Path) -> None:
    write(root, "proc/cpuinfo", "processor : 0\nFeatures : fp asimd asimddp i8mm\n")
    write(root, "proc/device-tree/model", "NVIDIA Jetson AGX Orin\0")
    assert (read(root).cpu, read(root).isa) == (
        "NVIDIA Jetson AGX Orin",
        ("asimd", "asimddp", "i8mm"),
    )


@pytest.mark.parametrize(
    ("cores", "physical"),
    [
        pytest.param({0, 4}, 1, id="two-threads-of-one-core"),
        pytest.param({0, 1}, 2, id="two-cores"),
        pytest.param({5}, 1, id="one-thread"),
    ],
)
def test_cores_within_the_affinity_mask(root: Path, cores: set[int], physical: int) -> None:
    host = read(root, frozenset(cores))
    assert (host.physical_cores, host.logical_cores) == (physical, len(cores))


@pytest.mark.parametrize(
    ("quota", "logical", "physical"),
    [
        pytest.param("max 100000", 8, 4, id="none"),
        pytest.param("200000 100000", 2, 2, id="two-cores"),
        pytest.param("150000 100000", 2, 2, id="a-part-of-a-core-counts"),
        pytest.param("3200000 100000", 8, 4, id="more-than-there-is"),
    ],
)
def test_a_cpu_quota_of_version_2(root: Path, quota: str, logical: int, physical: int) -> None:
    write(root, "proc/self/mountinfo", V2)
    write(root, "proc/self/cgroup", "0::/a/b\n")
    write(root, "sys/fs/cgroup/a/cpu.max", f"{quota}\n")
    write(root, "sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
    assert (read(root).logical_cores, read(root).physical_cores) == (logical, physical)


def test_the_tightest_quota_on_the_way_up_binds(root: Path) -> None:
    write(root, "proc/self/mountinfo", V2)
    write(root, "proc/self/cgroup", "0::/a/b\n")
    write(root, "sys/fs/cgroup/a/cpu.max", "200000 100000\n")
    write(root, "sys/fs/cgroup/a/b/cpu.max", "400000 100000\n")
    assert read(root).logical_cores == 2


@pytest.mark.parametrize(("quota", "logical"), [("-1", 8), ("300000", 3)])
def test_a_cpu_quota_of_version_1(root: Path, quota: str, logical: int) -> None:
    write(root, "proc/self/mountinfo", V1)
    write(root, "proc/self/cgroup", "2:cpu,cpuacct:/a\n")
    write(root, "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", f"{quota}\n")
    write(root, "sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
    assert read(root).logical_cores == logical


def test_cores_are_unknown_without_a_topology(tmp_path: Path) -> None:
    host = read_host(None, tmp_path, cores=ALL, environ={})
    assert (host.cpu, host.physical_cores, host.logical_cores) == (None, None, 8)


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
    root: Path, mark: str | None, environ: dict[str, str], kind: str | None
) -> None:
    if mark:
        write(root, mark, "")
    assert read_host(None, root, cores=ALL, environ=environ).container == kind


def test_this_machine() -> None:
    host = read_host()
    assert host.logical_cores
    assert host.os
