"""What the tests of rehearsals share: a short profile, and what must be left of one: nothing."""

import json
from pathlib import Path

import pytest

from orchestrator.server import Server
from orchestrator.store import Store
from tests.real.server import RealServer
from tests.real.tiny import TinyCatalog


@pytest.fixture
def profile(tiny_catalog: TinyCatalog, tmp_path: Path) -> Path:
    """The tiny catalogue, without a floor in speed: what is tested here is not speed."""
    path = tmp_path / "tiny.toml"
    catalog = json.dumps(str(tiny_catalog.path))
    path.write_text(f"catalog = {catalog}\nmin_tps = 0\nvalidation_s = 1\n")
    return path


def left_of_rehearsals(server: RealServer, home: Path) -> list[str]:
    """Return the names, files, blobs and loaded models that a rehearsal has left."""
    api, store = Server(server.url), Store(server.models)
    names = [m.name for m in api.installed()] + [m.name for m in api.loaded()]
    files = [p for p in (*server.models.rglob("*"), *home.rglob("*")) if p.is_file()]
    named = {store.blob(x.digest) for m in store.names().values() for x in m.layers}
    blobs = {p for p in files if p.parent == server.models / "blobs"}
    strange = {p for p in files if "rehearsal" in p.name} | (blobs - named)
    return [n for n in names if "rehearsal" in n] + sorted(map(str, strange))
