"""What the tests of imports share: local files, a destination, and what must be left: nothing."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from orchestrator.cli.terminal import Plain
from orchestrator.era import ServerVersion
from orchestrator.errors import DeployError, Terminated
from orchestrator.families import Family
from orchestrator.importing import Destination, Imported, LocalFile
from orchestrator.importing.safetensors import import_safetensors
from orchestrator.server import Server
from orchestrator.store import Store
from tests.real import families
from tests.real.server import RealServer, bare_environment

_REPOSITORY = Path(__file__).parents[2]
NAME = "hub/tiny:q"


class Heard:
    """Keeps all that an import tells."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.waits: list[str] = []
        self.advances: list[tuple[str, int, int | None]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def tick(self, text: str) -> None:
        self.said.append(text)

    def advance(self, label: str, done: int, total: int | None) -> None:
        self.advances.append((label, done, total))

    def waiting(self, text: str) -> nullcontext[None]:
        self.waits.append(text)
        return nullcontext()


def family_of(found: families.Family) -> Family:
    """Return a family of the tests' own as an import takes it."""
    return Family(
        name=found.chat,
        template=found.template,
        parameters=found.parameters,
        thinking=found.thinking,
    )


R1 = family_of(families.R1)
QWEN3 = family_of(families.QWEN3)


def local_files(folder: Path) -> list[LocalFile]:
    """Return the files of a repository as a download of ours leaves them."""
    return [local_file(path) for path in sorted(folder.iterdir())]


def local_file(path: Path) -> LocalFile:
    """Return one file with its digest."""
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    return LocalFile(name=path.name, path=path, size_bytes=path.stat().st_size, digest=digest)


def destination(server: RealServer, *, store: bool = True) -> Destination:
    """Return the server as an import sees it; without `store` its files are not ours."""
    ours = Server(server.url)
    found = Store.at(str(server.models)) if store else None
    return Destination(server=ours, store=found, version=ServerVersion.parse(ours.version()))


def imported(
    server: RealServer,
    folder: Path,
    *,
    quantization: str = "Q4_K_M",
    family: Family | None = R1,
    name: str = NAME,
    progress: Heard | None = None,
    store: bool = True,
) -> Imported:
    """Import the repository in `folder`."""
    return import_safetensors(
        destination(server, store=store),
        name,
        local_files(folder),
        quantization=quantization,
        family=family,
        licence="MIT License",
        progress=progress or Heard(),
    )


def left_over(server: RealServer, *names: str) -> list[str]:
    """Return what is in the store beside those models: other names, files that none names."""
    store = Store(server.models)
    found = store.names()
    strange = [name for name in found if name not in names]
    named = {store.blob(x.digest) for m in found.values() for x in m.layers}
    manifests = server.models / "manifests"
    files = {p for p in server.models.rglob("*") if p.is_file() and manifests not in p.parents}
    return strange + store.torn() + sorted(str(p.relative_to(server.models)) for p in files - named)


def disk_bytes(folder: Path) -> int:
    """Return the bytes of all blocks below a folder, temporary files included."""
    total = 0
    for root, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.lstat(Path(root) / file).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


@contextmanager
def polled(folder: Path) -> Iterator[list[int]]:
    """Look at the bytes below a folder all the time; the list has the least and the most."""
    found, ended = [disk_bytes(folder)], threading.Event()

    def look() -> None:
        while not ended.wait(0.003):
            found.append(disk_bytes(folder))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


@contextmanager
def started(server: RealServer, folder: Path, home: Path) -> Iterator[subprocess.Popen[str]]:
    """Import in a process of its own, which can be killed; it ends as the command line does."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.importing.imported", server.url, server.models, folder],
        cwd=_REPOSITORY,
        env=bare_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as ours:
        try:
            yield ours
        finally:
            ours.kill()


def _main(url: str, models: str, folder: str) -> int:
    def terminate(_number: int, _frame: object) -> None:
        raise Terminated("stopped")

    signal.signal(signal.SIGTERM, terminate)
    server = Server(url)
    version = ServerVersion.parse(server.version())
    to = Destination(server=server, store=Store.at(models), version=version)
    try:
        import_safetensors(
            to, NAME, local_files(Path(folder)),
            quantization="Q4_K_M", family=R1, licence="MIT License", progress=Plain(),
        )  # fmt: skip
    except DeployError as e:
        sys.stderr.write(f"error: {e.what}\n")
        return e.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
