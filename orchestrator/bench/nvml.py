"""NVML over a child process that may be given up: a driver that hangs must not hang the bench."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.bench.device_state import DeviceState, throttle_reasons
from orchestrator.bench.devices import Look

# Where a driver's library lies, as the probe looks for it (probe/nvidia.py says why).
LIBRARIES = (
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
)
_PROGRAM = str(Path(__file__).with_name("nvml_reader.py"))
_START_S = 10.0  # without persistence mode the first call takes 1-3 s a GPU
_ANSWER_S = 3.0  # it takes less than a millisecond a GPU
_CHUNK_BYTES = 65536


class NvmlChild:
    """Asks a child process for the devices' memory and state. `why` is None while it answers.

    Not safe for several threads at once. Nothing here raises.
    """

    def __init__(self, *, answer_s: float = _ANSWER_S) -> None:
        self.why: str | None = None
        self._answer_s = answer_s
        self._unread = b""
        self._child = self._started()
        if self._child is not None:
            said = self._read_line(_START_S)
            if said is not None and said["why"] is not None:
                self._give_up(said["why"])

    def memory(self) -> Mapping[int, Look]:
        """Return by index what is free on each device and who holds the rest; {}: no answer."""
        return {
            int(index): Look(
                free_bytes=told["free"],
                used_by_pid={int(pid): size for pid, size in told["used"].items()},
            )
            for index, told in self._ask("memory").items()
        }

    def states(self, runners: Collection[int]) -> tuple[DeviceState, ...]:
        """Return what each device does now; `runners` are the processes that are no strangers."""
        told = self._ask("state")
        # Only where one of them is known by its number, the other numbers are strangers.
        known = any(pid in runners for each in told.values() for pid in each["processes"])
        return tuple(_state(int(index), each, runners, known=known) for index, each in told.items())

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._give_up(self.why)

    def _started(self) -> "subprocess.Popen[bytes] | None":
        # -P: modules beside the program, which are ours, are not what pynvml means to import.
        command = [sys.executable or "python3", "-P", _PROGRAM, *LIBRARIES]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        except OSError as e:
            self.why = f"no process to read NVML could be started ({e.strerror or e})"
            return None

    def _ask(self, what: str) -> dict[str, Any]:
        if self._child is None or self._child.stdin is None:
            return {}
        try:
            self._child.stdin.write(f"{what}\n".encode())
        except OSError:
            self._give_up("the process that reads NVML ended")
            return {}
        return self._read_line(self._answer_s) or {}

    def _read_line(self, limit_s: float) -> dict[str, Any] | None:
        until = time.monotonic() + limit_s
        while b"\n" not in self._unread:
            more = self._more(until)
            if not more:
                late = more is None
                ended = "the process that reads NVML ended"
                self._give_up(f"the driver did not answer within {limit_s:g} s" if late else ended)
                return None
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError:  # a binding that prints something of its own
            self._give_up("the process that reads NVML printed no JSON")
            return None
        return told

    def _more(self, until: float) -> bytes | None:
        """Return what arrives, b"" at the end of it; None: nothing in time."""
        if self._child is None or self._child.stdout is None:
            return b""
        pipe = self._child.stdout.fileno()
        wait = select.poll()  # select() knows no descriptor above 1023
        wait.register(pipe, select.POLLIN)
        ready = wait.poll(max(0.0, until - time.monotonic()) * 1000)
        return os.read(pipe, _CHUNK_BYTES) if ready else None

    def _give_up(self, why: str | None) -> None:
        self.why = why
        child, self._child = self._child, None
        if child is None:
            return
        # A process inside an uninterruptible call does not die before the call returns: it is
        # waited for only briefly.
        child.kill()
        for pipe in filter(None, (child.stdin, child.stdout)):
            with suppress(OSError):
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=0.5)


def _state(
    index: int, told: Mapping[str, Any], runners: Collection[int], *, known: bool
) -> DeviceState:
    milliwatts, busy = told["power_limit_mw"], told["busy"]
    strangers = [pid for pid in told["processes"] if pid not in runners]
    used = [share for pid, share in (busy or {}).items() if int(pid) not in runners]
    return DeviceState(
        index=index,
        sm_clock_mhz=told["sm_clock_mhz"],
        memory_clock_mhz=told["memory_clock_mhz"],
        temperature_c=told["temperature_c"],
        power_limit_w=None if milliwatts is None else milliwatts / 1000,
        throttle=throttle_reasons(told["reasons"] or 0),
        foreign_processes=len(strangers) if known else None,
        foreign_utilization=min(1.0, sum(used)) if known and busy is not None else None,
    )
