"""Deployments made in a second, without the loop: the same names, settings and ledger rows."""

import time
from typing import Any

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.runtime.runner import runners_of
from orchestrator.server import Server
from orchestrator.store import Store
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

ALIAS = "deploy-current:latest"
CONTEXT = 2048


def deploy(
    server: RealServer, home: Home, model: TinyModel, *, context: int = CONTEXT, **fields: Any
) -> dict[str, Any]:
    """Serve a tiny model by the alias and enter it in the ledger; return its document.

    `fields` replace those of the document.
    """
    api, settings = Server(server.url), {"num_ctx": context}
    tag, name = model.tag, f"deploy/{model.tag}-ctx{context}"
    if api.find(tag) is None:
        tiny.create(server, model)
    api.derive(name, tag, settings)
    api.copy(name, ALIAS)
    api.load(name, options=settings, keep_alive=-1)
    server.client().generate(name, "a b c", options={**settings, "num_predict": 1})
    derived, base, manifest = api.find(name), api.find(tag), Store(server.models).manifest(name)
    assert derived
    assert base
    assert manifest
    names = {"model": name, "digest": derived.digest, "tag_digest": base.digest}
    shape = {"context": context, "settings": settings, "measured": _measured(server, model)}
    layers = [layer.to_json() for layer in manifest.layers]
    document = _document(server, model) | names | shape | {"layers": layers} | fields
    ledger = Ledger(home.ledger)
    number = ledger.begin(document, {"name": "a box"})
    ledger.accept(number, document)
    return {**document, "id": number}


def names(server: RealServer) -> set[str]:
    """Return what the server lists."""
    return {str(m.model) for m in server.client().list().models}


def digests(server: RealServer) -> dict[str, str]:
    """Return the digest of every name that the server lists."""
    return {str(m.model): str(m.digest) for m in server.client().list().models}


def in_memory(server: RealServer) -> set[str]:
    """Return the digests of the models in memory."""
    return {str(m.digest) for m in server.client().ps().models}


def in_memory_at_last(server: RealServer, digests: set[str]) -> set[str]:
    """Return what is in memory once it is that, or after 30 s: what still answers goes later."""
    until = time.monotonic() + 30
    while (found := in_memory(server)) != digests and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _measured(server: RealServer, model: TinyModel) -> dict[str, Any]:
    [runner] = [r for r in runners_of(server.pid) if r.blob == model.digest]
    return {
        "resident_bytes": runner.peak_rss_bytes,
        "devices": [],
        "decode_tps": 100.0,
        "prefill_tps": 1000.0,
        "ttft_s": 0.1,
        "load_s": 0.5,
    }


def _document(server: RealServer, model: TinyModel) -> dict[str, Any]:
    return {
        "schema": 1,
        "id": None,
        "state": "current",
        "tag": model.tag,
        "alias": ALIAS,
        "reference": model.tag,
        "blob": model.digest,
        "differences": [],
        "architecture": model.spec.architecture,
        "quantization": model.spec.quantization,
        "source": "the registry",
        "server_host": server.url,
        "server_version": "0.9.3",
        "runtime": "embedded",
        "machine": {"name": "a box", "digest": "0123456789abcdef"},
        "profile": "default",
        "deployed_at": "2026-11-25T12:00:00Z",
        "parallel": 1,
        "placement": "cpu",
        "requested": {"tags": [model.tag], "min_tps": 0},
        "planned": {
            "total_bytes": 100_000_000,
            "resident_bytes": 100_000_000,
            "devices": [],
            "decode_tps": 100.0,
        },
        "verdict": {"outcome": "passed", "checks": []},
        "gap_s": None,
        "failure": None,
        "rolled_back_from": None,
        "rejected": [],
        "changed": True,
    }
