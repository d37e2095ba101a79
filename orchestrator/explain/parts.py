"""The sum of an estimate line by line: how each part comes about, with this model's numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.budget import Budget
from orchestrator.engine import Engine, engine_of
from orchestrator.estimate import Estimate
from orchestrator.memory import KV_BYTES, Run, kv_bytes_per_layer
from orchestrator.model import Architecture
from orchestrator.units import gib


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One line of the sum; `basis` says how well the number is known."""

    name: str
    bytes: int
    formula: str
    basis: str

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the explanation's `parts`."""
        return {
            "name": self.name,
            "bytes": self.bytes,
            "formula": self.formula,
            "basis": self.basis,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A card (`index`) or the host (None): what lies there, of what is free for it."""

    index: int | None
    bytes: int
    layers: int
    free_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the explanation's `places`."""
        return {
            "index": self.index,
            "bytes": self.bytes,
            "layers": self.layers,
            "free_bytes": self.free_bytes,
        }


def parts(found: Estimate, basis: dict[str, str]) -> tuple[Part, ...]:
    """Return the parts of the total; `basis` is that of the estimate's document."""
    shape, run = found.load.shape, found.load.run
    lines = (
        Part(
            name="weights",
            bytes=found.weights_bytes,
            formula=weights_formula(found),
            basis=basis["weights"],
        ),
        Part(
            name="KV cache",
            bytes=found.kv_cache_bytes,
            formula=cache_formula(shape, run, found.kv_cache_bytes) or "by the rule of its basis",
            basis=basis["kv_cache"],
        ),
        Part(
            name="compute",
            bytes=found.compute_bytes,
            formula=compute_formula(shape, run),
            basis=basis["compute"].partition(";")[0],
        ),
    )
    if not found.overhead_bytes:
        return lines
    cards = max(1, len(found.devices))
    driver = Part(
        name="driver",
        bytes=found.overhead_bytes,
        formula=f"{cards} card{'s' if cards > 1 else ''} x {gib(found.overhead_bytes // cards)} "
        "that CUDA takes before any model",
        basis="rule",
    )
    return (*lines, driver)


def places(found: Estimate, allowed: Budget) -> tuple[Place, ...]:
    """Return what lies on each card and on the host; each is judged by itself."""
    free = {c.index: c.budget_bytes for c in allowed.cards}
    cards = [
        Place(index=d.index, bytes=d.bytes, layers=d.layers, free_bytes=free.get(d.index, 0))
        for d in found.devices
    ]
    host = Place(
        index=None,
        bytes=found.host_bytes,
        layers=found.placement.total_layers - found.placement.gpu_layers,
        free_bytes=allowed.host_bytes,
    )
    return (*cards, host)


def weights_formula(found: Estimate) -> str:
    """Return parameters and the bits that one takes on average."""
    target, once = found.target, found.load.weights.total_bytes
    bits = 8 * once / max(1, target.parameters_total)
    text = (
        f"{target.parameters_total / 1e9:.2f} billion parameters x {bits:.2f} bits "
        f"({target.quantization}) / 8"
    )
    twice = found.weights_bytes - once
    if twice and found.load.shape.tied_embeddings:
        text += f" + {gib(twice)}: the token table, which is the output too, lies on both sides"
    return text


def cache_formula(shape: Architecture, run: Run, cache_bytes: int) -> str | None:
    """Return the factors that make the cache; None where these are not its rule."""
    each = KV_BYTES[run.kv_cache_type]
    layer = kv_bytes_per_layer(shape, run)
    found = next((f for f, n in _values(shape) if int(run.cells * n * each) == layer), None)
    state = cache_bytes - shape.attention_layers * layer
    if found is None or (state and not (shape.recurrent_state_bytes and state > 0)):
        return None
    number = f"{each}" if each.denominator == 1 else f"{each.numerator}/{each.denominator}"
    text = f"{shape.attention_layers} layers x {found} x {number} bytes x {_tokens(run)}"
    return f"{text} + {gib(state)} of recurrent state" if state else text


def _values(shape: Architecture) -> Iterator[tuple[str, int]]:
    """Yield the forms that a token and layer may have in the cache, and their values."""
    if shape.mla_cache:
        latent, rope = shape.kv_lora_rank, shape.rope_dimension_count
        yield f"({latent} + {rope}) latent values", latent + rope
        yield f"({latent} + {latent} + {rope}) latent values, kept twice", 2 * latent + rope
    heads, key, value = shape.head_count_kv, shape.key_length, shape.value_length
    yield f"{heads} KV heads x ({key} + {value})", heads * (key + value)


def _tokens(run: Run) -> str:
    slots = f" x {run.parallel} slots" if run.parallel > 1 else ""
    padded = f", padded to {run.cells}" if run.cells != run.context_total else ""
    return f"{run.context} tokens{slots}{padded}"


def compute_formula(shape: Architecture, run: Run) -> str:
    """Return what is largest in the scratch memory of one prefill step."""
    batch, cells = run.batch, run.cells
    text = f"scratch of a prefill step of {batch} tokens: "
    logits = f"logits 4 x {batch} x {shape.vocab_size} = {gib(4 * batch * shape.vocab_size)}"
    if engine_of(shape, run.version) is not Engine.LLAMA_RUNNER:
        logits = "the rest is tensors of the widest layer"
    if run.flash_attention:
        mask = f"mask 2 x {batch} x {cells} = {gib(2 * batch * cells)}"
        return f"{text}no table of scores with flash attention; {mask}, {logits}"
    scores = gib(4 * batch * cells * shape.head_count)
    return f"{text}scores 4 x {batch} x {cells} x {shape.head_count} heads = {scores}, {logits}"
