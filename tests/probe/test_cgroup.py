"""Where the control groups of a process lie: every layout that a kernel or a container makes."""

from pathlib import Path

import pytest

from orchestrator.probe.cgroup import lineage
from tests.probe.boxes import Box

V2 = "35 24 0:30 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
V1_CPU = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
TMPFS = "31 24 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
TOP = "/sys/fs/cgroup"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def folders(box: Box, mounts: str, paths: str, controller: str = "memory") -> list[str]:
    box.file("/proc/self/mountinfo", mounts)
    box.file("/proc/self/cgroup", paths)
    return [group.folder for group in lineage(controller, None, box.sight)]


def test_v2_goes_up_to_the_mount(box: Box) -> None:
    found = folders(box, V2, "0::/system.slice/ollama.service\n")
    assert found == [f"{TOP}/system.slice/ollama.service", f"{TOP}/system.slice", TOP]
    assert {group.version for group in lineage("memory", None, box.sight)} == {2}


def test_v1_takes_the_tree_of_the_controller(box: Box) -> None:
    paths = "9:name=systemd:/s\n4:memory:/m\n2:cpu,cpuacct:/c\n"
    assert folders(box, TMPFS + V1_CPU + V1_MEMORY, paths) == [f"{TOP}/memory/m", f"{TOP}/memory"]
    assert {group.version for group in lineage("memory", None, box.sight)} == {1}
    assert folders(box, TMPFS + V1_CPU + V1_MEMORY, paths, "cpu")[0] == f"{TOP}/cpu,cpuacct/c"


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        pytest.param("4:memory:/m\n0::/u\n", f"{TOP}/memory/m", id="memory-on-version-1"),
        pytest.param("2:cpu,cpuacct:/c\n0::/u\n", f"{TOP}/unified/u", id="memory-on-version-2"),
    ],
)
def test_a_hybrid_has_the_controller_on_one_side(box: Box, paths: str, folder: str) -> None:
    assert folders(box, TMPFS + UNIFIED + V1_CPU + V1_MEMORY, paths)[0] == folder


def test_a_mount_of_a_part_of_the_tree_is_where_the_paths_begin(box: Box) -> None:
    mounts = V2.replace(" / /sys", " /docker/0f3a /sys")
    assert folders(box, mounts, "0::/docker/0f3a/sub\n") == [f"{TOP}/sub", TOP]


def test_a_group_beside_the_mounted_one_is_not_taken_for_its_child(box: Box) -> None:
    assert folders(box, V2.replace(" / /sys", " /a /sys"), "0::/ab/c\n") == [TOP]


@pytest.mark.parametrize("path", ["/", "/../..", "/../../system.slice/ollama.service"])
def test_of_a_private_namespace_only_the_root_is_seen(box: Box, path: str) -> None:
    assert folders(box, V2, f"0::{path}\n") == [TOP]


def test_a_namespace_below_the_mount_is_bound_by_the_mount(box: Box) -> None:
    assert folders(box, V2.replace(" / /sys", " /.. /sys"), "0::/\n") == [TOP]


def test_of_two_mounts_at_one_place_the_later_is_seen(box: Box) -> None:
    hidden = V2.replace(" / /sys", " /.. /sys")
    assert folders(box, hidden + V2, "0::/a\n") == [f"{TOP}/a", TOP]


def test_the_groups_of_another_process(box: Box) -> None:
    folders(box, V2, "0::/ours\n")
    box.file("/proc/4711/cgroup", "0::/server\n")
    assert lineage("memory", 4711, box.sight)[0].folder == f"{TOP}/server"
    assert lineage("memory", 4712, box.sight) == ()


def test_without_the_controller_there_are_no_groups(box: Box) -> None:
    assert folders(box, V1_CPU, "2:cpu,cpuacct:/\n") == []


def test_numbers_that_are_none_are_not_read(box: Box) -> None:
    folders(box, V2, "0::/\n")
    group = lineage("memory", None, box.sight)[0]
    box.file(f"{TOP}/memory.max", "²\n")
    box.file(f"{TOP}/memory.stat", f"anon 1\nfile ²\nshmem {'9' * 5000}\nslab -4\nrest\n")
    assert group.number("memory.max") is None
    assert group.table("memory.stat") == {"anon": 1}
