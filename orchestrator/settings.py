"""Which settings a run will really have: what was wished, what the server does, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.engine import (
    card_decides,
    card_without_flash,
    flash_by_default,
    no_flash,
    one_slot_only,
    quantized_cache_needs_asking,
)
from orchestrator.era import NEWEST, ServerVersion
from orchestrator.errors import InvalidInput
from orchestrator.machine import Machine, ServerSettings, ServerState
from orchestrator.memory import KV_BYTES, Device, KvType, Run
from orchestrator.model import Architecture

_DEFAULT_CONTEXT = 4096
_DEFAULT_BATCH = 512
_MOST = 2**31 - 1  # llama.cpp counts tokens in 32 bits
_AUTO_PARALLEL_UNTIL = ServerVersion((0, 9, 7))
_FOUR_SLOTS_UNTIL = ServerVersion((0, 6, 7))
_MOST_SLOTS = 256  # llama.cpp's LLAMA_MAX_SEQ


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What flags and profile ask for; None leaves it to the server."""

    context: int | None = None
    parallel: int | None = None
    kv_cache_type: KvType | None = None
    flash_attention: bool | None = None
    num_batch: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Effective:
    """The settings in force, and each wish that they differ from, with the reason."""

    run: Run
    requested: Mapping[str, Any]


def effective(
    wishes: Wishes,
    *,
    shape: Architecture,
    machine: Machine | None = None,
    device: Device = "cuda",
    version: str | None = None,
) -> Effective:
    """Return what the server of `machine` will run; without one, the flags at face value.

    `version` overrides the machine's.

    Raises InvalidInput: a number out of range, or a quantized KV cache without flash attention.
    """
    _check(wishes)
    server = machine.server if machine else None
    settings = server.settings if server else ServerSettings()
    named = version or (server.version if server else None)
    known = ServerVersion.parse(named) if named else NEWEST
    requested: dict[str, Any] = {}
    context = wishes.context or settings.context_length or _DEFAULT_CONTEXT
    if context > shape.context_length:
        requested["context"] = {"asked": context, "reason": f"trained for {shape.context_length}"}
        context = shape.context_length
    parallel = _parallel(wishes, server or ServerState(), known, requested)
    if parallel > 1 and one_slot_only(shape, known):
        reason = f"Ollama runs {shape.name} with one slot"
        requested["parallel"] = {"asked": parallel, "reason": reason}
        parallel = 1
    where = _Where(shape=shape, version=known, device=device, machine=machine)
    flash = _flash(wishes, settings, where, requested)
    run = Run(
        context=context,
        parallel=parallel,
        flash_attention=flash,
        kv_cache_type=_kv_type(wishes, settings, where, requested, flash=flash),
        num_batch=wishes.num_batch or _DEFAULT_BATCH,
        version=known,
    )
    return Effective(run=run, requested=requested)


def _check(wishes: Wishes) -> None:
    for name in ("context", "parallel", "num_batch"):
        value = getattr(wishes, name)
        highest = _MOST_SLOTS if name == "parallel" else _MOST
        if value is not None and not 1 <= value <= highest:
            most = "at least 1" if value < 1 else f"at most {highest}"
            raise InvalidInput(f"--{name.replace('_', '-')} {value}: must be {most}")
    quantized = wishes.kv_cache_type not in (None, "f16")
    if quantized and wishes.flash_attention is False:
        raise InvalidInput(
            f"a {wishes.kv_cache_type} KV cache needs flash attention, which is off",
            hint="add --flash-attention on, or leave the cache at f16",
        )


def _parallel(
    wishes: Wishes, server: ServerState, version: ServerVersion, requested: dict[str, Any]
) -> int:
    settings = server.settings
    if settings.num_parallel:
        if wishes.parallel not in (None, settings.num_parallel):
            reason = f"the server runs with OLLAMA_NUM_PARALLEL={settings.num_parallel}"
            requested["parallel"] = {"asked": wishes.parallel, "reason": reason}
        return settings.num_parallel
    if wishes.parallel:
        return wishes.parallel
    if not slots_are_automatic(wishes, server, version):
        return 1
    return 4 if version < _FOUR_SLOTS_UNTIL else 2


def slots_are_automatic(wishes: Wishes, server: ServerState, version: ServerVersion) -> bool:
    """Whether the server takes several slots where they fit wholly on GPUs or on the CPU, else one.

    Only a server that was seen running, without the setting, is known to choose by itself.
    """
    unset = not (server.settings.num_parallel or wishes.parallel)
    return unset and server.pid is not None and version < _AUTO_PARALLEL_UNTIL


def attempts(wishes: Wishes, server: ServerState, version: ServerVersion) -> tuple[Wishes, ...]:
    """Return the wishes that a server tries on GPUs: one that chooses its slots ends with one."""
    if not slots_are_automatic(wishes, server, version):
        return (wishes,)
    return wishes, replace(wishes, parallel=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Where:
    """What decides, beside the wish, whether flash attention and a quantized cache are had."""

    shape: Architecture
    version: ServerVersion
    device: Device
    machine: Machine | None


def _flash(
    wishes: Wishes, settings: ServerSettings, where: _Where, requested: dict[str, Any]
) -> bool:
    wish = settings.flash_attention if wishes.flash_attention is None else wishes.flash_attention
    if where.machine is None:
        return True if wish is None else wish
    why = _no_flash(where, where.machine, by_hand=wish is not None)
    if why and wish:
        requested["flash_attention"] = {
            "asked": True,
            "reason": f"ignored: {why}, {where.version}",
        }
    if why:
        return False
    return flash_by_default(where.shape, where.version) if wish is None else wish


def _no_flash(where: _Where, machine: Machine, *, by_hand: bool) -> str:
    """Return why this server never uses flash attention there, or ""."""
    on_cpu = where.device == "cpu"
    if why := no_flash(where.shape, where.version, on_cpu=on_cpu):
        return why
    if on_cpu or not card_decides(where.shape, where.version, by_hand=by_hand):
        return ""
    numbers = [_capability(a.compute_capability) for a in machine.usable]
    old = any(n is not None and card_without_flash(n, where.version) for n in numbers)
    return "a GPU is too old" if old else ""


def _capability(text: str | None) -> tuple[int, int] | None:
    major, _, minor = (text or "").partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def _kv_type(
    wishes: Wishes,
    settings: ServerSettings,
    where: _Where,
    requested: dict[str, Any],
    *,
    flash: bool,
) -> KvType:
    asked = wishes.kv_cache_type or settings.kv_cache_type or "f16"
    known = next((k for k in KV_BYTES if k == asked), None)
    if known is None:
        raise InvalidInput(
            f"KV cache type {asked!r} is unknown", hint=f"one of: {', '.join(KV_BYTES)}"
        )
    if known == "f16":
        return known
    by_hand = wishes.flash_attention or settings.flash_attention
    needs_asking = quantized_cache_needs_asking(where.shape, where.version)
    if flash and (by_hand or where.machine is None or not needs_asking):
        return known
    why = "CPU" if where.device == "cpu" else "flash attention is off"
    if flash:
        why = "OLLAMA_FLASH_ATTENTION=1 is not set"
    requested["kv_cache_type"] = {"asked": known, "reason": f"ignored: {why}, {where.version}"}
    return "f16"
