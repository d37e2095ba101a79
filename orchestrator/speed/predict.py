"""The speed of one model in one placement on one machine."""

import math
from dataclasses import dataclass
from typing import Any

from orchestrator.machine import Disk, Machine
from orchestrator.model import Target
from orchestrator.placement import Load, Placement
from orchestrator.speed.constants import POOLED, constants
from orchestrator.speed.cpu import Host, host_of
from orchestrator.speed.device import NAMES, Device, device_of
from orchestrator.speed.work import (
    SHORT_CONTEXT,
    Token,
    Work,
    output_work,
    seconds,
)

Range = tuple[float, float, float]

_BATCH = 512  # tokens of one prefill step, for which the weights are read once
_PREFILL_TO_DECODE = 20  # where the sheet has no arithmetic peak
_PREFILL_SPREAD = 2.0
# Bytes a second: page cache, what cold loads of real servers show, a hard disk.
_CACHED_BYTES_PER_S, _USUAL_BYTES_PER_S, _HDD_BYTES_PER_S = 4.0e9, 0.45e9, 0.15e9
# What a measured rate or a hard disk keeps of its rate when somebody else reads too.
_SHARED = 0.6
_START_S = (0.4, 0.4, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Tokens a second of one stream, and seconds until a cold load answers.

    `likely` decodes at a short context, as rates are published; `low` also with the cache full.
    """

    decode_tps: Range
    prefill_tps: Range
    load_s: Range
    basis: str

    def to_json(self) -> dict[str, Any]:
        """Return the speed part of an estimate document."""
        return {
            "decode_tps": _rounded(self.decode_tps),
            "prefill_tps": _rounded(self.prefill_tps),
            "load_s": _rounded(self.load_s),
            "basis": self.basis,
        }


def _rounded(values: Range) -> list[float]:
    return [round(v, 2) for v in values]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One device's share of a token: seconds at a short context, with a full cache, of prefill."""

    decode_s: float
    full_s: float
    prefill_s: float
    spread: float
    prefill_spread: float
    basis: str


def predict(target: Target, load: Load, placement: Placement, machine: Machine) -> Speed | None:
    """Return the expected speed, or None when a card's bandwidth is unknown."""
    cards = {a.index: a for a in machine.usable}
    devices = []
    for share in placement.shares:
        card = cards.get(share.index)
        device = device_of(card) if card else None
        if device is None:
            return None
        devices.append(device)
    parts = _parts(target, load, placement, devices, machine)
    hops = max(0, len(devices) - 1) * constants().hop_s
    likely = sum(p.decode_s for p in parts) + hops
    full = sum(p.full_s for p in parts) + hops
    # Once for the whole batch the weights are read; the rest is arithmetic.
    prefill = 1 / (sum(p.prefill_s for p in parts) + likely / _BATCH)
    spread = _mixed([(p.decode_s, p.spread) for p in parts])
    prefill_spread = _mixed([(p.prefill_s, p.prefill_spread) for p in parts])
    return Speed(
        decode_tps=(1 / (full * spread), 1 / likely, spread / likely),
        prefill_tps=(prefill / prefill_spread, prefill, prefill * prefill_spread),
        load_s=_load_s(target.file_bytes, machine.disk),
        basis=" + ".join(dict.fromkeys(p.basis for p in parts)),
    )


def _load_s(size: int, disk: Disk) -> Range:
    rates = _read_rates(disk)
    best, usual, worst = (size / rate + start for rate, start in zip(rates, _START_S, strict=True))
    return best, usual, worst


def _read_rates(disk: Disk) -> Range:
    """Return bytes a second: out of the page cache, usual, worst. An unknown disk may be any."""
    if known := disk.read_bytes_per_s or (_HDD_BYTES_PER_S if disk.kind == "hdd" else None):
        return max(_CACHED_BYTES_PER_S, known), known, known * _SHARED
    return _CACHED_BYTES_PER_S, _USUAL_BYTES_PER_S, _HDD_BYTES_PER_S


def _mixed(weighted: list[tuple[float, float]]) -> float:
    """Return the factor of a sum of times: each part's factor, by its share in the time."""
    total = sum(s for s, _ in weighted)
    return math.exp(sum(s * math.log(f) for s, f in weighted) / total)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """Layers on one device: what a token does in them at a short context and with a full cache."""

    short: Work
    full: Work

    def __add__(self, more: Work) -> "_Span":
        return _Span(short=self.short + more, full=self.full + more)

    def __sub__(self, less: Work) -> "_Span":
        return _Span(short=self.short - less, full=self.full - less)


def _parts(
    target: Target, load: Load, placement: Placement, devices: list[Device], machine: Machine
) -> list[_Part]:
    """Return what each card does for a token, then the host, which has the first layers.

    A server may leave on the host the experts of a card's last layers.
    """
    short, full = (Token.of(target, load, n) for n in (SHORT_CONTEXT, load.run.context))

    def span(first: int, end: int, *, output: bool) -> _Span:
        found = _Span(short=short.span(first, end), full=full.span(first, end))
        return found + output_work(load) if output else found

    first = load.shape.block_count - sum(s.layers for s in placement.shares)
    host = span(0, first, output=not any(s.output for s in placement.shares))
    flops = 2 * target.parameters_active / load.shape.layers
    parts = []
    for share, device in zip(placement.shares, devices, strict=True):
        end = first + share.layers
        left = short.experts(end - share.expert_layers, end)
        here, host = span(first, end, output=share.output) - left, host + left
        parts.append(_card_part(device, here, flops_per_layer=flops))
        first = end
    if placement.kind != "gpu":
        parts.append(_host_part(host_of(target, machine), host))
    return parts


def _host_part(host: Host, span: _Span) -> _Part:
    decode = span.short.read_bytes / host.bytes_per_s
    return _Part(
        decode_s=decode,
        full_s=span.full.read_bytes / host.bytes_per_s,
        prefill_s=decode / host.prefill_to_decode,
        spread=host.spread,
        prefill_spread=max(_PREFILL_SPREAD, host.spread),
        basis=host.basis,
    )


def _card_part(device: Device, span: _Span, *, flops_per_layer: float) -> _Part:
    found = constants()
    of, prefill = found.of(device.kind), found.prefill_of(device.kind)
    decode, full = (
        seconds(
            work,
            bandwidth_bytes_per_s=device.bandwidth_bytes_per_s,
            constants=of,
            recurrent=found.recurrent,
        )
        for work in (span.short, span.full)
    )
    arithmetic = decode / _PREFILL_TO_DECODE
    if device.flops:
        arithmetic = span.short.layers * flops_per_layer / (prefill.flops_share * device.flops)
    return _Part(
        decode_s=decode,
        full_s=full,
        prefill_s=arithmetic,
        spread=of.spread,
        prefill_spread=prefill.spread if device.flops else _PREFILL_SPREAD,
        basis=_basis(device),
    )


def _basis(device: Device) -> str:
    of = constants().of(device.kind)
    behind = f"{of.measurements} measurements on {of.devices} devices"
    measured = device.kind != POOLED and device.kind in constants().classes
    whose = f"{NAMES[device.kind]}; " if measured else "no measurement of this class; pooled over "
    return (
        f"{device.name}: {device.bandwidth_bytes_per_s / 1e9:.0f} GB/s x {of.efficiency:.2f}, "
        f"{of.launch_s * 1e6:.0f} us a layer ({whose}{behind})"
    )
