"""The environment of a server: of one that we start, and what may be shown of any other."""

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.home import Home
from orchestrator.runtime.address import split_host
from orchestrator.runtime.binary import Binary

# Names a server, and by inheritance its runners, as one of ours: PIDFILE#ID.
MARK = "DEPLOY_SERVER"
# What a caller's numeric library or cluster sets for itself would change the runner's threads.
_LEAKS = ("OMP_", "KMP_", "GOMP_", "RAY_")
# What Ollama takes for false in a variable; any other text is true.
FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})
# Shown in status and kept in pid files. A list, because OLLAMA_* may also hold keys.
_SETTINGS = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        "GGML_VK_VISIBLE_DEVICES",
        "GPU_DEVICE_ORDINAL",
        "HIP_VISIBLE_DEVICES",
        "HSA_OVERRIDE_GFX_VERSION",
        "LLAMA_ARG_FIT",
        "LLAMA_ARG_FIT_TARGET",
        "OLLAMA_CONTEXT_LENGTH",
        "OLLAMA_DEBUG",
        "OLLAMA_FLASH_ATTENTION",
        "OLLAMA_GPU_OVERHEAD",
        "OLLAMA_HOST",
        "OLLAMA_IGPU_ENABLE",
        "OLLAMA_KEEP_ALIVE",
        "OLLAMA_KV_CACHE_TYPE",
        "OLLAMA_LLM_LIBRARY",
        "OLLAMA_LOAD_TIMEOUT",
        "OLLAMA_MAX_LOADED_MODELS",
        "OLLAMA_MAX_QUEUE",
        "OLLAMA_MODELS",
        "OLLAMA_NOPRUNE",
        "OLLAMA_NUM_GPU",
        "OLLAMA_NUM_PARALLEL",
        "OLLAMA_ORIGINS",
        "OLLAMA_SCHED_SPREAD",
        "OLLAMA_VULKAN",
        "ROCR_VISIBLE_DEVICES",
    }
)


def server_environment(
    binary: Binary,
    home: Home,
    *,
    url: str,
    environ: Mapping[str, str],
    settings: Mapping[str, str],
    mark: str,
) -> dict[str, str]:
    """Return the caller's environment with the settings, and what every server of ours needs.

    The caller's proxies stay: the server pulls through them.
    """
    env = {k: v for k, v in environ.items() if not k.startswith(_LEAKS)} | dict(settings)
    host, port = split_host(url)
    env["OLLAMA_HOST"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # Its start-up prune would delete blobs of a pull that another process is resuming.
    env["OLLAMA_NOPRUNE"] = "1"
    # Never left to the server: "auto" doubles the KV cache behind the plan's back.
    if setting(env, "OLLAMA_NUM_PARALLEL") in {None, "0"}:
        env["OLLAMA_NUM_PARALLEL"] = "1"
    folder = _home_of_ours(env.get("HOME", ""), home)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    env["HOME"] = str(folder)
    env[MARK] = mark
    if binary.library_path:
        env["LD_LIBRARY_PATH"] = str(binary.library_path)
    if binary.kind == "embedded":
        env["OLLAMA_NUM_GPU"] = "0"  # without it this build's runner crashes
    return env


def shown_settings(env: Mapping[str, str]) -> dict[str, str]:
    """Return the settings among those variables; nothing that could be secret."""
    return {name: env[name] for name in sorted(env.keys() & _SETTINGS)}


def setting(env: Mapping[str, str], name: str) -> str | None:
    """Return a variable as Ollama reads it; an empty value is an unset one."""
    return env.get(name, "").strip().strip("\"'").strip() or None


def models_path(env: Mapping[str, str]) -> str | None:
    """Return the model store of a server with that environment; None: it cannot be told."""
    home = env.get("HOME")
    return setting(env, "OLLAMA_MODELS") or (str(store_below(home)) if home else None)


def keeps_unreferenced(env: Mapping[str, str]) -> bool:
    """Return whether a server with that environment never removes blobs that no model names."""
    value = setting(env, "OLLAMA_NOPRUNE")
    return value is not None and value not in FALSE


def store_below(home: str) -> Path:
    """Return where a server of a user with that home keeps models, unless it is told otherwise."""
    return Path(home) / ".ollama" / "models"


def store_of_ours(environ: Mapping[str, str], home: Home) -> Path:
    """Return the model store of a server that we would start with that environment."""
    told = setting(environ, "OLLAMA_MODELS")
    return Path(told) if told else store_below(str(_home_of_ours(environ.get("HOME", ""), home)))


def _home_of_ours(wish: str, home: Home) -> Path:
    """Return a HOME where the server can make its key; it exits at once without one."""
    for folder in (wish, _account_home()):
        if folder and _takes_key(Path(folder)):
            return Path(folder)
    return home.data / "server-home"


def _takes_key(folder: Path) -> bool:
    inner = folder / ".ollama"
    place = inner if inner.exists() else folder
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _account_home() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a container's user without an account
        return ""
