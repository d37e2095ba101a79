"""Shapes, cards and machines that the tests of the core share; strategies for its laws."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from orchestrator.catalog import Catalog
from orchestrator.era import ServerVersion
from orchestrator.gguf.weigh import weights_of
from orchestrator.machine import Machine
from orchestrator.machine_file import from_json
from orchestrator.memory import Run
from orchestrator.model import Architecture, Candidate, Weights
from orchestrator.placement import Load
from orchestrator.units import GIB

CATALOG = Catalog.bundled()
VERSIONS = ("0.9.3", "0.12.3", "0.20.0", "0.33.0")

SMOLLM2 = Architecture(
    name="llama",
    block_count=30,
    embedding_length=576,
    feed_forward_length=1536,
    head_count=9,
    head_count_kv=3,
    key_length=64,
    value_length=64,
    vocab_size=49152,
    context_length=8192,
    tied_embeddings=True,
)
# Qwen2.5-0.5B's shape with a tokenizer of 152,064 entries and an output matrix of its own.
HALF_BILLION = Architecture(
    name="qwen2",
    block_count=24,
    embedding_length=896,
    feed_forward_length=4864,
    head_count=14,
    head_count_kv=2,
    key_length=64,
    value_length=64,
    vocab_size=152064,
    context_length=131072,
)
TINY = Architecture(
    name="qwen2",
    block_count=4,
    embedding_length=256,
    feed_forward_length=512,
    head_count=4,
    head_count_kv=2,
    key_length=64,
    value_length=64,
    vocab_size=512,
    context_length=4096,
)


def shape_of(tag: str) -> Architecture:
    return CATALOG.find(tag).architecture


def run_of(version: str, context: int = 4096, **settings: Any) -> Run:
    return Run(context=context, version=ServerVersion.parse(version), **settings)


def load_of(tag: str, version: str = "0.9.3", context: int = 4096, **settings: Any) -> Load:
    found = CATALOG.find(tag)
    run = run_of(version, context, **settings)
    return Load(shape=found.architecture, weights=weights_of(found), run=run)


def uneven(shape: Architecture, sizes: list[int], embedding: int, output: int) -> Weights:
    """Return weights whose layers differ, as mixtures of quantizations make them."""
    layers = tuple(sizes[i % len(sizes)] for i in range(shape.block_count))
    return Weights(
        total_bytes=sum(layers) + embedding + output,
        embedding_bytes=embedding,
        output_bytes=output,
        per_layer_bytes=layers,
        basis="header",
    )


def box(
    ram_gib: float, *cards: tuple[str, float], version: str | None = None, **more: Any
) -> Machine:
    """Return a machine as its owner would describe it in a file."""
    return from_json(box_json(ram_gib, *cards, version=version, **more), source="test")


def box_json(
    ram_gib: float, *cards: tuple[str, float], version: str | None = None, **more: Any
) -> dict[str, Any]:
    """Return the document of a machine; `more` adds to it (disk, host, server settings)."""
    server = {"version": version, **more.pop("server", {})}
    entries = [{"name": name, "memory_total_bytes": int(gib * GIB)} for name, gib in cards]
    memory = {"total_bytes": int(ram_gib * GIB), **more.pop("memory", {})}
    return {"schema": 1, "memory": memory, "accelerators": entries, "server": server, **more}


def made(name: str, billions: float, *, quantization: str = "Q4_K_M", **more: Any) -> Candidate:
    """Return a candidate of the 7B shape under another name and size."""
    size = int(billions * 0.61e9)
    like = CATALOG.find("deepseek-r1:7b")
    own: dict[str, Any] = {
        "tags": (name,),
        "model": name,
        "quantization": quantization,
        "parameters_total": int(billions * 1e9),
        "parameters_active": int(billions * 1e9),
        "file_bytes": size,
        "tensor_bytes": size,
    }
    return replace(like, **{**own, **more})


def runs(least: int = 1, most: int = 131072) -> st.SearchStrategy[Run]:
    """Return settings as any server could have them."""
    return st.builds(
        Run,
        context=st.integers(least, most),
        parallel=st.integers(1, 4),
        flash_attention=st.booleans(),
        version=st.sampled_from(VERSIONS).map(ServerVersion.parse),
    )


def shapes() -> st.SearchStrategy[Architecture]:
    """Return the shapes of the catalogue: dense, tied, mixtures of experts, latent, hybrid."""
    tags = (
        "qwen2.5:0.5b", "deepseek-r1:1.5b", "deepseek-r1:8b-llama-distill-q4_K_M", "qwen3:8b",
        "qwen3:30b", "qwen3-next:80b", "deepseek-r1:671b",
    )  # fmt: skip
    return st.sampled_from([SMOLLM2, HALF_BILLION, *map(shape_of, tags)])
