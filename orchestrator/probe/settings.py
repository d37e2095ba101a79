"""An Ollama server's settings out of its environment, read the way Ollama reads them."""

import re
from collections.abc import Mapping

from orchestrator.machine import ServerSettings
from orchestrator.memory import KV_BYTES
from orchestrator.probe.sight import whole
from orchestrator.runtime.address import names_everywhere
from orchestrator.runtime.environment import FALSE, setting
from orchestrator.units import MIB

_PROXIES = frozenset({"http", "https", "socks5", "socks5h"})
_HOST = re.compile(r"[A-Za-z0-9._:%\[\]-]{1,255}")


def settings_of(environ: Mapping[str, str]) -> ServerSettings:
    """Return what the variables set; None where unset, unreadable or 0 for "choose yourself".

    Source: Ollama's envconfig at 0.9.3 and fb3076099: quotes and spaces around a value are
    dropped, an empty value is an unset one, and any text but a false one switches a flag on.
    A type of KV cache that it does not know leaves the default, as do numbers that are none.
    LLAMA_ARG_FIT_TARGET is llama.cpp's margin in MiB a device; of a list the largest counts.
    """

    def text(name: str) -> str | None:
        return setting(environ, name)

    def number(name: str) -> int | None:
        return _amount(text(name) or "")

    def flag(name: str) -> bool | None:
        value = text(name)
        return None if value is None else value not in FALSE

    address = text("OLLAMA_HOST")
    cache = (text("OLLAMA_KV_CACHE_TYPE") or "").lower()
    parts = (text("LLAMA_ARG_FIT_TARGET") or "").split(",")
    margins = [margin for part in parts if (margin := _amount(part)) is not None]
    return ServerSettings(
        num_parallel=number("OLLAMA_NUM_PARALLEL") or None,
        context_length=number("OLLAMA_CONTEXT_LENGTH") or None,
        flash_attention=flag("OLLAMA_FLASH_ATTENTION"),
        kv_cache_type=next((known for known in KV_BYTES if known == cache), None),
        gpu_overhead_bytes=number("OLLAMA_GPU_OVERHEAD"),
        sched_spread=flag("OLLAMA_SCHED_SPREAD"),
        max_loaded_models=number("OLLAMA_MAX_LOADED_MODELS") or None,
        keep_alive=text("OLLAMA_KEEP_ALIVE"),
        models_path=text("OLLAMA_MODELS"),
        # Here an empty value is no unset one: it hides every device.
        visible_devices=environ.get("CUDA_VISIBLE_DEVICES"),
        fit_target_bytes=max(margins) * MIB if margins else None,
        amd_visible_devices=_amd_devices(environ),
        gfx_override=text("HSA_OVERRIDE_GFX_VERSION"),
        igpu_enable=flag("OLLAMA_IGPU_ENABLE"),
        listens_everywhere=None if address is None else names_everywhere(address),
        proxy=proxy_of(environ),
    )


def proxy_of(environ: Mapping[str, str]) -> str | None:
    """Return the proxy that downloads go through, "http://proxy:3128"; None: there is none.

    Never a name and a password: of the value only its scheme, host and port are kept. Go's
    programs ask for the name in capitals first, and know no ALL_PROXY.
    """
    value = (environ.get("HTTPS_PROXY") or environ.get("https_proxy") or "").strip()
    # A password may hold whatever marks an address, so all before the last @ goes first.
    before, at, after = value.rpartition("@")
    scheme, mark, rest = (before if at else value).partition("://")
    address = re.split(r"[/?#]", after if at or not mark else rest, maxsplit=1)[0]
    if not _HOST.fullmatch(address):
        return None
    return f"{scheme}://{address}" if mark and scheme.lower() in _PROXIES else address


def _amd_devices(environ: Mapping[str, str]) -> str | None:
    """Return which AMD devices are left to the server; "": none, None: all.

    ROCm hides every device where its own variable is set to nothing; to HIP's two, and to Ollama,
    nothing is the same as unset.
    """
    if "ROCR_VISIBLE_DEVICES" in environ:
        return setting(environ, "ROCR_VISIBLE_DEVICES") or ""
    return setting(environ, "HIP_VISIBLE_DEVICES") or setting(environ, "GPU_DEVICE_ORDINAL")


def _amount(text: str) -> int | None:
    found = whole(text)
    return None if found is None or found < 0 else found
