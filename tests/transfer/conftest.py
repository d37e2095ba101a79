"""A hub on loopback with one large file, and how it is wanted."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.transfer import Wanted
from tests.real.hub import Hub

SIZE_BYTES = 5_000_011


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that has o/r/big.bin, 5 MB of noise."""
    file = tmp_path / "repositories" / "o" / "r" / "big.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(random.Random(7).randbytes(SIZE_BYTES))
    with Hub(tmp_path / "repositories") as hub:
        yield hub


@pytest.fixture
def big(hub: Hub, tmp_path: Path) -> Wanted:
    """That file with its size and its digest."""
    data = (hub.root / "o" / "r" / "big.bin").read_bytes()
    return Wanted(
        url=f"{hub.url}/o/r/resolve/main/big.bin",
        target=tmp_path / "got" / "big.bin",
        what="o/r/big.bin",
        size_bytes=len(data),
        digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
    )
