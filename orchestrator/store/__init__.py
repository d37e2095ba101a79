"""The files of an Ollama model store on this very machine: names, blobs, and what is left over."""

from orchestrator.store.damage import Damage
from orchestrator.store.manifest import Layer, Manifest
from orchestrator.store.store import Store
from orchestrator.store.sweep import Swept

__all__ = ["Damage", "Layer", "Manifest", "Store", "Swept"]
