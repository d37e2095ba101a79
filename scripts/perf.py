"""Print the figures that the project promises about itself: `make perf`.

Wall time is the best of several runs, since a shared box only ever adds; peak memory is the
largest. Nothing here fails: a figure beyond its goal is marked, and a person decides.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
MIB = 1024**2
RUNS = 7
_PLAN_S = 0.30


@dataclass(frozen=True, slots=True)
class Cost:
    """Best wall time in seconds, largest resident memory in bytes."""

    wall_s: float
    peak_bytes: int


def cost(command: list[str], environ: Mapping[str, str], runs: int = RUNS) -> Cost:
    """Run a command several times and return its cost. Raises CalledProcessError."""
    walls, peaks = [], []
    for _ in range(runs):
        started = time.perf_counter()
        child = subprocess.Popen(
            command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(child.pid, 0)
        walls.append(time.perf_counter() - started)
        peaks.append(usage.ru_maxrss * 1024)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command)
    return Cost(min(walls), max(peaks))


def show(what: str, found: Cost, goal_s: float, goal_mib: float | None = None) -> None:
    """Print one line: what, seconds, memory, and the goals where there are some."""
    marks = []
    if found.wall_s > goal_s:
        marks.append("OVER TIME")
    if goal_mib and found.peak_bytes > goal_mib * MIB:
        marks.append("OVER MEMORY")
    goal = f"goal {goal_s:g} s" + (f", {goal_mib:g} MiB" if goal_mib else "")
    size = f"{found.peak_bytes / MIB:6.0f} MiB"
    print(f"{what:<44}{found.wall_s:8.2f} s {size}   {goal:<20}{' '.join(marks)}")


def environment(home: Path, port: int) -> dict[str, str]:
    """Return the environment of somebody new on this box."""
    kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_")) or k == "PATH"}
    return kept | {"HOME": str(home), "OLLAMA_HOST": f"127.0.0.1:{port}", "LC_ALL": "C.UTF-8"}


def quick(environ: Mapping[str, str]) -> None:
    """Print what answers at once."""
    deploy = str(Path(sys.executable).with_name("deploy"))
    show("deploy --version", cost([deploy, "--version"], environ), 0.10)
    show("deploy plan", cost([deploy, "plan"], environ), _PLAN_S, 70)
    show("deploy auto --dry-run", cost([deploy, "auto", "--dry-run"], environ), 0.35, 80)
    show("deploy explain", cost([deploy, "explain"], environ), 0.50, 80)


def probes(folder: Path, environ: Mapping[str, str]) -> None:
    """Print what a look at the machine costs, without a GPU and with eight of a stub's."""
    sys.path.insert(0, str(REPOSITORY))
    from tests.real import nvml  # noqa: PLC0415 - only now on the path

    deploy = str(Path(sys.executable).with_name("deploy"))
    show("deploy probe", cost([deploy, "probe"], environ), 0.35, 60)
    described = nvml.driver(nvml.build(folder), "h100_x8", folder)
    found = cost([deploy, "probe"], {**environ, **described})
    show("deploy probe, 8 GPUs of a stub", found, 0.60, 60)
    show("deploy doctor", cost([deploy, "doctor"], environ), 0.60, 60)


def cards(folder: Path, environ: Mapping[str, str]) -> None:
    """Print what planning for many accelerators costs: at most twice one."""
    deploy = str(Path(sys.executable).with_name("deploy"))
    for version in ("0.9.3", "0.20.0", "0.33.0"):
        for count in (1, 64):
            machine = folder / f"{count}.json"
            card = {"vendor": "nvidia", "name": "NVIDIA L4", "memory_total_bytes": 23 * 2**30}
            document = {
                "memory": {"total_bytes": 512 * 2**30},
                "accelerators": [card | {"index": i} for i in range(count)],
                "server": {"version": version},
            }
            machine.write_text(json.dumps(document))
            found = cost([deploy, "plan", "--machine", str(machine)], environ)
            show(
                f"deploy plan, {count} cards, {version}", found, 0.30 * (1 if count == 1 else 2), 70
            )


def estimates() -> None:
    """Print how far estimates are from what was logged and published."""
    for script in ("judge_memory.py", "calibrate_speed.py"):
        print(f"\n{script}:", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).with_name(script))], check=True)
    print("\nreal engines, ours against their logs:", flush=True)
    engines = [f"tests/engines/test_{name}.py" for name in ("ollama", "llama_cpp")]
    subprocess.run([sys.executable, "-m", "pytest", "-qs", *engines], check=True, cwd=REPOSITORY)


def whole(folder: Path, environ: Mapping[str, str]) -> None:
    """Print how long a stranger waits for an answering model, and a second run for nothing."""
    clone = folder / "clone"
    git = shutil.which("git") or "git"
    subprocess.run([git, "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
    command = ["make", "--silent", "--directory", str(clone), "auto"]
    show("make auto, bare clone to an answering model", cost(command, environ, 1), 240)
    again = [str(clone / ".venv/bin/deploy"), "auto", "--fallback", "starter"]
    show("deploy auto again: nothing to do", cost(again, environ, 3), 3)
    watchdog = [again[0], "runbook", "run", "watchdog"]
    show("watchdog on a healthy loaded box", cost(watchdog, environ), 1.5)
    print("\nwith a server that answers and a model loaded:")
    quick(environ)


def stop_server(home: Path) -> None:
    """End the server that `make auto` started."""
    for record in home.glob(".local/state/deploy/server-*.json"):
        os.killpg(json.loads(record.read_text())["pgid"], signal.SIGKILL)


def main() -> None:
    """Measure and print."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--quick", action="store_true", help="leave `make auto` out")
    reader.add_argument("--port", type=int, default=16434)
    asked = reader.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        home.mkdir()
        environ = environment(home, asked.port)
        quick(environ)
        probes(Path(name), environ)
        cards(Path(name), environ)
        estimates()
        if not asked.quick:
            try:
                whole(Path(name), environ)
            finally:
                stop_server(home)


if __name__ == "__main__":
    main()
