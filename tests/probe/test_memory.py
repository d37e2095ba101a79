from pathlib import Path

import pytest

from orchestrator.machine import Memory
from orchestrator.probe.memory import read_memory

MIB = 2**20
GIB = 2**30
MEMINFO = "MemTotal:       33554432 kB\nMemFree: 1024 kB\nMemAvailable:   16777216 kB\n"
V2 = "35 23 0:30 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
)
HYBRID = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V1_UNLIMITED = 9223372036854771712


class Box:
    """A captured machine, written out again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file("proc/meminfo", MEMINFO)

    def file(self, name: str, text: object) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}")

    def cgroup(self, mounts: str, path: str, pid: int | str = "self") -> None:
        self.file("proc/self/mountinfo", mounts)
        self.file(f"proc/{pid}/cgroup", path)

    def v2(self, path: str, limit: object, current: int = 0, stat: str = "") -> None:
        folder = f"sys/fs/cgroup/{path}"
        self.file(f"{folder}/memory.max", f"{limit}\n")
        self.file(f"{folder}/memory.current", f"{current}\n")
        self.file(f"{folder}/memory.stat", stat)

    def v1(self, path: str, limit: int, usage: int = 0, stat: str = "") -> None:
        folder = f"sys/fs/cgroup/memory/{path}"
        self.file(f"{folder}/memory.limit_in_bytes", f"{limit}\n")
        self.file(f"{folder}/memory.usage_in_bytes", f"{usage}\n")
        self.file(f"{folder}/memory.stat", stat)

    def read(self, pid: int | None = None) -> Memory:
        return read_memory(pid, self.root)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_without_groups_the_host_is_the_limit(box: Box) -> None:
    assert box.read() == Memory(total_bytes=32 * GIB, available_bytes=16 * GIB)


def test_a_kernel_without_memavailable_is_estimated(box: Box) -> None:
    box.file("proc/meminfo", "MemTotal: 4096 kB\nMemFree: 1024 kB\nBuffers: 1 kB\nCached: 512 kB\n")
    assert box.read().available_bytes == (1024 + 1 + 512) * 1024


def test_v2_unlimited(box: Box) -> None:
    box.cgroup(V2, "0::/system.slice/ollama.service\n")
    box.v2("system.slice/ollama.service", "max", 5 * GIB)
    assert box.read().limit_bytes is None


def test_v2_page_cache_is_not_used_memory(box: Box) -> None:
    box.cgroup(V2, "0::/user.slice\n")
    stat = f"inactive_file {2 * GIB}\nactive_file {GIB}\nslab_reclaimable {GIB // 4}\nanon 1\n"
    box.v2("user.slice", 8 * GIB, 5 * GIB, stat)
    # 5 GiB less 2 of inactive files, half of 1 of active ones and a quarter of slab.
    assert box.read().limit_bytes == 8 * GIB - (5 * GIB - 2 * GIB - GIB // 2 - GIB // 4)


def test_v2_a_cache_larger_than_the_counter_leaves_the_limit(box: Box) -> None:
    box.cgroup(V2, "0::/a\n")
    box.v2("a", GIB, MIB, f"inactive_file {2 * MIB}\n")
    assert box.read().limit_bytes == GIB


def test_v2_above_the_limit_leaves_nothing(box: Box) -> None:
    box.cgroup(V2, "0::/a\n")
    box.v2("a", GIB, 2 * GIB)
    assert box.read().limit_bytes == 0


def test_v2_high_binds_as_max_does(box: Box) -> None:
    box.cgroup(V2, "0::/a\n")
    box.v2("a", 8 * GIB, GIB)
    box.file("sys/fs/cgroup/a/memory.high", 4 * GIB)
    assert box.read().limit_bytes == 3 * GIB


@pytest.mark.parametrize("tightest", ["a", "a/b", "a/b/c"])
def test_v2_the_tightest_ancestor_binds(box: Box, tightest: str) -> None:
    box.cgroup(V2, "0::/a/b/c\n")
    for path in ("a", "a/b", "a/b/c"):
        box.v2(path, 2 * GIB if path == tightest else "max", GIB)
    assert box.read().limit_bytes == GIB


def test_v2_a_limit_with_much_in_use_is_tighter_than_a_lower_one(box: Box) -> None:
    box.cgroup(V2, "0::/a/b\n")
    box.v2("a", 8 * GIB, 7 * GIB + GIB // 2)
    box.v2("a/b", 4 * GIB, GIB)
    assert box.read().limit_bytes == GIB // 2


def test_v2_in_a_container_with_a_private_namespace(box: Box) -> None:
    box.cgroup(V2, "0::/\n")
    box.v2("", 4 * GIB, GIB)
    assert box.read().limit_bytes == 3 * GIB


@pytest.mark.parametrize("path", ["/docker/0f3a", "/../../system.slice/ollama.service"])
def test_v2_a_path_that_is_not_below_the_mount_means_its_root(box: Box, path: str) -> None:
    box.cgroup(V2, f"0::{path}\n")
    box.v2("", 4 * GIB, GIB)
    assert box.read().limit_bytes == 3 * GIB


def test_v2_a_mount_of_a_part_of_the_tree(box: Box) -> None:
    box.cgroup(V2.replace(" / /sys", " /docker/0f3a /sys"), "0::/docker/0f3a/sub\n")
    box.v2("", "max")
    box.v2("sub", 4 * GIB, GIB)
    assert box.read().limit_bytes == 3 * GIB


def test_v1_unlimited(box: Box) -> None:
    box.cgroup(V1, "4:memory:/a\n2:cpu,cpuacct:/\n")
    box.v1("a", V1_UNLIMITED, 5 * GIB, f"hierarchical_memory_limit {V1_UNLIMITED}\n")
    assert box.read().limit_bytes is None


def test_v1_counts_the_cache_of_the_whole_subtree(box: Box) -> None:
    box.cgroup(V1, "4:memory:/a\n")
    stat = f"inactive_file 1\ntotal_inactive_file {2 * GIB}\ntotal_active_file {GIB}\n"
    box.v1("a", 8 * GIB, 5 * GIB, stat)
    assert box.read().limit_bytes == 8 * GIB - (5 * GIB - 2 * GIB - GIB // 2)


def test_v1_a_limit_of_an_ancestor_that_a_container_cannot_see(box: Box) -> None:
    box.cgroup(V1, "4:memory:/docker/0f3a\n")
    box.v1("", V1_UNLIMITED, GIB, f"hierarchical_memory_limit {4 * GIB}\n")
    assert box.read().limit_bytes == 3 * GIB


def test_hybrid_the_memory_controller_is_version_1(box: Box) -> None:
    box.cgroup(HYBRID, "9:name=systemd:/\n4:memory:/service/x\n0::/\n")
    box.v1("service", 6 * GIB, GIB)
    box.v1("service/x", V1_UNLIMITED)
    # The unified tree has no memory.max here; were it read, there would be no limit.
    assert box.read().limit_bytes == 5 * GIB


def test_the_limit_of_the_server_and_not_ours(box: Box) -> None:
    box.cgroup(V2, "0::/ours\n")
    box.cgroup(V2, "0::/system.slice/ollama.service\n", pid=4711)
    box.v2("ours", GIB)
    box.v2("system.slice/ollama.service", 8 * GIB, 2 * GIB)
    assert box.read().limit_bytes == GIB
    assert box.read(4711).limit_bytes == 6 * GIB


def test_a_server_that_is_gone_has_no_limit(box: Box) -> None:
    box.cgroup(V2, "0::/ours\n")
    box.v2("ours", GIB)
    assert box.read(4711).limit_bytes is None


def test_this_machine() -> None:
    memory = read_memory(None)
    assert 0 < memory.free_bytes <= memory.total_bytes
