"""Whatever stands in the files of a box, reading its processor and memory raises nothing."""

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from orchestrator.machine import Machine
from orchestrator.probe.bandwidth import last_cache_bytes, measure
from orchestrator.probe.cores import usable_cpus
from orchestrator.probe.host import read_host
from orchestrator.probe.memory import read_memory
from orchestrator.schema import load
from tests.probe.boxes import Box

RYZEN = Path(__file__).parents[1] / "captured" / "ryzen-5950x"
MACHINE = jsonschema.Draft202012Validator(load("machine"))
V1 = (
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
)


def old_box(root: Path) -> Box:
    """A box of what the Ryzen has not: version 1, ZFS, a container, two kinds of cores."""
    box = Box(root)
    box.answer("uname", "Linux x86_64")
    box.file(
        "/proc/meminfo",
        "MemTotal: 9 kB\nMemFree: 3 kB\nHugePages_Total: 1\nHugepagesize: 2048 kB\n",
    )
    box.file("/proc/self/mountinfo", V1)
    box.file("/proc/self/cgroup", "4:memory:/a\n2:cpu,cpuacct:/a\n")
    group = "/sys/fs/cgroup/memory/a"
    box.file(f"{group}/memory.limit_in_bytes", "1073741824\n")
    box.file(f"{group}/memory.usage_in_bytes", "1048576\n")
    box.file(f"{group}/memory.stat", "hierarchical_memory_limit 1073741824\n")
    box.file("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "150000\n")
    box.file("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
    box.file("/proc/spl/kstat/zfs/arcstats", "c_min 4 2147483648\nsize 4 10737418240\n")
    box.file("/run/systemd/container", "lxc\n")
    box.file("/proc/device-tree/model", "a board\0")
    box.file("/sys/devices/cpu_core/cpus", "0\n")
    box.answer("affinity", "0-1")
    box.file("/sys/devices/system/cpu/cpu0/topology/core_id", "0\n")
    box.file("/sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n")
    box.answer("container", "docker")
    box.answer("memory", "2 1")
    return box


def modern_box(root: Path) -> Box:
    shutil.copytree(RYZEN, root)
    box = Box(root)
    box.file("/sys/fs/cgroup/user.slice/memory.max", "8589934592\n")
    box.file("/sys/fs/cgroup/user.slice/memory.current", "1073741824\n")
    box.file("/sys/fs/cgroup/user.slice/memory.stat", "inactive_file 1\n")
    box.file("/sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n")
    box.file("/sys/devices/system/cpu/present", "0-32\n")
    box.file("/sys/devices/system/cpu/cpu32/online", "0\n")
    box.file("/sys/devices/system/node/node1/cpulist", "32\n")
    box.file("/sys/devices/system/node/node1/meminfo", "Node 1 MemTotal: 9 kB\n")
    box.answer("memory bandwidth", "40000000000 steady")
    return box


def apple_box(root: Path) -> Box:
    box = Box(root)
    box.answer("uname", "Darwin arm64")
    box.answer("sysctl host", "hw.memsize: 17179869184\nhw.physicalcpu: 8\n")
    box.answer("vm_stat", "(page size of 16384 bytes)\nPages free:  65536.\n")
    return box


def looked_at(box: Box) -> None:
    """Read all of a box, and hold what was read to the schema of the machine."""
    memory, host = read_memory(None, box.sight), read_host(None, box.sight)
    found = measure(None, box.sight)
    assert last_cache_bytes(usable_cpus(None, box.sight), box.sight) >= 0
    memory = replace(memory, bandwidth_bytes_per_s=found.bytes_per_s, bandwidth_noisy=found.noisy)
    MACHINE.validate(json.loads(json.dumps(Machine(memory=memory, host=host).to_json())))


@pytest.mark.parametrize("made", [old_box, modern_box, apple_box])
def test_no_file_and_no_answer_breaks_the_reading_whatever_is_in_it(
    tmp_path: Path, made: Callable[[Path], Box]
) -> None:
    box = made(tmp_path / "box")
    looked_at(box)
    noise = random.Random(5)
    nasty = [b"", b"\0", b"9" * 5000, "²".encode(), b"-7\n", b"0-99999999999\n", b"a/" * 9999]
    answers = [path for path in (box.root / "answers").glob("*") if path.is_file()]
    files = [box.root / path.lstrip("/") for path in box.seen if path.startswith("/")]
    # The siblings of thirty-one more processors are read as those of the first are.
    kept = [path for path in files if not re.search(r"cpu[1-9][0-9]?/topology", f"{path}")]
    for path in sorted({*answers, *kept}):
        whole = path.read_bytes()
        mangled = [_mangled(whole, noise) for _ in range(2)]
        # What passes for digits and is no number, and a number that Python refuses to read.
        mangled += [re.sub(rb"[0-9]+", no, whole) for no in ("²".encode(), b"9" * 5000, b"-8")]
        for text in (*nasty, noise.randbytes(500), *mangled):
            path.write_bytes(text)
            looked_at(box)
        path.write_bytes(whole)


def _mangled(text: bytes, noise: random.Random) -> bytes:
    """Return a file with a piece of it replaced: what reads half of it meets the rest."""
    start = noise.randrange(len(text) + 1)
    middle = noise.choice((b"", noise.randbytes(8), b"-", b"9" * 30, "²".encode(), b"\n", b":"))
    return text[:start] + middle + text[start + noise.randrange(8) :]
