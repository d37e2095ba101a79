"""Checks of the Ollama server: there, current, alone, and reachable only by whom it should be."""

from collections.abc import Iterator

from orchestrator.doctor.case import Case
from orchestrator.doctor.check import Check, failed, passed, warned
from orchestrator.era import NEWEST, Era, ServerVersion
from orchestrator.errors import InvalidInput
from orchestrator.machine import ServerState

_DROP_IN = "`systemctl edit ollama`: [Service] Environment={setting}"


def server(case: Case) -> Iterator[Check]:
    """Check the server at OLLAMA_HOST, and that there is no second one."""
    state = case.machine.server
    if not case.answers:
        yield warned(
            "server",
            f"no Ollama server answers at {state.host}",
            "`deploy auto` starts one, or `deploy runtime start`",
        )
    elif not state.local:
        yield failed(
            "server",
            f"Ollama {state.version} at {state.host} runs in a container or on another host: what"
            " it has cannot be seen from here",
            "run deploy inside of it, or plan with `--machine FILE` that describes it",
        )
    else:
        yield _version(state)
        yield from _settings(case)
    yield from _company(state)


def _version(state: ServerState) -> Check:
    shown = f"Ollama {state.version} at {state.host}"
    if state.runtime == "embedded":
        return passed("server", f"{shown}, deploy's own runtime for the CPU")
    try:
        outdated = ServerVersion.parse(state.version or "").era is not Era.LLAMA_SERVER
    except InvalidInput:
        outdated = False
    if outdated:
        return warned(
            "server",
            f"{shown} is outdated; {NEWEST} is the newest that deploy knows",
            "upgrade it: curl -fsSL https://ollama.com/install.sh | sh",
        )
    return passed("server", shown)


def _settings(case: Case) -> Iterator[Check]:
    state = case.machine.server
    settings = state.settings
    if not case.settings_known:
        yield warned(
            "settings",
            f"the settings of pid {state.pid} (user {state.user or 'unknown'}) cannot be read:"
            " plans assume Ollama's defaults",
            "run deploy as that user or as root",
        )
    if settings.listens_everywhere and state.where != "container":
        yield warned(
            "exposure",
            "the server listens on every interface, and Ollama knows no passwords: whoever reaches"
            " the port can use, replace and delete models",
            _DROP_IN.format(setting="OLLAMA_HOST=127.0.0.1")
            + ", and a proxy with a login in front",
        )
    if case.our_proxy and settings.proxy != case.our_proxy and case.settings_known:
        theirs = settings.proxy or "none"
        yield warned(
            "proxy",
            f"the server downloads through its own proxy ({theirs}), and ours is {case.our_proxy}",
            _DROP_IN.format(setting=f"HTTPS_PROXY={case.our_proxy}"),
        )


def _company(state: ServerState) -> Iterator[Check]:
    for other in state.others:
        yield warned(
            f"server {other.pid}",
            f"a second Ollama server runs here: pid {other.pid}, user {other.user or 'unknown'},"
            f" at {other.host or 'an address that cannot be seen'} ({other.where}); both plan with"
            " the same memory",
            f"stop the one that is not needed: `kill {other.pid}` or its service",
        )
    if state.orphans:
        pids = ", ".join(map(str, state.orphans))
        yield warned(
            "orphans",
            f"runners without a server hold memory: pid {pids}",
            "`deploy auto` ends them",
        )
