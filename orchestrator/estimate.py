"""Memory and speed of one model in one placement: what a plan promises and a bench grades."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator import compute, memory
from orchestrator.engine import Engine
from orchestrator.grade import Grade
from orchestrator.machine import Machine
from orchestrator.model import Architecture, Target
from orchestrator.placement import Load, Placement, Share
from orchestrator.speed import Speed, predict
from orchestrator.speed.predict import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceBytes:
    """What one card takes: weights, cache, compute buffer and driver context."""

    index: int
    bytes: int
    layers: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """Memory that must be free for it, judged per device and for the host."""

    total_bytes: int
    host_bytes: int
    devices: tuple[DeviceBytes, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrated:
    """An estimate as if it were off by as much as the runs of its grade were.

    `needs` is None where their memory is not known, `decode_tps` where their rate is not.
    """

    grade: Grade
    needs: Needs | None
    resident_bytes: int | None
    decode_tps: Range | None

    def to_json(self) -> dict[str, Any]:
        """Return the estimate document's `calibrated`."""
        memory, decode = self.grade.memory, self.grade.decode
        return {
            "runs": self.grade.runs,
            "memory_ratio": round(memory.median, 4) if memory else None,
            "speed_ratio": round(decode.median, 4) if decode else None,
            "memory": self._memory_json(),
            "decode_tps": [round(v, 2) for v in self.decode_tps] if self.decode_tps else None,
            "basis": self.grade.basis,
        }

    def _memory_json(self) -> dict[str, Any] | None:
        if self.needs is None:
            return None
        return {
            "total_bytes": self.needs.total_bytes,
            "resident_bytes": self.resident_bytes,
            "host_bytes": self.needs.host_bytes,
            "devices": [{"index": d.index, "bytes": d.bytes} for d in self.needs.devices],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """See design: total = weights + KV + compute + overhead, over all devices and the host.

    All figures are raw; `calibrated` stands beside them. None: nothing like it was measured.
    """

    target: Target
    load: Load
    placement: Placement
    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    overhead_bytes: int
    resident_bytes: int | None
    resident_prompt_tokens: int
    devices: tuple[DeviceBytes, ...]
    host_bytes: int
    speed: Speed | None
    requested: Mapping[str, Any] = field(default_factory=dict)
    calibrated: Calibrated | None = None

    @property
    def total_bytes(self) -> int:
        """Everything reserved; judged per device and for the host, never on this sum."""
        return self.weights_bytes + self.kv_cache_bytes + self.compute_bytes + self.overhead_bytes

    @property
    def needs(self) -> Needs:
        """What decides the fit: each raw figure, or the calibrated one where that is larger."""
        seen = self.calibrated.needs if self.calibrated else None
        if seen is None:
            return self._raw
        pairs = zip(self.devices, seen.devices, strict=True)
        return Needs(
            total_bytes=max(self.total_bytes, seen.total_bytes),
            host_bytes=max(self.host_bytes, seen.host_bytes),
            devices=tuple(max(pair, key=lambda d: d.bytes) for pair in pairs),
        )

    @property
    def decode_tps(self) -> float | None:
        """The likely rate in tokens/s: as calibrated, else raw. None: it is not known."""
        if self.calibrated and self.calibrated.decode_tps:
            return self.calibrated.decode_tps[1]
        return self.speed.decode_tps[1] if self.speed else None

    @property
    def _raw(self) -> Needs:
        return Needs(total_bytes=self.total_bytes, host_bytes=self.host_bytes, devices=self.devices)

    def graded(self, grade: Grade | None) -> "Estimate":
        """Return it with what it would be by a grade of its kind; None: there is none."""
        if grade is None:
            return self
        calibrated = Calibrated(
            grade=grade,
            needs=self._needs_by(grade) if grade.memory else None,
            resident_bytes=self._resident_by(grade),
            decode_tps=self._decode_by(grade),
        )
        return replace(self, calibrated=calibrated)

    def _needs_by(self, grade: Grade) -> Needs:
        """Scale what was measured: devices by theirs; of the host what is more or less resident."""
        by = grade.devices.median if grade.devices else 1.0
        devices = tuple(replace(d, bytes=round(by * d.bytes)) for d in self.devices)
        more = sum(d.bytes for d in devices) - sum(d.bytes for d in self.devices)
        more_host = (self._resident_by(grade) or 0) - (self.resident_bytes or 0)
        return Needs(
            total_bytes=self.total_bytes + more + more_host,
            host_bytes=self.host_bytes + more_host,
            devices=devices,
        )

    def _resident_by(self, grade: Grade) -> int | None:
        if self.resident_bytes is None:
            return None
        return round((grade.resident.median if grade.resident else 1.0) * self.resident_bytes)

    def _decode_by(self, grade: Grade) -> Range | None:
        if self.speed is None or grade.decode is None:
            return None
        likely, seen = self.speed.decode_tps[1], grade.decode
        return likely * seen.least, likely * seen.median, likely * seen.most

    def to_json(self) -> dict[str, Any]:
        """Return the estimate document (schema `estimate`)."""
        run = self.load.run
        return {
            "schema": 1,
            "model": self.target.model,
            "quantization": self.target.quantization,
            "server_version": self.target.server_version,
            "num_batch": run.num_batch,
            "context": run.context,
            "parallel": run.parallel,
            "context_total": run.context_total,
            "kv_cache_type": run.kv_cache_type,
            "flash_attention": run.flash_attention,
            "requested": dict(self.requested),
            "memory": self._memory_json(),
            "file_bytes": self.target.file_bytes,
            "speed": self.speed.to_json() if self.speed else None,
            "calibrated": self.calibrated.to_json() if self.calibrated else None,
        }

    def _memory_json(self) -> dict[str, Any]:
        shape, run = self.load.shape, self.load.run
        kv = (*memory.kv_by_layer(shape, run), 0)
        layers = (*self.load.weights.per_layer_bytes, self.load.weights.output_bytes)
        resident = f"; resident after a prompt of {self.resident_prompt_tokens} tokens"
        return {
            "weights_bytes": self.weights_bytes,
            "kv_cache_bytes": self.kv_cache_bytes,
            "compute_bytes": self.compute_bytes,
            "overhead_bytes": self.overhead_bytes,
            "total_bytes": self.total_bytes,
            "resident_bytes": self.resident_bytes,
            "devices": [{"index": d.index, "bytes": d.bytes} for d in self.devices],
            "host_bytes": self.host_bytes,
            "layers": shape.layers,
            "gpu_layers": self.placement.gpu_layers,
            "per_layer": [
                {"index": i, "weights_bytes": w, "kv_cache_bytes": k}
                for i, (w, k) in enumerate(zip(layers, kv, strict=True))
            ],
            "basis": {
                "weights": self.load.weights.basis,
                "kv_cache": kv_basis(shape),
                "compute": compute_basis(self.load)
                + (resident if self.resident_bytes is not None else ""),
            },
        }


def estimate(
    target: Target,
    load: Load,
    placement: Placement,
    *,
    machine: Machine | None = None,
    prompt_tokens: int = 32,
    requested: Mapping[str, Any] | None = None,
) -> Estimate:
    """Add up what `load` takes in `placement`; speed only when a machine is given."""
    shape, run, weights = load.shape, load.run, load.weights
    kv_layers = memory.kv_by_layer(shape, run)
    parts = tuple(_cards(load, placement, kv_layers))
    host_weights = _host_weights(load, placement) + _repacked(load, placement, machine)
    host_kv = sum(kv_layers) - sum(p.kv for p in parts)
    compute_host = compute.output_bytes(shape, run)
    if placement.kind == "cpu":
        compute_host += compute.device_bytes(shape, run, "cpu")
    else:
        compute_host += compute.host_bytes(shape, run, len(placement.shares))
    resident = None
    if placement.kind == "cpu":
        resident = memory.resident_bytes(shape, run, weights, prompt_tokens)
    return Estimate(
        target=target,
        load=load,
        placement=placement,
        weights_bytes=host_weights + sum(p.weights for p in parts),
        kv_cache_bytes=host_kv + sum(p.kv for p in parts),
        compute_bytes=compute_host + sum(p.compute for p in parts),
        overhead_bytes=sum(p.overhead for p in parts),
        resident_bytes=resident,
        resident_prompt_tokens=prompt_tokens,
        devices=tuple(
            DeviceBytes(index=s.index, bytes=p.total, layers=s.layers + s.output)
            for s, p in zip(placement.shares, parts, strict=True)
        ),
        host_bytes=host_weights + host_kv + compute_host,
        speed=predict(target, load, placement, machine) if machine else None,
        requested=requested or {},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _CardParts:
    weights: int
    kv: int
    compute: int
    overhead: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.overhead


def _host_weights(load: Load, placement: Placement) -> int:
    """Bytes of what no card holds; a tied embedding lies on the host and on the card."""
    weights = load.weights
    on_cards = sum(sum(load.layer_weights[layers]) for _, layers in _slices(load, placement))
    experts = sum(
        _experts_on_host(load, share, layers) for share, layers in _slices(load, placement)
    )
    output = weights.output_bytes + weights.vision_bytes
    held = output if any(s.output for s in placement.shares) else 0
    return weights.total_bytes - on_cards - held + experts


_AMX_SHARE = 0.02  # by which its tiles of K-quants are larger (0.32.0, one log)


def _repacked(load: Load, placement: Placement, machine: Machine | None) -> int:
    """What a processor with AMX takes beside the weights: larger tiles, tied embeddings twice."""
    amx = machine is not None and "amx_int8" in machine.host.isa
    if not amx or placement.kind != "cpu" or load.engine is not Engine.LLAMA_SERVER:
        return 0
    again = load.weights.embedding_bytes if load.shape.tied_embeddings else 0
    return again + int(_AMX_SHARE * load.weights.total_bytes)


def _slices(load: Load, placement: Placement) -> Iterator[tuple[Share, slice]]:
    """The layers of each card: the last ones of the model, in the order of the cards."""
    first = load.shape.block_count - sum(s.layers for s in placement.shares)
    for share in placement.shares:
        yield share, slice(first, first + share.layers)
        first += share.layers


def _experts_on_host(load: Load, share: Share, layers: slice) -> int:
    """Bytes of the experts that a card's last layers leave on the host."""
    if not share.expert_layers:
        return 0
    return sum(load.weights.expert_layer_bytes[layers][-share.expert_layers :])


def _cards(load: Load, placement: Placement, kv_layers: Sequence[int]) -> Iterator[_CardParts]:
    for share, layers in _slices(load, placement):
        held = sum(load.layer_weights[layers]) - _experts_on_host(load, share, layers)
        yield _CardParts(
            weights=held + (load.output_bytes if share.output else 0),
            kv=sum(kv_layers[layers]),
            compute=_card_compute(load, placement, share),
            overhead=memory.DRIVER_CONTEXT_BYTES,
        )


def _card_compute(load: Load, placement: Placement, share: Share) -> int:
    """Compute buffer of one card, with what it stages of weights that lie on the host."""
    shape, run = load.shape, load.run
    several = placement.kind == "gpu" and len(placement.shares) > 1
    each = compute.card_bytes(shape, run, load.device, several=several, output=share.output)
    if placement.kind != "split" or share is not placement.shares[0]:
        return each
    each += compute.borrowed_bytes(shape, run, load.weights, load.device)
    output_on_host = not any(s.output for s in placement.shares)
    return max(each, compute.staging_bytes(shape, run, load.weights)) if output_on_host else each


def kv_basis(shape: Architecture) -> str:
    """Say by which rule the cache was counted."""
    if shape.recurrent_state_bytes:
        return "hybrid: attention layers and recurrent state (thinly verified)"
    if shape.kv_lora_rank:
        return "latent (MLA)" if shape.mla_cache else "full heads (MLA file without split)"
    return "grouped-query attention (exact)"


def compute_basis(load: Load) -> str:
    """Say by which engine's formula, and how well it is verified there."""
    shape, run, engine = load.shape, load.run, load.engine
    flash = "on" if run.flash_attention else "off"
    where = f"formula of Ollama {run.version} ({engine.value}), flash attention {flash}"
    if shape.vision_block_count and engine is Engine.OLLAMA:
        return f"{where}; without the buffers for reading a picture, which can take gigabytes"
    proven = shape.name in ("qwen2", "llama") and engine is not Engine.OLLAMA
    return where if proven else f"{where} (thinly verified for {shape.name})"
