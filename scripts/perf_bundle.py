"""Print what a bundle costs beside plain tools: the same bytes, the same disk.

A store with one model of noise (1 GB) is bundled, and the bundle is loaded into an empty store, by
turns with `cp` of the same file followed by `sha256sum` of the copy. Ours also waits until every
byte is on the disk, and theirs does not. The medians are compared.
Nothing here fails: a figure beyond its goal is marked, and a person decides.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).parents[1]
NAME = "standin:1gb"
GOAL = 0.8
_PIECE = 2**20
_MEDIA = "application/vnd.ollama.image.model"
_CONFIG = "application/vnd.docker.container.image.v1+json"


def store(models: Path, size_bytes: int) -> Path:
    """Make a store with one model of noise, and return the file of its weights."""
    (models / "blobs").mkdir(parents=True)
    digest, part = hashlib.sha256(), models / "blobs" / "part"
    with part.open("wb") as file:
        for left in range(size_bytes, 0, -_PIECE):
            piece = os.urandom(min(_PIECE, left))
            digest.update(piece)
            file.write(piece)
    weights = part.rename(part.with_name(f"sha256-{digest.hexdigest()}"))
    config = b'{"model_format":"gguf"}'
    sha256 = hashlib.sha256(config).hexdigest()
    (models / "blobs" / f"sha256-{sha256}").write_bytes(config)
    layer = {"mediaType": _MEDIA, "digest": f"sha256:{digest.hexdigest()}", "size": size_bytes}
    document = {
        "schemaVersion": 2,
        "config": {"mediaType": _CONFIG, "digest": f"sha256:{sha256}", "size": len(config)},
        "layers": [layer],
    }
    manifest = models / "manifests/registry.ollama.ai/library/standin/1gb"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps(document))
    return weights


def timed(action: Callable[[], object]) -> float:
    """Return how many seconds it takes."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def plain(source: Path, to: Path) -> None:
    """Copy with cp, and hash the copy."""
    subprocess.run(["cp", source, to], check=True)
    subprocess.run(["sha256sum", to], check=True, stdout=subprocess.DEVNULL)


def measure(folder: Path, size_bytes: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each: create, load, plain."""
    sys.path.insert(0, str(REPOSITORY))
    from orchestrator.bundle.create import create  # noqa: PLC0415 - the path is set here
    from orchestrator.bundle.load import load  # noqa: PLC0415
    from orchestrator.cli.terminal import Plain  # noqa: PLC0415
    from orchestrator.home import Home  # noqa: PLC0415

    models, other, file = folder / "one", folder / "other", folder / "b.tar"
    weights, copy = store(models, size_bytes), folder / "copy"
    base = {"DEPLOY_HOME": str(folder / "deploy"), "OLLAMA_HOST": "127.0.0.1:9", "PATH": ""}
    one, two = ({**base, "OLLAMA_MODELS": str(path)} for path in (models, other))
    home, seconds = Home.of(base), {"create": [0.0], "load": [0.0], "plain": [0.0]}
    for each in seconds.values():
        each.clear()
    for _ in range(rounds):
        shutil.rmtree(other, ignore_errors=True)
        for path in (file, copy):
            path.unlink(missing_ok=True)
        seconds["create"].append(timed(lambda: create([NAME], file, home, one, Plain())))
        seconds["plain"].append(timed(lambda: plain(weights, copy)))
        seconds["load"].append(timed(lambda: load(file, home, two, Plain())))
    return seconds


def main() -> None:
    """Measure and print."""
    read = argparse.ArgumentParser(description=__doc__)
    read.add_argument("--megabytes", type=int, default=1000)
    read.add_argument("--rounds", type=int, default=5)
    read.add_argument("--folder", type=Path, help="where to work; by default the temporary folder")
    told = read.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=told.folder) as folder,
        Path(os.devnull).open("w") as silent,
        redirect_stderr(silent),
    ):
        found = measure(Path(folder), told.megabytes * 10**6, told.rounds)
    base = median(found["plain"])
    print(f"cp and sha256sum      {base:6.2f} s for {told.megabytes} MB, median of {told.rounds}")
    for name in ("create", "load"):
        ratio = base / median(found[name])
        mark = "" if ratio >= GOAL else f"   below the goal of {GOAL}"
        print(f"deploy bundle {name:<7} {median(found[name]):6.2f} s, ratio {ratio:.2f}{mark}")


if __name__ == "__main__":
    main()
