"""Every finding has a name, a number and a remedy; a healthy box has none."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.doctor import Case, Check, document, examine
from orchestrator.machine import (
    Absent,
    Accelerator,
    DeviceProcess,
    Disk,
    Host,
    Machine,
    Memory,
    OtherServer,
    ServerSettings,
    ServerState,
    Volume,
)
from orchestrator.usability import EMBEDDED, judged

GIB = 2**30
CARD = Accelerator(
    vendor="nvidia",
    name="NVIDIA GeForce RTX 3090",
    index=0,
    uuid="GPU-a",
    memory_total_bytes=24 * GIB,
    memory_free_bytes=23 * GIB,
    compute_capability="8.6",
    driver="570.86",
)
HEALTHY = Machine(
    host=Host(cpu="AMD EPYC", physical_cores=8, logical_cores=16, isa=("avx2", "fma")),
    memory=Memory(total_bytes=64 * GIB, available_bytes=60 * GIB),
    disk=Disk(model_store="/srv/models", free_bytes=500 * GIB, kind="nvme", filesystem="ext4"),
    accelerators=(CARD,),
    server=ServerState(
        host="http://127.0.0.1:11434", version="0.33.0", runtime="release", pid=7, where="systemd"
    ),
)


def case(machine: Machine = HEALTHY, **facts: Any) -> Case:
    known: dict[str, Any] = {"answers": True, "writable": True, "smallest_bytes": GIB}
    return Case(machine=machine, **(known | facts))


def amiss(told: Case) -> dict[str, Check]:
    return {c.name: c for c in examine(told) if c.outcome != "pass"}


def cards(*found: Accelerator, **settings: Any) -> Machine:
    state = replace(HEALTHY.server, settings=ServerSettings(**settings))
    opinions = judged(
        found,
        server_version=state.version,
        server_runtime=state.runtime,
        visible_devices=state.settings.visible_devices,
    )
    return replace(HEALTHY, accelerators=opinions, server=state)


def server(**facts: Any) -> Machine:
    return replace(HEALTHY, server=replace(HEALTHY.server, **facts))


def disk(**facts: Any) -> Machine:
    return replace(HEALTHY, disk=replace(HEALTHY.disk, **facts))


def test_a_healthy_box_passes_everywhere() -> None:
    found = document(examine(case()))
    assert (found["outcome"], found["counts"]["warn"], found["counts"]["fail"]) == ("pass", 0, 0)
    assert {"cpu", "memory", "nvidia 0", "disk", "server", "deployment"} == {
        c["name"] for c in found["checks"]
    }


def mismatch() -> Machine:
    reason = "the driver was upgraded and the loaded kernel module is still the old one: reboot"
    absent = Absent(probe="nvidia", reason=reason, present=True, remedy="reboot")
    return replace(HEALTHY, accelerators=(), absent=(absent,))


LOST = replace(CARD, usable=False, unusable_reason="the GPU is lost: reboot", remedy="reboot")
KEPLER = replace(CARD, name="NVIDIA GeForce GT 710", compute_capability="3.5", driver="470.256.02")
BUSY = replace(
    CARD,
    memory_free_bytes=3 * GIB,
    processes=(DeviceProcess(pid=4711, name="python3", bytes=20 * GIB),),
)
OLD_CPU = replace(HEALTHY, host=replace(HEALTHY.host, isa=("sse4_2", "avx")))
QUOTA = replace(HEALTHY, host=replace(HEALTHY.host, cpu_quota=2500, threads=2, box_cores=16))
CPUSET = replace(HEALTHY, host=replace(HEALTHY.host, threads=4, box_cores=64))
FULL = replace(HEALTHY, memory=replace(HEALTHY.memory, limit_bytes=GIB))
PAGES = replace(HEALTHY, memory=replace(HEALTHY.memory, huge_pages_bytes=20 * GIB))
ZFS = replace(HEALTHY, memory=replace(HEALTHY.memory, zfs_cache_bytes=20 * GIB))
HDD = disk(kind="hdd", others=(Volume(mount="/data", kind="nvme", free_bytes=800 * GIB),))
SECOND = OtherServer(pid=99, host="http://127.0.0.1:11435", user="ann", where="container")


@pytest.mark.parametrize(
    ("told", "name", "outcome", "detail", "remedy"),
    [
        pytest.param(case(mismatch()), "nvidia", "fail", "kernel module", "reboot", id="mismatch"),
        pytest.param(case(cards(LOST)), "nvidia 0", "fail", "lost", "reboot", id="lost"),
        pytest.param(
            case(cards(KEPLER)), "nvidia 0", "warn", "3.5 is below 5.0", "nothing", id="too-old"
        ),
        pytest.param(
            case(cards(replace(CARD, driver="530.1"))), "nvidia 0", "warn", "530.1 is too old",
            "550", id="old-driver",
        ),
        pytest.param(
            case(cards(CARD, visible_devices="")), "nvidia 0", "warn", "CUDA_VISIBLE_DEVICES",
            "environment", id="masked",
        ),
        pytest.param(case(cards(BUSY)), "nvidia 0", "warn", "pid 4711 (python3)", "end", id="held"),
        pytest.param(
            case(replace(server(runtime="embedded", version="0.9.3"), accelerators=(
                replace(
                    CARD, usable=False, unusable_reason=EMBEDDED.text, remedy=EMBEDDED.remedy
                ),))),
            "nvidia 0", "warn", "embedded", "--from release", id="embedded-beside-a-gpu",
        ),
        pytest.param(case(OLD_CPU), "cpu", "warn", "no AVX2", "1.5b", id="no-avx2"),
        pytest.param(
            case(QUOTA), "cpu quota", "warn", "2.5 of the box's 16 cores", "num_thread 2",
            id="quota",
        ),
        pytest.param(
            case(CPUSET), "cpu set", "warn", "on 4 of the box's 64 cores", "num_thread 4",
            id="cpuset",
        ),
        pytest.param(case(FULL), "memory", "warn", "leaves 1.00 GiB", "MemoryMax", id="limit"),
        pytest.param(case(PAGES), "huge pages", "warn", "20.00 GiB", "nr_hugepages", id="pages"),
        pytest.param(case(ZFS), "zfs cache", "warn", "20.00 GiB", "zfs_arc_max", id="zfs"),
        pytest.param(
            case(disk(free_bytes=1)), "disk", "fail", "takes 1.00 GiB", "OLLAMA_MODELS", id="full"
        ),
        pytest.param(
            case(disk(free_inodes=3)), "disk", "fail", "3 inodes", "OLLAMA_MODELS", id="inodes"
        ),
        pytest.param(
            case(disk(read_only=True)), "store", "fail", "read-only", "dmesg", id="read-only"
        ),
        pytest.param(
            case(disk(model_store=None)), "disk", "warn", "cannot be seen", "run deploy",
            id="hidden",
        ),
        pytest.param(
            case(disk(kind="memory", filesystem="tmpfs")), "disk kind", "warn", "tmpfs", "disk",
            id="tmpfs",
        ),
        pytest.param(case(HDD), "disk kind", "warn", "/data on nvme", "/data/ollama", id="hdd"),
        pytest.param(
            case(disk(partial_bytes=40 * GIB)), "partials", "warn", "40.00 GiB", "pull", id="left"
        ),
        pytest.param(case(writable=False), "store", "warn", "not ours", "root", id="not-writable"),
        pytest.param(
            case(server(user="ollama"), closed="/srv/models/blobs"), "store", "fail",
            "ollama may not write /srv/models/blobs", "chown -R ollama", id="closed-to-the-server",
        ),
        pytest.param(case(answers=False), "server", "warn", "11434", "deploy auto", id="none"),
        pytest.param(
            case(server(local=False, where="container")), "server", "fail", "container",
            "--machine", id="elsewhere",
        ),
        pytest.param(
            case(server(local=False, where=None)), "server", "warn", "this account", "as root",
            id="hidden-process",
        ),
        pytest.param(
            case(server(local=False, where="remote"), answers=False), "server", "warn",
            "another machine", "unset OLLAMA_HOST", id="another-machine-is-silent",
        ),
        pytest.param(
            case(answers=False, holder="pid 7 (python3, user ann)"), "server", "fail",
            "pid 7 (python3", "OLLAMA_HOST", id="port-taken",
        ),
        pytest.param(
            case(refusal="it refused /api/tags"), "server", "fail", "/api/tags", "log",
            id="refuses",
        ),
        pytest.param(
            case(server(version="0.12.0")), "server", "warn", "0.12.0", "install.sh", id="outdated"
        ),
        pytest.param(
            case(server(settings_known=False)), "settings", "warn", "pid 7", "root",
            id="settings-hidden",
        ),
        pytest.param(
            case(server(settings=ServerSettings(listens_everywhere=True))), "exposure", "warn",
            "no passwords", "127.0.0.1", id="open-to-all",
        ),
        pytest.param(
            case(our_proxy="http://proxy:3128"), "proxy", "warn", "proxy:3128", "HTTPS_PROXY",
            id="another-proxy",
        ),
        pytest.param(
            case(server(others=(SECOND,))), "server 99", "warn", "ann", "as its user", id="two"
        ),
        pytest.param(
            case(server(others=(replace(SECOND, host=None),))), "server 99", "warn",
            "cannot be seen", "as its user or as root", id="a-server-whose-address-is-hidden",
        ),
        pytest.param(case(server(orphans=(5, 6))), "orphans", "warn", "5, 6", "auto", id="orphans"),
        pytest.param(
            case(findings=("the alias is gone",)), "deployment", "fail", "gone", "auto", id="broken"
        ),
        pytest.param(
            case(torn=("deploy-current:latest",)), "torn name", "fail", "EOF", "auto", id="torn"
        ),
        pytest.param(
            case(ledger_fault="the ledger is no database"), "ledger", "fail", "database", "move",
            id="ledger",
        ),
    ],
)  # fmt: skip
def test_what_is_amiss_is_said_with_its_remedy(
    told: Case, name: str, outcome: str, detail: str, remedy: str
) -> None:
    found = amiss(told)[name]
    assert found.outcome == outcome
    assert detail in found.detail
    assert remedy in (found.remedy or "")


def test_only_what_is_amiss_is_said() -> None:
    assert list(amiss(case(HDD))) == ["disk kind"]
    assert list(amiss(case(server(orphans=(5,))))) == ["orphans"]


def test_the_worst_stands_first() -> None:
    checks = examine(case(disk(read_only=True), answers=False))
    assert [c.outcome for c in checks][:2] == ["fail", "warn"]
    assert document(checks)["outcome"] == "fail"


def test_a_quota_above_the_box_takes_no_core_away() -> None:
    host = replace(HEALTHY.host, cpu_quota=64_000, threads=16, box_cores=16)
    assert not amiss(case(replace(HEALTHY, host=host)))


def test_a_server_in_a_container_listens_everywhere_inside_of_it() -> None:
    settings = ServerSettings(listens_everywhere=True)
    assert not amiss(case(server(settings=settings, where="container")))


def test_a_proxy_that_both_use_is_no_difference() -> None:
    same = server(settings=ServerSettings(proxy="http://proxy:3128"))
    assert not amiss(case(same, our_proxy="http://proxy:3128"))
