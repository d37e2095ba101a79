import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.machine import Accelerator, Host, Memory, NumaNode
from orchestrator.probe.memory import read_memory
from orchestrator.probe.numa import without_device_nodes
from orchestrator.probe.sight import Sight
from tests.probe.boxes import Box
from tests.real.cgroup import limited_group
from tests.real.server import bare_environment, free_port

MIB = 2**20
GIB = 2**30
RYZEN = Path(__file__).parents[1] / "captured" / "ryzen-5950x"
REPOSITORY = Path(__file__).parents[2]
MEMINFO = "MemTotal:       33554432 kB\nMemFree: 1024 kB\nMemAvailable:   16777216 kB\n"
V2 = "35 23 0:30 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
)
HYBRID = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V1_UNLIMITED = 9223372036854771712
ARCSTATS = """13 1 0x01 123 33456 5634553424 1928374655
name                            type data
hits                            4    123456
c_min                           4    2147483648
size                            4    10737418240
"""
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               65536.
Pages active:                            400000.
Pages inactive:                          131072.
Pages speculative:                        32768.
Pages throttled:                              0.
Pages wired down:                        200000.
Pages purgeable:                          32768.
"Translation faults":                 123456789.
"""


class MemoryBox(Box):
    """A captured box with its memory and its control groups."""

    def cgroup(self, mounts: str, path: str, pid: int | str = "self") -> None:
        self.file("/proc/self/mountinfo", mounts)
        self.file(f"/proc/{pid}/cgroup", path)

    def v2(self, path: str, limit: object, current: int = 0, stat: str = "") -> None:
        folder = f"/sys/fs/cgroup/{path}"
        self.file(f"{folder}/memory.max", f"{limit}\n")
        self.file(f"{folder}/memory.current", f"{current}\n")
        self.file(f"{folder}/memory.stat", stat)

    def v1(self, path: str, limit: int, usage: int = 0, stat: str = "") -> None:
        folder = f"/sys/fs/cgroup/memory/{path}"
        self.file(f"{folder}/memory.limit_in_bytes", f"{limit}\n")
        self.file(f"{folder}/memory.usage_in_bytes", f"{usage}\n")
        self.file(f"{folder}/memory.stat", stat)

    def node(self, number: int, total: int, free: int | None) -> None:
        """Write a socket's memory in bytes; `free` None: the kernel does not tell."""
        lines = [f"Node {number} MemTotal: {total // 1024} kB\n"]
        if free is not None:
            lines += [f"Node {number} MemFree: {(free - MIB) // 1024} kB\n"]
            lines += [f"Node {number} Inactive(file): 1024 kB\n"]
        self.file(f"/sys/devices/system/node/node{number}/meminfo", "".join(lines))
        self.file(f"/sys/devices/system/node/node{number}/cpulist", f"{number}\n")

    def nodes_of(self, listed: str, pid: int | str = "self") -> None:
        self.file(f"/proc/{pid}/status", f"Name:\tx\nMems_allowed_list:\t{listed}\n")

    def read(self, pid: int | None = None) -> Memory:
        return read_memory(pid, self.sight)


@pytest.fixture
def box(tmp_path: Path) -> MemoryBox:
    box = MemoryBox(tmp_path / "box")
    box.answer("uname", "Linux x86_64")
    box.file("/proc/meminfo", MEMINFO)
    return box


def test_without_groups_the_host_is_the_limit(box: MemoryBox) -> None:
    assert box.read() == Memory(total_bytes=32 * GIB, available_bytes=16 * GIB)


def test_a_kernel_without_memavailable_is_estimated(box: MemoryBox) -> None:
    box.file("/proc/meminfo", "MemTotal: 4096 kB\nMemFree: 1024 kB\nBuffers: 1 kB\nCached: 8 kB\n")
    assert box.read().available_bytes == (1024 + 1 + 8) * 1024


def test_a_negative_total_is_no_total(box: MemoryBox) -> None:
    box.file("/proc/meminfo", "MemTotal: -4096 kB\nMemAvailable: 8 kB\n")
    box.answer("memory", f"{8 * GIB} {3 * GIB}")
    assert box.read() == Memory(total_bytes=8 * GIB, available_bytes=3 * GIB)


def test_v2_unlimited(box: MemoryBox) -> None:
    box.cgroup(V2, "0::/system.slice/ollama.service\n")
    box.v2("system.slice/ollama.service", "max", 5 * GIB)
    assert box.read().limit_bytes is None


