"""Print what the bench costs and how exact it is, on a real server with a tiny model: `make perf`.

Figures are medians; a figure beyond its goal is marked, and a person decides.
"""

import http.client
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from orchestrator.bench.request import Stopwatch, Target
from orchestrator.bench.sampler import RunnerMemory
from orchestrator.home import Home
from orchestrator.runtime import embedded
from orchestrator.server import Server
from tests.real import tiny
from tests.real.server import RealServer
from tests.report.ledgers import fill

REQUESTS = 60
MODEL = "qwen2.5:0.5b"
OPTIONS = {"num_ctx": 2048}
_GIN = re.compile(r"\| 200 \| +([\d.]+)(µs|ms|s|m\d+(?:\.\d+)?s) .*/api/generate")


def line(what: str, figure: float, unit: str, goal: float) -> None:
    """Print one figure with its goal."""
    over = "  OVER" if figure > goal else ""
    print(f"{what:<58}{figure:10.2f} {unit:<12} goal {goal:g}{over}", flush=True)


def bare(server: RealServer, prompt: str, tokens: int) -> tuple[float, float]:
    """Return wall time and the server's own, in seconds, of a request over a bare HTTP client."""
    options = {**OPTIONS, "num_predict": tokens, "temperature": 0}
    body = {"model": MODEL, "prompt": prompt, "raw": True, "stream": True, "options": options}
    started = time.perf_counter()
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    connection.request("POST", "/api/generate", json.dumps(body))
    *_, last = connection.getresponse().read().splitlines()
    connection.close()
    return time.perf_counter() - started, json.loads(last)["total_duration"] / 1e9


def ours(server: RealServer, prompt: str, tokens: int) -> tuple[float, float]:
    """Return the same of a request over the client that the bench uses."""
    started = time.perf_counter()
    options = {**OPTIONS, "num_predict": tokens, "temperature": 0}
    pieces = list(Server(server.url).stream(MODEL, prompt, options=options))
    total_s = pieces[-1].done.total_s if pieces[-1].done else None
    return time.perf_counter() - started, total_s or 0.0


def prompts() -> Iterator[str]:
    """Yield prompts that no two are alike."""
    number = 0
    while True:
        number += 1
        yield f" {number} words of no meaning"


def client(server: RealServer) -> None:
    """Print what the client adds to a request, over a bare one's; the two take turns."""
    text = prompts()
    added: dict[str, list[float]] = {"bare": [], "ours": []}
    ways: dict[str, Callable[..., tuple[float, float]]] = {"bare": bare, "ours": ours}
    for _ in range(REQUESTS):
        for name, way in ways.items():
            wall_s, server_s = way(server, next(text), 1)
            added[name].append(wall_s - server_s)
    extra_ms = 1000 * (statistics.median(added["ours"]) - statistics.median(added["bare"]))
    line("our client over a bare one, a request", extra_ms, "ms", 1.0)


def log(server: RealServer) -> None:
    """Print how far our time of a request is from what the server logs for it."""
    target = Target(server=Server(server.url), model=MODEL, options=OPTIONS)
    watch = Stopwatch(target=target, clock=time.perf_counter, started=time.perf_counter(), seed=1)
    before = len(server.log_text())
    text = prompts()
    taken = [watch.time(next(text), tokens=64, prompt_tokens=0) for _ in range(10)]
    logged = [_seconds(*found) for found in _GIN.findall(server.log_text()[before:])]
    pairs = [(s.wall_s, g) for s, g in zip(filter(None, taken), logged, strict=True)]
    off = statistics.median([abs(wall_s / logged_s - 1) for wall_s, logged_s in pairs])
    line("our time of a request against the server's log", 100 * off, "%", 2.0)
    gaps = [abs(s.clock_gap) for s in taken if s and s.clock_gap is not None]
    line("decode rate, our clock against the server's", 100 * statistics.median(gaps), "%", 2.0)


def _seconds(number: str, unit: str) -> float:
    if unit.startswith("m") and unit != "ms":
        return 60 * float(number) + float(unit[1:-1])
    return float(number) * {"µs": 1e-6, "ms": 1e-3, "s": 1.0}[unit]


def sampling(server: RealServer, seconds: float = 10.0) -> None:
    """Print what watching a runner costs, children of ours included."""
    Server(server.url).load(MODEL, options=OPTIONS)
    me = psutil.Process()

    def spent() -> float:
        return sum(me.cpu_times()[:4])

    before = spent()
    with RunnerMemory(server.pid):
        entered = spent()
        time.sleep(seconds)
        watched = spent() - entered
    line("watching a runner's memory, of one core", 100 * watched / seconds, "%", 1.0)
    line("the same with its beginning and end", 100 * (spent() - before) / seconds, "%", 5.0)


def report(folder: Path) -> None:
    """Print time and size of a report over 10,000 runs."""
    import subprocess  # noqa: PLC0415 - of this figure alone

    home = Home.of({"DEPLOY_HOME": str(folder)})
    fill(home.ledger, 10_000)
    page = folder / "report.html"
    environ: dict[str, Any] = {"DEPLOY_HOME": str(folder), "HOME": str(folder)}
    walls = []
    for _ in range(5):
        started = time.perf_counter()
        command = [sys.executable, "-m", "orchestrator", "report", "-o", str(page)]
        subprocess.run(command, env=environ, check=True, capture_output=True)
        walls.append(time.perf_counter() - started)
    line("deploy report over 10,000 runs", min(walls), "s", 2.0)
    line("its page", page.stat().st_size / 1e6, "MB", 3.0)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = Home(folder / "data", folder / "state", folder / "cache")
        binary = embedded.install(home, report=print)
        models = tiny.build(folder / "standins")
        with RealServer(binary.path, binary.library_path, folder / "server") as server:
            tiny.create(server, models[MODEL])
            client(server)
            log(server)
            sampling(server)
        report(folder / "deploy")


if __name__ == "__main__":
    main()
