"""A machine as the probe found it: facts with units; unknown is None with a reason, never 0."""

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from orchestrator.units import gib

Vendor = Literal["nvidia", "amd", "apple", "intel", "ascend", "other"]
RuntimeKind = Literal["embedded", "release"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """The processor. `isa` names instruction sets that ggml has kernels for."""

    os: str = "linux"
    arch: str = "x86_64"
    cpu: str | None = None
    physical_cores: int | None = None
    logical_cores: int | None = None
    isa: tuple[str, ...] = ()
    container: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Host memory in bytes. `limit_bytes` is what the tightest cgroup on the server leaves."""

    total_bytes: int
    available_bytes: int
    limit_bytes: int | None = None
    bandwidth_bytes_per_s: int | None = None

    @property
    def free_bytes(self) -> int:
        """What a new process may take: the host's figure, or the tighter limit."""
        limit = self.available_bytes if self.limit_bytes is None else self.limit_bytes
        return min(self.available_bytes, limit)


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """The disk of the model store that the server uses; free is what a user may fill."""

    model_store: str | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """One device that a runner can be given. Memory is None where the driver will not say."""

    vendor: Vendor
    name: str
    index: int
    uuid: str | None = None
    memory_total_bytes: int | None
    memory_free_bytes: int | None
    compute_capability: str | None = None
    gfx: str | None = None
    driver: str | None = None
    unified_memory: bool = False
    bandwidth_bytes_per_s: int | None = None
    usable: bool = True
    unusable_reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """What a probe did not find, and why."""

    probe: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A model in the server's memory. `bytes` is what it holds: measured where its runner is ours
    to see, else what the server claims.
    """

    name: str
    digest: str
    bytes: int
    context: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """Settings in force on the server; None where nobody set them or they cannot be read."""

    num_parallel: int | None = None
    context_length: int | None = None
    flash_attention: bool | None = None
    kv_cache_type: str | None = None
    gpu_overhead_bytes: int | None = None
    sched_spread: bool | None = None
    max_loaded_models: int | None = None
    keep_alive: str | None = None
    models_path: str | None = None
    visible_devices: str | None = None
    fit_target_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerState:
    """The Ollama server: `local` says that the probe looked at the server's own machine."""

    host: str | None = None
    version: str | None = None
    local: bool = True
    runtime: RuntimeKind | None = None
    pid: int | None = None
    loaded: tuple[LoadedModel, ...] = ()
    settings: ServerSettings = field(default_factory=ServerSettings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Everything that a plan needs to know about a box."""

    taken_at: str | None = None
    host: Host = field(default_factory=Host)
    memory: Memory
    disk: Disk = field(default_factory=Disk)
    accelerators: tuple[Accelerator, ...] = ()
    absent: tuple[Absent, ...] = ()
    server: ServerState = field(default_factory=ServerState)

    @property
    def usable(self) -> tuple[Accelerator, ...]:
        """The accelerators that this server can run a model on."""
        return tuple(a for a in self.accelerators if a.usable)

    @property
    def name(self) -> str:
        """A short description: the accelerators, or the processor and its memory."""
        if self.usable:
            names = [a.name for a in self.usable]
            return " + ".join(f"{names.count(n)} x {n}" for n in dict.fromkeys(names))
        return f"{self.host.cpu or self.host.arch}, {gib(self.memory.total_bytes, 0)}"

    @property
    def digest(self) -> str:
        """A fingerprint of the hardware that does not change with what is free or loaded."""
        parts: list[object] = [
            self.host.cpu,
            self.host.logical_cores,
            round(self.memory.total_bytes / 2**28),
        ]
        parts += [(a.vendor, a.name, a.uuid, a.memory_total_bytes) for a in self.accelerators]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return the machine document (schema `machine`)."""
        return {"schema": 1, **asdict(self)}