def test_v2_page_cache_is_not_used_memory(box: MemoryBox) -> None:
    box.cgroup(V2, "0::/user.slice\n")
    stat = f"inactive_file {2 * GIB}\nactive_file {GIB}\nslab_reclaimable {GIB // 4}\nanon 1\n"
    box.v2("user.slice", 8 * GIB, 5 * GIB, stat)
    # 5 GiB less 2 of inactive files, half of 1 of active ones and a quarter of slab.
    assert box.read().limit_bytes == 8 * GIB - (5 * GIB - 2 * GIB - GIB // 2 - GIB // 4)


def test_v2_a_cache_larger_than_the_counter_leaves_the_limit(box: MemoryBox) -> None:
    box.cgroup(V2, "0::/a\n")
    box.v2("a", GIB, MIB, f"inactive_file {2 * MIB}\n")
    assert box.read().limit_bytes == GIB


def test_v2_above_the_limit_leaves_nothing(box: MemoryBox) -> None:
    box.cgroup(V2, "0::/a\n")
    box.v2("a", GIB, 2 * GIB)
    assert box.read().limit_bytes == 0


def test_v2_a_negative_limit_is_none(box: MemoryBox) -> None:
    box.cgroup(V2, "0::/a\n")
    box.v2("a", -7)
    assert box.read().limit_bytes is None


def test_v2_swap_that_a_group_may_use_is_no_room(box: MemoryBox) -> None:
    box.cgroup(V2, "0::/a\n")
    box.v2("a", GIB, GIB // 2)
    box.file("/sys/fs/cgroup/a/memory.swap.max", 8 * GIB)
    assert box.read().limit_bytes == GIB // 2


@pytest.mark.parametrize(
    ("most", "high"), [("8589934592", 4 * GIB), ("max", 4 * GIB), (f"{4 * GIB}", 8 * GIB)]
)
def test_v2_a_unit_of_systemd_is_bound_by_the_lower_of_memorymax_and_memoryhigh(
    box: MemoryBox, most: str, high: int
) -> None:
    box.cgroup(V2, "0::/system.slice/ollama.service\n", pid=812)
    box.v2("system.slice/ollama.service", most, GIB)
    box.file("/sys/fs/cgroup/system.slice/ollama.service/memory.high", high)
    assert box.read(812).limit_bytes == 3 * GIB


@pytest.mark.parametrize("tightest", ["a", "a/b", "a/b/c"])
def test_v2_the_tightest_ancestor_binds(box: MemoryBox, tightest: str) -> None:
    box.cgroup(V2, "0::/a/b/c\n")
    for path in ("a", "a/b", "a/b/c"):
        box.v2(path, 2 * GIB if path == tightest else "max", GIB)
    assert box.read().limit_bytes == GIB


def test_v2_a_limit_with_much_in_use_is_tighter_than_a_lower_one(box: MemoryBox) -> None:
    box.cgroup(V2, "0::/a/b\n")
    box.v2("a", 8 * GIB, 7 * GIB + GIB // 2)
    box.v2("a/b", 4 * GIB, GIB)
    assert box.read().limit_bytes == GIB // 2


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/", id="docker-with-a-private-namespace"),
        pytest.param("/docker/0f3a", id="docker-with-the-hosts-namespace"),
        pytest.param("/../..", id="moved-out-of-its-namespace"),
        pytest.param("/../../system.slice/ollama.service", id="a-process-of-the-host"),
        pytest.param("/.lxc", id="lxc"),
    ],
)
def test_v2_in_a_container_the_root_of_the_mount_binds(box: MemoryBox, path: str) -> None:
    box.cgroup(V2, f"0::{path}\n")
    box.v2("", 4 * GIB, GIB)
    assert box.read().limit_bytes == 3 * GIB


def test_v2_a_mount_of_a_part_of_the_tree(box: MemoryBox) -> None:
    box.cgroup(V2.replace(" / /sys", " /docker/0f3a /sys"), "0::/docker/0f3a/sub\n")
    box.v2("", "max")
    box.v2("sub", 4 * GIB, GIB)
    assert box.read().limit_bytes == 3 * GIB


def test_podman_without_root_is_bound_below_the_users_slice(box: MemoryBox) -> None:
    scope = "user.slice/user-1000.slice/user@1000.service/user.slice/libpod-0f3a.scope"
    box.cgroup(V2, f"0::/{scope}/container\n", pid=4711)
    box.v2("user.slice/user-1000.slice", 16 * GIB, 2 * GIB)
    box.v2(scope, 4 * GIB, GIB)
    box.v2(f"{scope}/container", "max", GIB)
    assert box.read(4711).limit_bytes == 3 * GIB


def test_a_burstable_pod_without_a_limit_shares_what_the_node_gives_its_pods(
    box: MemoryBox,
) -> None:
    pods = "kubepods.slice/kubepods-burstable.slice"
    pod = f"{pods}/kubepods-burstable-pod1f.slice"
    box.cgroup(V2, f"0::/{pod}/cri-containerd-0f3a.scope\n", pid=4711)
    box.v2("kubepods.slice", 30 * GIB, 10 * GIB)
    for path in (pods, pod, f"{pod}/cri-containerd-0f3a.scope"):
        box.v2(path, "max", GIB)
    assert box.read(4711).limit_bytes == 20 * GIB


def test_a_pod_is_bound_by_its_container_or_the_pod(box: MemoryBox) -> None:
    pod = "kubepods.slice/kubepods-pod1f.slice"
    box.cgroup(V2, f"0::/{pod}/cri-containerd-0f3a.scope\n", pid=4711)
    box.v2("kubepods.slice", 30 * GIB, 10 * GIB)
    box.v2(pod, 6 * GIB, 5 * GIB)
    box.v2(f"{pod}/cri-containerd-0f3a.scope", 4 * GIB, GIB)
    assert box.read(4711).limit_bytes == GIB


def test_v1_unlimited(box: MemoryBox) -> None:
    box.cgroup(V1, "4:memory:/a\n2:cpu,cpuacct:/\n")
    box.v1("a", V1_UNLIMITED, 5 * GIB, f"hierarchical_memory_limit {V1_UNLIMITED}\n")
    assert box.read().limit_bytes is None


def test_v1_counts_the_cache_of_the_whole_subtree(box: MemoryBox) -> None:
    box.cgroup(V1, "4:memory:/a\n")
    stat = f"inactive_file 1\ntotal_inactive_file {2 * GIB}\ntotal_active_file {GIB}\n"
    box.v1("a", 8 * GIB, 5 * GIB, stat)
    assert box.read().limit_bytes == 8 * GIB - (5 * GIB - 2 * GIB - GIB // 2)


def test_v1_docker_mounts_its_own_group(box: MemoryBox) -> None:
    box.cgroup(V1.replace("0:32 / ", "0:32 /docker/0f3a "), "4:memory:/docker/0f3a\n")
    box.v1("", 4 * GIB, GIB, f"hierarchical_memory_limit {4 * GIB}\n")
    assert box.read().limit_bytes == 3 * GIB


def test_v1_a_limit_of_an_ancestor_that_a_container_cannot_see(box: MemoryBox) -> None:
    box.cgroup(V1, "4:memory:/docker/0f3a\n")
    box.v1("", V1_UNLIMITED, GIB, f"hierarchical_memory_limit {4 * GIB}\n")
    assert box.read().limit_bytes == 3 * GIB


def test_hybrid_the_memory_controller_is_version_1(box: MemoryBox) -> None:
    box.cgroup(HYBRID, "9:name=systemd:/\n4:memory:/service/x\n0::/\n")
    box.v1("service", 6 * GIB, GIB)
    box.v1("service/x", V1_UNLIMITED)
    # The unified tree has no memory.max here; were it read, there would be no limit.
    assert box.read().limit_bytes == 5 * GIB


def test_lxcfs_tells_the_limit_as_the_total_and_the_group_tells_it_too(box: MemoryBox) -> None:
    box.file(
        "/proc/meminfo", "MemTotal: 4194304 kB\nMemFree: 1048576 kB\nMemAvailable: 3670016 kB\n"
    )
    box.cgroup(V2, "0::/\n")
    box.v2("", 4 * GIB, 2 * GIB, f"inactive_file {GIB}\nactive_file {GIB}\n")
    memory = box.read()
    assert (memory.total_bytes, memory.available_bytes) == (4 * GIB, 3584 * MIB)
    assert memory.free_bytes == memory.limit_bytes == 3584 * MIB


def test_the_limit_of_the_server_and_not_ours(box: MemoryBox) -> None:
    box.cgroup(V2, "0::/ours\n")
    box.cgroup(V2, "0::/system.slice/ollama.service\n", pid=4711)
    box.v2("ours", GIB)
    box.v2("system.slice/ollama.service", 8 * GIB, 2 * GIB)
    assert box.read().limit_bytes == GIB
    assert box.read(4711).limit_bytes == 6 * GIB


def test_a_server_that_is_gone_has_no_limit(box: MemoryBox) -> None:
    box.cgroup(V2, "0::/ours\n")
    box.v2("ours", GIB)
    assert box.read(4711).limit_bytes is None


@pytest.mark.parametrize(
    ("allowed", "free_0", "limit"),
    [
        pytest.param("0", 2 * GIB, 2 * GIB, id="one-of-two"),
        pytest.param("1", 2 * GIB, 12 * GIB, id="the-other"),
        pytest.param("0-1", 2 * GIB, None, id="both"),
        pytest.param("0-1023", 2 * GIB, None, id="any-that-there-may-be"),
        pytest.param("7", 2 * GIB, None, id="one-that-is-not-told"),
        pytest.param("", 2 * GIB, None, id="no-list"),
        pytest.param("0", None, None, id="free-memory-unknown"),
    ],
)
def test_a_server_that_may_only_use_the_memory_of_some_sockets_is_bound_by_it(
    box: MemoryBox, allowed: str, free_0: int | None, limit: int | None
) -> None:
    box.node(0, 16 * GIB, free_0)
    box.node(1, 16 * GIB, 12 * GIB)
    box.nodes_of("0-1")
    box.nodes_of(allowed, pid=4711)
    memory = box.read(4711)
    assert (memory.limit_bytes, memory.total_bytes) == (limit, 32 * GIB)
    assert box.read().limit_bytes is None


@pytest.mark.parametrize(("most", "limit"), [(GIB, GIB), (8 * GIB, 2 * GIB)])
def test_the_tighter_of_sockets_and_group_binds(box: MemoryBox, most: int, limit: int) -> None:
    box.node(0, 16 * GIB, 2 * GIB)
    box.node(1, 16 * GIB, 12 * GIB)
    box.nodes_of("0")
    box.cgroup(V2, "0::/a\n")
    box.v2("a", most)
    assert box.read().limit_bytes == limit


HOPPER = Accelerator(
    vendor="nvidia",
    name="NVIDIA GH200 480GB",
    index=0,
    memory_total_bytes=97_871 * MIB,
    memory_free_bytes=97_000 * MIB,
)
GRACE = NumaNode(index=0, cpus="0-71", total_bytes=502 * GIB, free_bytes=480 * GIB)
HBM = NumaNode(index=1, total_bytes=94 * GIB, free_bytes=93 * GIB)


def own(*nodes: NumaNode, cards: tuple[Accelerator, ...], arch: str = "aarch64") -> tuple[int, int]:
    told = Memory(total_bytes=596 * GIB, available_bytes=573 * GIB)
    memory = without_device_nodes(told, Host(arch=arch, numa=nodes), cards)
    return memory.total_bytes // GIB, memory.available_bytes // GIB


def test_hbm_that_the_driver_lends_the_kernel_is_the_cards_alone() -> None:
    assert own(GRACE, HBM, cards=(HOPPER,)) == (502, 480)


def test_each_card_takes_one_node_away() -> None:
    other = replace(HBM, index=2)
    assert own(GRACE, HBM, other, cards=(HOPPER,)) == (502, 480)
    assert own(GRACE, HBM, other, cards=(HOPPER, replace(HOPPER, index=1))) == (408, 387)


def test_of_hbm_whose_free_memory_is_unknown_nothing_is_promised() -> None:
    assert own(GRACE, replace(HBM, free_bytes=None), cards=(HOPPER,)) == (502, 479)


@pytest.mark.parametrize(
    ("node", "card", "arch"),
    [
        pytest.param(replace(HBM, cpus="72-143"), HOPPER, "aarch64", id="a-socket-of-that-size"),
        pytest.param(replace(HBM, total_bytes=64 * GIB), HOPPER, "aarch64", id="another-size"),
        pytest.param(HBM, replace(HOPPER, unified_memory=True), "aarch64", id="shared-memory"),
        pytest.param(HBM, replace(HOPPER, vendor="amd"), "aarch64", id="another-vendor"),
        pytest.param(HBM, replace(HOPPER, memory_total_bytes=None), "aarch64", id="size-unknown"),
        pytest.param(HBM, HOPPER, "x86_64", id="cxl-beside-an-h100"),
    ],
)
def test_memory_without_processors_that_is_no_cards_stays_the_hosts(
    node: NumaNode, card: Accelerator, arch: str
) -> None:
    assert own(GRACE, node, cards=(card,), arch=arch) == (596, 573)


def test_swap_is_told_and_not_counted(box: MemoryBox) -> None:
    box.file("/proc/meminfo", f"{MEMINFO}SwapTotal: 8388608 kB\nSwapFree: 1024 kB\n")
    memory = box.read()
    assert (memory.swap_total_bytes, memory.free_bytes) == (8 * GIB, 16 * GIB)


@pytest.mark.parametrize(
    ("lines", "huge"),
    [
        pytest.param("HugePages_Total: 0\nHugepagesize: 2048 kB\n", 0, id="none"),
        pytest.param("HugePages_Total: 2048\nHugepagesize: 2048 kB\n", 4 * GIB, id="of-one-size"),
        pytest.param(
            "HugePages_Total: 0\nHugepagesize: 2048 kB\nHugetlb: 8388608 kB\n",
            8 * GIB,
            id="of-another-size",
        ),
        pytest.param("", None, id="a-kernel-without"),
    ],
)
def test_huge_pages_are_told(box: MemoryBox, lines: str, huge: int | None) -> None:
    box.file("/proc/meminfo", MEMINFO + lines)
    assert box.read().huge_pages_bytes == huge


@pytest.mark.parametrize(
    ("text", "given_back"),
    [
        pytest.param(ARCSTATS, 8 * GIB, id="a-full-cache"),
        pytest.param(ARCSTATS.replace("10737418240", "1024"), 0, id="below-its-least"),
        pytest.param(ARCSTATS.replace("size  ", "sizes "), None, id="another-format"),
        pytest.param(None, None, id="no-zfs"),
    ],
)
def test_the_cache_of_zfs_is_told_and_not_counted(
    box: MemoryBox, text: str | None, given_back: int | None
) -> None:
    if text:
        box.file("/proc/spl/kstat/zfs/arcstats", text)
    memory = box.read()
    assert (memory.zfs_cache_bytes, memory.available_bytes) == (given_back, 16 * GIB)


def test_a_mac_gives_what_no_program_uses(tmp_path: Path) -> None:
    box = MemoryBox(tmp_path)
    box.answer("uname", "Darwin arm64")
    box.answer("sysctl host", f"hw.memsize: {16 * GIB}\nhw.physicalcpu: 8\n")
    box.answer("vm_stat", VM_STAT)
    assert box.read() == Memory(total_bytes=16 * GIB, available_bytes=4 * GIB)


def test_a_system_without_such_files_answers_through_psutil(tmp_path: Path) -> None:
    box = MemoryBox(tmp_path)
    box.answer("uname", "FreeBSD amd64")
    box.answer("memory", f"{8 * GIB} {3 * GIB}")
    assert box.read() == Memory(total_bytes=8 * GIB, available_bytes=3 * GIB)


def test_a_users_ryzen_box() -> None:
    memory = read_memory(None, Sight(RYZEN))
    assert round(memory.total_bytes / GIB) == 63
    assert round(memory.free_bytes / GIB) == 58
    assert (memory.limit_bytes, memory.huge_pages_bytes, memory.zfs_cache_bytes) == (None, 0, None)


def test_this_machine() -> None:
    memory = read_memory(None)
    assert 0 < memory.free_bytes <= memory.total_bytes


def test_a_real_group_limits_the_process_in_it_and_not_us() -> None:
    limit = 1536 * MIB
    bound = read_memory(None).limit_bytes is not None
    with limited_group(limit) as limited:
        command = limited.inside(["sh", "-c", "echo ready; exec sleep 60"])
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            child.stdout.readline()
            theirs = read_memory(child.pid).limit_bytes
            still_bound = read_memory(None).limit_bytes is not None
            child.kill()
    assert theirs is not None
    assert limit - 64 * MIB < theirs < limit
    assert still_bound == bound


def plan_inside(limit_bytes: int, folder: Path) -> dict[str, Any]:
    """Run the real command line in a real group, with no server: then the limit is its own."""
    environment = bare_environment(folder) | {
        "DEPLOY_HOME": f"{folder / 'deploy'}",
        "PYTHONPATH": f"{REPOSITORY}",
        "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
    }
    with limited_group(limit_bytes) as limited:
        done = subprocess.run(
            limited.inside([sys.executable, "-m", "orchestrator", "plan", "--json"]),
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if document["chosen"] else 3), done.stderr
    return document


def test_a_plan_made_in_a_real_group_stays_within_it(tmp_path: Path) -> None:
    plan = plan_inside(4 * GIB, tmp_path)
    assert 2 * GIB < plan["budget"]["bytes"] + plan["budget"]["reserve_bytes"] < 4 * GIB
    assert 0 < plan["chosen"]["estimate"]["memory"]["total_bytes"] <= plan["budget"]["bytes"]


def test_in_a_real_group_as_small_as_the_reserve_nothing_fits(tmp_path: Path) -> None:
    plan = plan_inside(1536 * MIB, tmp_path)
    assert (plan["chosen"], plan["budget"]["bytes"]) == (None, 0)
    assert {each["reason"] for each in plan["rejected"]} >= {"memory"}
