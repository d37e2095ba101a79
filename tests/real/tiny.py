"""The tiny models of the tests: true names and formats, shapes of a few megabytes."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.model import Architecture

from .families import QWEN3, QWEN25, R1, Family
from .registry import Registry
from .server import RealServer
from .standin import Tensor, tensors, write
from .tokenizer import small

_VOCABULARY = 2048
_HERE = Path(__file__).parent
_CATALOG = _HERE.parents[1] / "orchestrator" / "catalog" / "models.json"


@dataclass(frozen=True, slots=True)
class Spec:
    """A shape to be written: layers, width, inner width; heads are 64 wide."""

    tag: str
    quantization: str
    family: Family
    architecture: str
    layers: int
    width: int
    inner: int
    kv_heads: int = 2

    @property
    def shape(self) -> Architecture:
        """The architecture of the file, with the context length of the real model."""
        return Architecture(
            name=self.architecture,
            block_count=self.layers,
            embedding_length=self.width,
            feed_forward_length=self.inner,
            head_count=self.width // 64,
            head_count_kv=self.kv_heads,
            key_length=64,
            value_length=64,
            vocab_size=_VOCABULARY,
            context_length=published(self.tag)["architecture"]["context_length"],
        )


SPECS = (
    Spec("qwen2.5:0.5b", "Q4_K_M", QWEN25, "qwen2", 6, 256, 1536),
    Spec("qwen3:0.6b", "Q4_K_M", QWEN3, "qwen3", 8, 256, 1280),
    Spec("deepseek-r1:1.5b", "Q4_K_M", R1, "qwen2", 6, 512, 1024),
    Spec("deepseek-r1:1.5b-qwen-distill-q8_0", "Q8_0", R1, "qwen2", 6, 512, 1024),
    Spec("deepseek-r1:7b", "Q4_K_M", R1, "qwen2", 6, 768, 3072, 4),
)
"""Smallest first, as a plan orders them."""


@dataclass(frozen=True, slots=True)
class TinyModel:
    """A stand-in on disk; `digest` is that of the file, and so of the layer in a registry."""

    spec: Spec
    path: Path
    digest: str

    @property
    def tag(self) -> str:
        """The name it has in the library."""
        return self.spec.tag

    @property
    def tensors(self) -> list[Tensor]:
        """The tensor table of the file."""
        return tensors(self.spec.shape, self.spec.quantization)

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return sum((t.rows or 1) * t.columns for t in self.tensors)


@dataclass(frozen=True, slots=True)
class TinyCatalog:
    """A catalogue of the tiny models alone, and a profile that names it."""

    path: Path
    profile: Path
    document: dict[str, Any]


def source_key() -> str:
    """Return a key that changes with the code that decides what the files hold."""
    names = ("blocks.py", "families.py", "standin.py", "tiny.py", "tokenizer.py", "words.txt")
    text = b"".join((_HERE / name).read_bytes() for name in names)
    return hashlib.sha256(text).hexdigest()[:12]


def build(folder: Path) -> dict[str, TinyModel]:
    """Return the tiny models by tag, written into `folder` where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return {spec.tag: _built(spec, folder) for spec in SPECS}


def create(server: RealServer, model: TinyModel, name: str | None = None) -> str:
    """Create a tiny model on a server as the library has it; return its name there."""
    client, family, name = server.client(), model.spec.family, name or model.tag
    client.create_blob(model.path)
    client.create(
        name,
        files={"model.gguf": model.digest},
        template=family.template,
        parameters=family.parameters,
        license=family.license,
    )
    return name


def publish(registry: Registry, server: RealServer, models: dict[str, TinyModel]) -> None:
    """Push every tiny model under its library name."""
    for model in models.values():
        registry.push(server, create(server, model), model.tag)


def catalog(models: dict[str, TinyModel], folder: Path) -> TinyCatalog:
    """Write a catalogue in the format of the bundled one that holds only the tiny models."""
    bundled = _bundled()
    entries: dict[str, dict[str, Any]] = {}
    for model in models.values():
        entry = _entry(model)
        entry["variants"] = entries.get(entry["name"], {}).get("variants", []) + entry["variants"]
        entries[entry["name"]] = entry
    document = bundled | {"former": [], "models": list(entries.values())}
    path, profile = folder / "tiny-catalog.json", folder / "tiny.toml"
    path.write_text(json.dumps(document, indent=1))
    profile.write_text(f"schema = 1\ncatalog = {json.dumps(str(path))}\n")
    return TinyCatalog(path, profile, document)


def published(tag: str) -> dict[str, Any]:
    """Return the entry of the bundled catalogue that has this tag. Raises StopIteration: none."""
    name, size = tag.split(":")
    return next(
        entry
        for entry in _bundled()["models"]
        if entry["name"].partition(":")[0] == name
        and any(size in variant["tags"] for variant in entry["variants"])
    )


@cache
def _bundled() -> Any:
    return json.loads(_CATALOG.read_text())


def _built(spec: Spec, folder: Path) -> TinyModel:
    path = folder / f"{spec.tag.replace(':', '-')}.gguf"
    if not path.exists():
        write(path, spec.shape, spec.quantization, small(_VOCABULARY, chat=spec.family.chat))
    with path.open("rb") as file:
        return TinyModel(spec, path, f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


def _entry(model: TinyModel) -> dict[str, Any]:
    shape, true = model.spec.shape, published(model.tag)
    size = model.tag.partition(":")[2]
    (variant,) = (v for v in true["variants"] if size in v["tags"])
    default = {key: value for key, value in asdict(shape).items() if value}
    return true | {
        "parameters_total": model.parameters,
        "kv_bytes_per_token": 4 * shape.block_count * shape.head_count_kv * shape.key_length,
        "architecture": default,
        "shape": {"parameters_text": model.parameters},
        "variants": [variant | _measured(model)],
    }


def _measured(model: TinyModel) -> dict[str, Any]:
    size = model.path.stat().st_size
    return {
        "id": model.digest[7:19],
        "size": f"{size / 1e6:.0f}MB",
        "bytes": size,
        "tensor_bytes": sum(t.size_bytes for t in model.tensors),
        "tensor_count": len(model.tensors),
        "layout": "llama.cpp",
        "digest": model.digest,
    }
