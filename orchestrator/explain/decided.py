"""Who decided each setting of a run, and how it would be changed."""

from dataclasses import dataclass, replace
from typing import Any

from orchestrator.era import NEWEST, ServerVersion
from orchestrator.estimate import Estimate
from orchestrator.explain.case import Case
from orchestrator.settings import slots_are_automatic


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A setting in force, who set it, and what changes it (None: nothing here)."""

    setting: str
    value: str
    by: str
    change: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the explanation's `settings`."""
        return {
            "setting": self.setting,
            "value": self.value,
            "by": self.by,
            "change": self.change,
        }


def decisions(case: Case, found: Estimate) -> tuple[Decision, ...]:
    """Return the settings that decide memory, in the order of their weight."""
    return (_context(case, found), _slots(case, found), _flash(case, found), _cache(case, found))


def server_name(case: Case) -> str:
    """Return the server's name as a person says it."""
    version = case.machine.server.version
    return f"Ollama {version}" if version else "the newest Ollama"


def restart(*variables: str) -> str:
    """Return how a setting of the server is changed."""
    return f"restart the server with {' '.join(variables)}"


def _version(case: Case) -> ServerVersion:
    text = case.machine.server.version
    return ServerVersion.parse(text) if text else NEWEST


def _context(case: Case, found: Estimate) -> Decision:
    profile = case.profile
    wish = found.requested.get("context")
    key = "context_cpu" if found.load.device == "cpu" else "context_gpu"
    by = f"profile {profile.name}, {key}"
    if case.wishes.context is not None:
        by = profile.origin.get("context", "asked for")
    if wish:
        by += f" asked for {wish['asked']}; {wish['reason']}"
    value = f"{found.load.run.context} tokens a slot"
    return Decision(setting="context", value=value, by=by, change="--context N")


def _slots(case: Case, found: Estimate) -> Decision:
    server = case.machine.server
    settings, slots = server.settings, found.load.run.parallel
    value, change = str(slots), restart("OLLAMA_NUM_PARALLEL=N")
    if server.pid is None:
        change = f"--parallel N where deploy starts the server, else {change}"
    if settings.num_parallel:
        by = f"OLLAMA_NUM_PARALLEL={settings.num_parallel} of the server"
    elif case.wishes.parallel:
        by = case.profile.origin.get("parallel", "asked for")
    elif slots_are_automatic(case.wishes, server, _version(case)):
        by = f"{server_name(case)} itself: 2 slots where they fit, else 1"
    else:
        by = f"{server_name(case)}: 1 slot by default"
    return Decision(setting="slots", value=value, by=by, change=change)


def _flash(case: Case, found: Estimate) -> Decision:
    """Turn it over and see: that tells whether a setting decides, or something that has none."""
    on, given = found.load.run.flash_attention, case.machine.server.settings.flash_attention
    other = _under(case, flash_attention=not on, kv_cache_type=None)
    change: str | None = restart(f"OLLAMA_FLASH_ATTENTION={int(not on)}")
    by = f"{server_name(case)}: {_switch(on)} by default for {found.load.shape.name}"
    if other.load.run.flash_attention is on:
        reason = other.requested.get("flash_attention", {}).get("reason", "")
        cause = reason.removeprefix("ignored: ").removesuffix(f", {found.load.run.version}")
        by = f"{server_name(case)}: never here ({cause})"
        change = None
    elif given is not None:
        by = f"OLLAMA_FLASH_ATTENTION={int(on)} of the server"
    return Decision(setting="flash attention", value=_switch(on), by=by, change=change)


def _cache(case: Case, found: Estimate) -> Decision:
    kind, given = found.load.run.kv_cache_type, case.machine.server.settings.kv_cache_type
    by = f"{server_name(case)}: f16 by default"
    if given:
        by = f"OLLAMA_KV_CACHE_TYPE={given} of the server"
    if wish := found.requested.get("kv_cache_type"):
        by = f"{wish['asked']} asked for, {wish['reason']}"
    change: str | None = None
    if kind != "f16":
        change = restart("OLLAMA_KV_CACHE_TYPE=f16")
    elif _under(case, kv_cache_type="q8_0").load.run.kv_cache_type == "q8_0":
        change = restart("OLLAMA_KV_CACHE_TYPE=q8_0")
    elif _under(case, kv_cache_type="q8_0", flash_attention=True).load.run.kv_cache_type == "q8_0":
        change = restart("OLLAMA_FLASH_ATTENTION=1", "OLLAMA_KV_CACHE_TYPE=q8_0")
    return Decision(setting="KV cache type", value=kind, by=by, change=change)


def _under(case: Case, **wishes: Any) -> Estimate:
    """Return the estimate of the case under other wishes."""
    return replace(case, wishes=replace(case.wishes, **wishes)).answer().fit.estimate


def _switch(on: bool) -> str:  # noqa: FBT001 - a word for it
    return "on" if on else "off"
