"""Pure. The engine's own buffers, out of the log of a load: what it really allocated.

llama.cpp logs each buffer to 0.01 MiB, at Ollama's default level of logging too:
    load_tensors:        CUDA0 model buffer size =  4403.49 MiB
    llama_kv_cache:      CUDA0 KV buffer size =   448.00 MiB
Ollama's own engine (0.7 to 0.24) logs sums, rounded to a tenth of their unit:
    msg="kv cache" device=CUDA0 size="448.0 MiB"
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from orchestrator.bench.load_log import last_load
from orchestrator.units import MIB, parse_size

Part = Literal["weights", "kv_cache", "compute"]
HOST = "host"

_BUFFER = re.compile(r"(\w+): +(\S+)(?: +([^=\n]*?))? +buffer size += +([\d.]+) MiB")
# By the last word before "buffer size"; up to 0.4 the weights' line has none.
_KINDS: Mapping[str, Part] = {
    "": "weights",
    "model": "weights",
    "KV": "kv_cache",
    "RS": "kv_cache",  # the recurrent state of hybrids
    "state": "kv_cache",
    "compute": "compute",
    "output": "compute",  # as the estimate counts it
}
_CONTEXT = "constructing llama_context"
_SIZE = re.compile(
    r'msg="(model weights|kv cache|compute graph|total memory)"'
    r'(?: backend=\S+)?(?: (?:device|buffer|buffer_type)=(\S+))? size="([^"]+)"'
)
_PARTS: Mapping[str, Part] = {
    "model weights": "weights",
    "kv cache": "kv_cache",
    "compute graph": "compute",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What one load allocated, in bytes, over all devices; None: the log does not tell.

    `devices` has the sum of each device, "CUDA0" or "host". `how` says how exact the sizes are.
    """

    weights_bytes: int | None
    kv_cache_bytes: int | None
    compute_bytes: int | None
    devices: Mapping[str, int]
    how: str

    @property
    def total_bytes(self) -> int | None:
        """The sum; None where a part is not told."""
        parts = (self.weights_bytes, self.kv_cache_bytes, self.compute_bytes)
        known = [size for size in parts if size is not None]
        return sum(known) if len(known) == len(parts) else None

    def to_json(self) -> dict[str, int | str | None]:
        """Return the parts as a bench document has them."""
        return {
            "weights_bytes": self.weights_bytes,
            "kv_cache_bytes": self.kv_cache_bytes,
            "compute_bytes": self.compute_bytes,
            "total_bytes": self.total_bytes,
            "how": self.how,
        }


def parts(text: str, model_file: str | None = None) -> Parts | None:
    """Return the buffers of the last load in a log, or of the last one of a model file.

    None: the log tells none. Where both engines speak, llama.cpp's lines are the truth: before
    them Ollama has only written down what it expects.
    """
    load = last_load(text, model_file)
    return _of_llama_cpp(load) or _of_ollama(load)


_Sizes = dict[tuple[Part, str], float]


def _of_llama_cpp(load: str) -> Parts | None:
    weights: _Sizes = {}
    cache: _Sizes = {}
    compute: _Sizes = {}
    for line in load.splitlines():
        if _CONTEXT in line:  # the caches and graphs of an earlier context are gone
            cache, compute = {}, {}
        found = _BUFFER.search(line)
        if found is None:
            continue
        component, device, words, mib = found.groups()
        part = _KINDS.get((words or "").rpartition(" ")[2])
        if part == "weights":
            if cache or compute:  # another load
                weights, cache, compute = {}, {}, {}
            _add(weights, part, device, float(mib))
        elif part == "kv_cache":  # one with sliding windows has two caches a device
            _add(cache, part, device, float(mib))
        elif part == "compute":  # a graph that is reserved again replaces the former one
            compute[part, f"{device} {component} {words}"] = float(mib)
    sizes = {key: round(mib * MIB) for key, mib in (weights | cache | compute).items()}
    return _parts(sizes, "buffer sizes in the server's log")


def _add(sizes: _Sizes, part: Part, device: str, mib: float) -> None:
    sizes[part, device] = sizes.get((part, device), 0.0) + mib


def _of_ollama(load: str) -> Parts | None:
    sizes: dict[tuple[Part, str], int] = {}
    ended = False
    for what, device, size in _SIZE.findall(load):
        if what == "total memory":
            ended = True
            continue
        if ended:  # it tries a layout, logs it, and tries the next
            sizes, ended = {}, False
        with suppress(ValueError):
            sizes[_PARTS[what], device] = parse_size(size)
    return _parts(sizes, "sizes in the server's log, rounded to a tenth of their unit")


def _parts(sizes: Mapping[tuple[Part, str], int], how: str) -> Parts | None:
    if not sizes:
        return None
    told: dict[Part, int] = {}
    devices: dict[str, int] = {}
    for (part, where), size in sizes.items():
        told[part] = told.get(part, 0) + size
        device = _device(where.partition(" ")[0])
        devices[device] = devices.get(device, 0) + size
    return Parts(
        weights_bytes=told.get("weights"),
        kv_cache_bytes=told.get("kv_cache"),
        compute_bytes=told.get("compute"),
        devices=devices,
        how=how,
    )


def _device(buffer: str) -> str:
    """Return the device of a buffer type: "CUDA_Host" is the host's memory, pinned for CUDA."""
    if buffer.startswith(("CPU", "AMX")) or buffer.endswith("_Host"):
        return HOST
    return re.sub(r"[_-](?:Mapped|REPACK|Split|Private)$", "", buffer)
