"""A store without a server: what is asked of its files needs none."""

import hashlib
import json
from pathlib import Path

from orchestrator.store import Store

TAG = "qwen3:0.6b"
CONTENT = b"weights" * 1000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def filled(folder: Path) -> Store:
    """Return a store that has one model of one layer."""
    store = Store.made(folder)
    store.receive(DIGEST, [CONTENT])
    layer = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": DIGEST,
        "size": len(CONTENT),
    }
    store.adopt(TAG, json.dumps({"layers": [layer]}).encode())
    return store
