"""Real pynvml without a GPU: a stub of the driver's library, and boxes for it to describe."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def _card(name: str, /, number: int = 0, **facts: Any) -> dict[str, Any]:
    return {"name": name, "uuid": f"GPU-{number:08x}-1111-2222-3333-444444444444", **facts}


_RTX4090: dict[str, Any] = {
    "total_mib": 24564,
    "used_mib": 364,
    "cc": "8.9",
    "bus_width": 384,
    "clock_mem": 10501,
}
_RTX3090: dict[str, Any] = {
    "total_mib": 24576,
    "used_mib": 300,
    "cc": "8.6",
    "bus_width": 384,
    "clock_mem": 9751,
}
_H100: dict[str, Any] = {
    "total_mib": 81559,
    "used_mib": 600,
    "cc": "9.0",
    "bus_width": 5120,
    "clock_mem": 2619,
}
_SLICES = {
    "0": {"name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "uuid": "MIG-small", "total_mib": 9856},
    "2": {"name": "NVIDIA H100 80GB HBM3 MIG 3g.40gb", "uuid": "MIG-large", "total_mib": 40320},
}

SCENARIOS: dict[str, dict[str, Any]] = {
    "rtx4090": {"driver": "570.86", "gpus": [_card("NVIDIA GeForce RTX 4090", **_RTX4090)]},
    "rtx3090x2": {
        "driver": "550.144.03",
        "gpus": [_card("NVIDIA GeForce RTX 3090", n, **_RTX3090) for n in range(2)],
    },
    "gt710": {
        "driver": "470.256.02",
        "gpus": [_card("NVIDIA GeForce GT 710", total_mib=2002, used_mib=50, cc="3.5")],
    },
    "rtx3060_busy": {
        "driver": "570.86",
        "gpus": [
            _card(
                "NVIDIA GeForce RTX 3060",
                total_mib=12288,
                used_mib=9 * 1024,
                cc="8.6",
                bus_width=192,
                clock_mem=7501,
            )
        ],
    },
    "driver_mismatch": {"init": {"code": 18}},
    "driver_not_loaded": {"init": {"code": 9}},
    "no_permission": {"init": {"code": 4}},
    "unknown_error": {"init": {"code": 999}},
    "no_gpus": {"driver": "570.86", "gpus": []},
    "one_lost": {
        "driver": "570.86",
        "gpus": [
            _card("NVIDIA H100 80GB HBM3", n, **_H100)
            | ({"code": {"nvmlDeviceGetHandleByIndex": 15}} if n == 5 else {})
            for n in range(8)
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
                }
            }
        ],
    },
    "h100_mig": {
        "driver": "570.86",
        "gpus": [
            _card("NVIDIA H100 80GB HBM3", **_H100) | {"mig": 1, "slots": 7, "slice": _SLICES},
        ],
    },
    "gb10": {"driver": "580.126", "gpus": [_card("NVIDIA GB10", cc="12.1")]},
    "memory_unknown": {
        "driver": "580.126",
        "gpus": [_card("NVIDIA GB10", cc="12.1", code={"nvmlDeviceGetMemoryInfo": 999})],
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


def environment(stub: Path, scenario: str, folder: Path) -> dict[str, str]:
    """Return the environment in which a new process meets the box of a scenario."""
    described = folder / f"{scenario}.nvml"
    lines = _flat(SCENARIOS[scenario], "")
    described.write_text("".join(f"{key}={value}\n" for key, value in lines), encoding="utf-8")
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(stub),
        "NVML_STUB": str(described),
        "NVML_STUB_LOG": str(folder / "calls.log"),
    }


def read_nvidia(stub: Path, scenario: str, folder: Path) -> list[dict[str, Any]] | str:
    """Return what the NVIDIA probe reads on the box of a scenario: devices, or why none."""
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
        for number, each in enumerate(value):
            yield from _flat(each, f"gpu.{number}")
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _flat(each, f"{key}.{name}" if key else name)
    else:
        yield key, value
