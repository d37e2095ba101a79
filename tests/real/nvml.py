"""Real pynvml without a GPU: a stub of the driver's library, and boxes for it to describe."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.machine import Absent, Accelerator
from orchestrator.probe import nvml
from orchestrator.probe.nvidia import NvidiaProbe
from orchestrator.probe.sight import ANSWERS, Sight

PROGRAM = str(nvml.__file__)
STUB = Path(__file__).with_name("nvml_stub.c")
_FLAGS = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-Wl,-soname,libnvidia-ml.so.1")
_READ = """
import dataclasses, json
from orchestrator.machine import Absent
from orchestrator.probe.nvidia import NvidiaProbe
found = NvidiaProbe().read()
read = found.reason if isinstance(found, Absent) else [dataclasses.asdict(a) for a in found]
print(json.dumps(read))
"""
_BUSES = ("18", "2a", "3a", "5d", "9a", "ab", "ba", "db")  # of a server with eight cards


def _card(name: str, /, number: int = 0, **facts: Any) -> dict[str, Any]:
    uuid = f"GPU-{number:08x}-1111-2222-3333-444444444444"
    return {"name": name, "uuid": uuid, "pci": f"00000000:{number + 1:02X}:00.0", **facts}


def _server(name: str, facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _card(name, n, **facts) | {"pci": f"00000000:{bus.upper()}:00.0"}
        for n, bus in enumerate(_BUSES)
    ]


_CARD: dict[str, Any] = {"pcie_gen": 4, "pcie_width": 16, "virtualization": 0}
_RTX4090: dict[str, Any] = _CARD | {
    "total_mib": 24564,
    "reserved_mib": 300,
    "used_mib": 64,
    "cc": "8.9",
    "bus_width": 384,
    "clock_mem": 10501,
    "ecc": 0,
}
_RTX3090: dict[str, Any] = _CARD | {
    "total_mib": 24576,
    "reserved_mib": 290,
    "used_mib": 10,
    "cc": "8.6",
    "bus_width": 384,
    "clock_mem": 9751,
}
_A100: dict[str, Any] = _CARD | {
    "total_mib": 81920,
    "reserved_mib": 904,
    "used_mib": 8,
    "cc": "8.0",
    "bus_width": 5120,
    "clock_mem": 1593,
    "ecc": 1,
    "mig": 0,
}
_H100: dict[str, Any] = _A100 | {
    "total_mib": 81559,
    "reserved_mib": 592,
    "cc": "9.0",
    "clock_mem": 2619,
    "pcie_gen": 5,
}
_SLICES = {
    "0": {"name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "uuid": "MIG-small", "total_mib": 9856},
    "2": {"name": "NVIDIA H100 80GB HBM3 MIG 3g.40gb", "uuid": "MIG-large", "total_mib": 40320},
}
_H100_NAME = "NVIDIA H100 80GB HBM3"
_R470 = {  # what came with R510
    "nvmlDeviceGetMemoryInfo_v2": 13,
    "nvmlDeviceGetMemoryBusWidth": 13,
    "nvmlDeviceGetComputeRunningProcesses_v3": 13,
    "nvmlDeviceGetGraphicsRunningProcesses_v3": 13,
}
_NO_PROCESSES = {
    f"nvmlDeviceGet{kind}RunningProcesses_{version}": 3
    for kind in ("Compute", "Graphics")
    for version in ("v2", "v3")
}

SCENARIOS: dict[str, dict[str, Any]] = {
    "rtx4090": {"driver": "570.86", "gpus": [_card("NVIDIA GeForce RTX 4090", **_RTX4090)]},
    "rtx3090x2": {
        "driver": "550.144.03",
        "gpus": [_card("NVIDIA GeForce RTX 3090", n, **_RTX3090) for n in range(2)],
    },
    "a100_80gb_x8": {"driver": "550.90.07", "gpus": _server("NVIDIA A100-SXM4-80GB", _A100)},
    "h100_x8": {"driver": "570.86", "gpus": _server(_H100_NAME, _H100)},
    "a10": {
        "driver": "570.86",
        "gpus": [
            _card(
                "NVIDIA A10",
                **_RTX3090 | {"total_mib": 23028, "clock_mem": 6251, "ecc": 1},
            )
        ],
    },
    "gt710": {
        "driver": "470.256.02",
        "gpus": [
            _card("NVIDIA GeForce GT 710", total_mib=2002, used_mib=50, cc="3.5")
            | {"pcie_gen": 2, "pcie_width": 8, "code": _R470}
            | {"processes": [{"pid": 1234, "used_mib": 40, "type": "G", "name": "/usr/bin/Xorg"}]}
        ],
    },
    "rtx3060_busy": {
        "driver": "570.86",
        "gpus": [
            _card(
                "NVIDIA GeForce RTX 3060",
                **_CARD,
                total_mib=12288,
                reserved_mib=200,
                used_mib=9 * 1024,
                cc="8.6",
                bus_width=192,
                clock_mem=7501,
                # Computes and draws: it stands in both lists.
                processes=[
                    {
                        "pid": 4711,
                        "used_mib": 9 * 1024,
                        "type": "CG",
                        "name": "/usr/bin/blender -b a/b.blend",
                    }
                ],
            )
        ],
    },
    "driver_mismatch": {"init": {"code": 18}},
    "driver_not_loaded": {"init": {"code": 9}},
    "no_permission": {"init": {"code": 4}},
    "os_refused": {"init": {"code": 17}},
    "unknown_error": {"init": {"code": 999}},
    "without_power": {"init": {"code": 8}},
    "other_error": {"init": {"code": 27}},
    "no_gpus": {"driver": "570.86", "gpus": []},
    "one_lost": {
        "driver": "570.86",
        "gpus": [
            card | ({"code": {"nvmlDeviceGetHandleByIndex": 15}} if n == 5 else {})
            for n, card in enumerate(_server(_H100_NAME, _H100))
        ],
    },
    "lost_after_handle": {
        "driver": "570.86",
        "gpus": [
            _card("NVIDIA GeForce RTX 3090", n, **_RTX3090)
            | ({"code": {"nvmlDeviceGetMemoryInfo": 15}} if n == 0 else {})
            for n in range(2)
        ],
    },
    "needs_reset": {
        "driver": "570.86",
        "gpus": [
            _card("NVIDIA GeForce RTX 4090", **_RTX4090)
            | {"code": {"nvmlDeviceGetMaxPcieLinkWidth": 16}}
        ],
    },
    "one_refused": {
        "driver": "570.86",
        "gpus": [
            _card("NVIDIA GeForce RTX 3090", n, **_RTX3090)
            | ({"code": {"nvmlDeviceGetHandleByIndex": 4}} if n == 1 else {})
            for n in range(2)
        ],
    },
    "getters_fail": {
        "driver": "570.86",
        "gpus": [
            _card("NVIDIA GeForce RTX 4090", **_RTX4090)
            | {
                "code": {
                    "nvmlDeviceGetUUID": 999,
                    "nvmlDeviceGetCudaComputeCapability": 13,
                    "nvmlDeviceGetMaxClockInfo": 3,
                    "nvmlDeviceGetMigMode": 999,
                    "nvmlDeviceGetPciInfo": 999,
                    "nvmlDeviceGetMaxPcieLinkGeneration": 999,
                    "nvmlDeviceGetEccMode": 3,
                    "nvmlDeviceGetVirtualizationMode": 999,
                    "nvmlDeviceGetMemoryInfo_v2": 999,
                    **_NO_PROCESSES,
                }
            }
        ],
    },
    "h100_mig": {
        "driver": "570.86",
        "gpus": [
            _card(_H100_NAME, **_H100) | {"mig": 1, "slots": 7, "slice": _SLICES},
        ],
    },
    "h100_mig_unsliced": {
        "driver": "570.86",
        "gpus": [_card(_H100_NAME, **_H100) | {"mig": 1, "slots": 7}],
    },
    "gb10": {
        "driver": "580.126",
        "gpus": [_card("NVIDIA GB10", cc="12.1") | {"pci": "0000000F:01:00.0"}],
    },
    "gb10_that_answers": {
        "driver": "580.126",
        "gpus": [_card("NVIDIA GB10", cc="12.1", total_mib=122570, used_mib=9000)],
    },
    "jetson_orin": {"driver": "540.4.0", "gpus": [_card("Orin (nvgpu)", cc="8.7")]},
    "memory_unsupported": {
        "driver": "580.126",
        "gpus": [_card("NVIDIA Something", cc="10.3", bus_width=384, clock_mem=9751)],
    },
    "memory_unknown": {
        "driver": "580.126",
        "gpus": [_card("NVIDIA GB10", cc="12.1", code={"nvmlDeviceGetMemoryInfo": 999})],
    },
    "gh200": {
        "driver": "570.86",
        "gpus": [
            _card(
                "NVIDIA GH200 480GB",
                **_H100 | {"total_mib": 97871, "bus_width": 6144, "pcie_gen": 5},
            )
        ],
    },
    "wsl2_4070": {
        "driver": "566.36",
        "gpus": [
            _card(
                "NVIDIA GeForce RTX 4070",
                **_CARD,
                total_mib=12282,
                used_mib=1500,
                cc="8.9",
                bus_width=192,
                clock_mem=10501,
                code={"nvmlDeviceGetMemoryInfo_v2": 999},
                processes=[{"pid": 33, "used_mib": "NA", "type": "C", "name": "[Not Found]"}],
            )
        ],
    },
    "vgpu": {
        "driver": "550.90.07",
        "gpus": [
            _card("NVIDIA A10-12Q", total_mib=12288, used_mib=700, cc="8.6")
            | {"virtualization": 2, "code": _NO_PROCESSES}
        ],
    },
    "passthrough": {
        "driver": "570.86",
        "gpus": [_card("NVIDIA GeForce RTX 4090", **_RTX4090 | {"virtualization": 1})],
    },
    "init_hangs": {"init": {"delay_ms": 30_000}, "driver": "570.86", "gpus": []},
}


def build(folder: Path) -> Path:
    """Return the folder of a freshly built stub library."""
    compiler = shutil.which("cc")
    assert compiler, "the stub of the driver's library needs a C compiler (cc)"
    out = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, *_FLAGS, "-o", str(out), str(STUB)], check=True)
    return folder


def describe(scenario: dict[str, Any], path: Path) -> None:
    """Write a scenario for the stub; over one that is in use, in one step."""
    new = path.with_suffix(".new")
    lines = (f"{key}={value}\n" for key, value in _flat(scenario, ""))
    new.write_text("".join(lines), encoding="utf-8")
    new.replace(path)


def environment(stub: Path, scenario: str, folder: Path) -> dict[str, str]:
    """Return the environment in which a new process meets the box of a scenario."""
    described = folder / f"{scenario}.nvml"
    describe(SCENARIOS[scenario], described)
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(stub),
        "NVML_STUB": str(described),
        "NVML_STUB_LOG": str(folder / "calls.log"),
    }


def driver(stub: Path, scenario: str, folder: Path) -> dict[str, str]:
    """Return only what leads a program to the box of a scenario."""
    found = environment(stub, scenario, folder)
    return {k: v for k, v in found.items() if k.startswith("NVML_") or k == "LD_LIBRARY_PATH"}


def answer(environ: dict[str, str], *libraries: str) -> str:
    """Return what the reading process prints in an environment."""
    command = [sys.executable, "-P", PROGRAM, *(libraries or ("libnvidia-ml.so.1",))]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout


def capture(stub: Path, scenario: str, box: Path) -> Path:
    """Give a captured box the answer of NVML in a scenario."""
    (box / ANSWERS).mkdir(parents=True, exist_ok=True)
    said = answer(environment(stub, scenario, box.parent))
    (box / ANSWERS / "nvml").write_text(said, encoding="utf-8")
    return box


def read_box(box: Path) -> tuple[Accelerator, ...] | Absent:
    """Return what the NVIDIA probe reads on a captured box."""
    return NvidiaProbe(Sight(box)).read()


def read_here(stub: Path, scenario: str, folder: Path) -> list[dict[str, Any]] | str:
    """Return what the NVIDIA probe reads on this very box with the stub as its driver."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _READ],
        env=environment(stub, scenario, folder),
        capture_output=True,
        text=True,
        check=True,
    )
    read: list[dict[str, Any]] | str = json.loads(done.stdout)
    return read


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the scenario as the stub reads it; a list also tells its length."""
    if isinstance(value, list):
        yield key, len(value)
        one = {"gpus": "gpu", "processes": "process"}
        above, _, name = key.rpartition(".")
        for number, each in enumerate(value):
            yield from _flat(each, f"{above}{'.' if above else ''}{one[name]}.{number}")
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _flat(each, f"{key}.{name}" if key else name)
    else:
        yield key, value
