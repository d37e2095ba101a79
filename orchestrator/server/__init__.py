"""The only room that speaks Ollama: its HTTP API, its JSON, its error texts."""

from orchestrator.server.client import Server
from orchestrator.server.stream import Done, LoadTiming, Piece

__all__ = ["Done", "LoadTiming", "Piece", "Server"]
