"""Print what a pull of ours costs beside the plain client's: the same server, the same bytes.

A file of 1 GB comes from a registry on loopback, by turns through us and through `ollama.Client`.
The server looks once a second whether a file is whole, so runs differ by whole
seconds: the best of each side are compared.
Nothing here fails: a figure beyond its goal is marked, and a person decides.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

REPOSITORY = Path(__file__).parents[1]
TAG = "standin:1gb"
GOAL = 0.01
_PIECE = 2**20
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_MODEL = "application/vnd.ollama.image.model"
_FORMAT = b'{"model_format": "gguf"}'

if TYPE_CHECKING:
    from tests.real.registry import Registry
    from tests.real.server import RealServer


def publish(registry: "Registry", size_bytes: int) -> None:
    """Put a model of noise into a registry through its API: no pull reads what is in it."""
    import httpx  # noqa: PLC0415 - only here

    base = f"{registry.url}/v2/library/standin"
    with httpx.Client(trust_env=False, timeout=120) as client:

        def layer(kind: str, size: int, pieces: Iterable[bytes]) -> dict[str, object]:
            digest, place = hashlib.sha256(), client.post(f"{base}/blobs/uploads/")
            read = _hashed(pieces, digest)
            sent = client.patch(place.headers["Location"], content=read)
            name = f"sha256:{digest.hexdigest()}"
            end = httpx.URL(sent.headers["Location"]).copy_merge_params({"digest": name})
            client.put(end).raise_for_status()
            return {"mediaType": kind, "digest": name, "size": size}

        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": layer(_CONFIG, len(_FORMAT), [_FORMAT]),
            "layers": [layer(_MODEL, size_bytes, _noise(size_bytes))],
        }
        text, headers = json.dumps(manifest), {"Content-Type": _MANIFEST}
        client.put(f"{base}/manifests/1gb", content=text, headers=headers).raise_for_status()


def _noise(size_bytes: int) -> Iterator[bytes]:
    for at in range(0, size_bytes, _PIECE):
        yield os.urandom(min(_PIECE, size_bytes - at))


def _hashed(pieces: Iterable[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def timed(pull: Callable[[], None], remove: Callable[[], None]) -> tuple[float, float]:
    """Return wall and own CPU seconds of a pull into a store that has nothing of it."""
    remove()
    began, worked = time.perf_counter(), time.process_time()
    pull()
    return time.perf_counter() - began, time.process_time() - worked


def compare(registry: "Registry", server: "RealServer", rounds: int) -> None:
    """Print both costs, and by how much ours is above."""
    from orchestrator.cli.terminal import Plain  # noqa: PLC0415 - only now on the path
    from orchestrator.server import Server  # noqa: PLC0415
    from orchestrator.source.named import through_ollama  # noqa: PLC0415

    client, ours = server.client(), Server(server.url)
    source = through_ollama("mirror", ours, url=registry.url)
    full = source.name_of(TAG)

    def remove() -> None:
        ours.delete(TAG)
        ours.delete(full)

    def theirs() -> None:
        for _ in client.pull(full, insecure=True, stream=True):
            pass

    def our_own() -> None:
        source.pull(TAG, Plain())

    timed(theirs, remove)  # the registry's file is in memory from here on
    pairs = [(timed(theirs, remove), timed(our_own, remove)) for _ in range(rounds)]
    plain, own = ([pair[n] for pair in pairs] for n in (0, 1))
    for what, runs in (("ollama client", plain), ("deploy", own)):
        walls = " ".join(f"{wall:.2f}" for wall, _ in runs)
        cpu = median(spent for _, spent in runs)
        print(
            f"{what:<16} {walls} s; median {median(w for w, _ in runs):.2f} s, own CPU {cpu:.2f} s"
        )
    best = [min(wall for wall, _ in runs) for runs in (plain, own)]
    over = best[1] / best[0] - 1
    apart = max(wall for wall, _ in plain) / best[0] - 1
    mark = "  OVER" if over > GOAL else ""
    print(f"overhead of the best {100 * over:+.1f} %, goal under 1 %{mark}")
    print(f"noise of this box: the client's own runs differ by {100 * apart:.1f} %")


def main() -> None:
    """Publish, pull by turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--mb", type=int, default=1000, help="size of the file in 10^6 bytes")
    asked = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY))
    from orchestrator.home import Home  # noqa: PLC0415
    from orchestrator.runtime import embedded  # noqa: PLC0415
    from tests.real.registry import Registry  # noqa: PLC0415
    from tests.real.server import RealServer  # noqa: PLC0415

    kept = REPOSITORY / ".cache" / "tests" / "runtime"
    binary = embedded.install(Home(kept / "data", kept / "state", kept / "cache"), report=print)
    with tempfile.TemporaryDirectory(prefix="perf-pull-") as name:
        folder = Path(name)
        with (
            Registry(folder) as registry,
            RealServer(binary.path, binary.library_path, folder) as server,
            Path(os.devnull).open("w") as nowhere,
        ):
            publish(registry, asked.mb * 10**6)
            with redirect_stderr(nowhere):
                compare(registry, server, asked.rounds)


if __name__ == "__main__":
    main()
