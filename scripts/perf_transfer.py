"""Print the rate of our downloader beside curl's, 1 GB over loopback: part of `make perf`.

Both write to the same folder, in turns, and tell how long they took without their start-up; ours
hashes every byte and syncs the file. Nothing fails: a figure beyond its goal is marked, and a
person decides.
"""

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

GB = 10**9
MIB = 1024**2
ROUNDS = 3
RATIO = 0.95
PEAK_MIB = 120

_OURS = """
import sys, time
from contextlib import nullcontext
from pathlib import Path
import tenacity, urllib3
from orchestrator.transfer import Wanted, fetch
class Quiet:
    def say(self, text): ...
    def tick(self, text): ...
    def advance(self, label, done, total): ...
    def waiting(self, text): return nullcontext()
url, target, size, digest = sys.argv[1:]
wanted = Wanted(url=url, target=Path(target), what="it", size_bytes=int(size), digest=digest)
began = time.perf_counter()
fetch([wanted], "it", Quiet())
print(time.perf_counter() - began)
"""


def serve(file: Path) -> int:
    """Serve that file to whoever connects, by sendfile; return the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(link: socket.socket) -> None:
        with link, file.open("rb") as stream:
            link.recv(65536)
            size = file.stat().st_size
            link.sendall(
                f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode()
            )
            link.sendfile(stream)

    def run() -> None:
        while True:
            answer(listener.accept()[0])

    threading.Thread(target=run, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def rate(command: list[str], target: Path, size: int) -> tuple[float, float]:
    """Run a download that prints its seconds; return its MB/s and its peak memory in MiB."""
    target.unlink(missing_ok=True)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    took_s = float(child.stdout.read() if child.stdout else 0)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode or target.stat().st_size != size:
        raise subprocess.CalledProcessError(child.returncode, command)
    return size / took_s / 10**6, usage.ru_maxrss * 1024 / MIB


def noise(file: Path) -> str:
    """Write 1 GB that no disk compresses; return its digest."""
    block, left = os.urandom(10 * MIB), GB
    with file.open("wb") as stream:
        while left:
            left -= stream.write(block[:left])
    with file.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def main() -> None:
    """Alternate, take the best of each, print."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        digest = noise(source)
        url = f"http://127.0.0.1:{serve(source)}/source"
        ours = [sys.executable, "-c", _OURS, url, str(target), str(GB), digest]
        theirs = ["curl", "-sf", "-w", "%{time_total}", "-o", str(target), url]
        found = [(rate(theirs, target, GB), rate(ours, target, GB)) for _ in range(ROUNDS)]
    curl = max(each[0][0] for each in found)
    own = max(each[1][0] for each in found)
    peak = max(each[1][1] for each in found)
    mark = "" if own >= RATIO * curl else "TOO SLOW"
    print(f"{'download of 1 GB by curl':<44}{curl:8.0f} MB/s")
    print(f"{'by deploy, sha256 on, synced':<44}{own:8.0f} MB/s")
    print(f"{'ratio':<44}{own / curl:8.2f}        goal {RATIO:g}   {mark}")
    mark = "" if peak <= PEAK_MIB else "OVER MEMORY"
    print(f"{'its peak memory':<44}{peak:8.0f} MiB    goal {PEAK_MIB:g} MiB   {mark}")


if __name__ == "__main__":
    main()
