"""A machine as the probe found it: facts with units; unknown is None with a reason, never 0."""

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from orchestrator.units import gib

Vendor = Literal["nvidia", "amd", "apple", "intel", "ascend", "other"]
RuntimeKind = Literal["embedded", "release"]
DiskKind = Literal["nvme", "ssd", "hdd", "network", "memory"]
_OLLAMAS: tuple[Vendor, ...] = ("nvidia", "amd", "apple")
Whereabouts = Literal["process", "systemd", "container", "remote"]


@dataclass(frozen=True, kw_only=True, slots=True)
class NumaNode:
    """A part of the host memory, near to some processors; `cpus` "": to none (CXL, HBM)."""

    index: int
    cpus: str = ""
    total_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """The processor. `isa` names instruction sets that ggml has kernels for.

    `cpu_quota` is what a control group grants in thousandths of a core, `threads` how many a server
    should start. Untold it starts `box_cores`: it counts the physical cores of the whole box, and
    overlooks which of them it may use, and the quota.
    """

    os: str = "linux"
    arch: str = "x86_64"
    cpu: str | None = None
    physical_cores: int | None = None
    logical_cores: int | None = None
    isa: tuple[str, ...] = ()
    container: str | None = None
    virtualization: Literal["wsl2"] | None = None
    cpu_quota: int | None = None
    threads: int | None = None
    box_cores: int | None = None
    numa: tuple[NumaNode, ...] = ()

    @property
    def told_threads(self) -> int | None:
        """What a server must be told as num_thread; None: by itself it starts no more."""
        fewer = self.threads and self.box_cores and self.threads < self.box_cores
        return self.threads if fewer else None

    @property
    def quota_binds(self) -> bool:
        """Whether `threads` are what the quota grants; else what the server is scheduled on."""
        return self.cpu_quota is not None and self.threads == max(1, self.cpu_quota // 1000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Host memory in bytes. `limit_bytes` is what the tightest cgroup on the server leaves.

    Swap is told and never counted; huge pages are a part of `total_bytes` that nobody else gets;
    `zfs_cache_bytes` is what ZFS would give back, which neither the kernel's figure of available
    memory nor Ollama knows.
    """

    total_bytes: int
    available_bytes: int
    limit_bytes: int | None = None
    bandwidth_bytes_per_s: int | None = None
    bandwidth_noisy: bool | None = None
    swap_total_bytes: int | None = None
    huge_pages_bytes: int | None = None
    zfs_cache_bytes: int | None = None

    @property
    def free_bytes(self) -> int:
        """What a new process may take: the host's figure, or the tighter limit."""
        limit = self.available_bytes if self.limit_bytes is None else self.limit_bytes
        return min(self.available_bytes, limit)


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """Another file system of the box that could take a model store."""

    mount: str
    kind: DiskKind | None = None
    filesystem: str | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """The disk of the model store that the server uses; free is what a user may fill.

    `partial_bytes` are blocks of downloads that were interrupted there; `read_bytes_per_s` was
    measured on a blob of the store, past the page cache; `others` are file systems beside it.
    """

    model_store: str | None = None
    free_bytes: int | None = None
    kind: DiskKind | None = None
    filesystem: str | None = None
    read_only: bool | None = None
    free_inodes: int | None = None
    partial_bytes: int | None = None
    read_bytes_per_s: int | None = None
    others: tuple[Volume, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceProcess:
    """A process that holds memory of a device. None: the driver does not say, or it is hidden."""

    pid: int
    name: str | None = None
    bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """One device that a runner can be given. Memory is None where the driver will not say.

    `memory_reserved_bytes` is the driver's own part, inside of total and outside of free.
    `pci` is the address in sysfs, `pcie_*` the link's best, whatever it idles at. `virtual`: a
    hypervisor's share of a card (vGPU). `remedy` is the part of `unusable_reason` that says what to
    do; None: nothing can be done.
    """

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
    memory_reserved_bytes: int | None = None
    pci: str | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    ecc: bool | None = None
    virtual: bool | None = None
    processes: tuple[DeviceProcess, ...] = ()
    usable: bool = True
    unusable_reason: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """What a probe did not find, and why; `present`: there is one, and it cannot be used.

    `remedy` is the part of `reason` that says what to do; None: nothing can be done.
    """

    probe: str
    reason: str
    present: bool = False
    remedy: str | None = None


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
    amd_visible_devices: str | None = None
    gfx_override: str | None = None
    igpu_enable: bool | None = None
    listens_everywhere: bool | None = None
    proxy: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherServer:
    """Another Ollama server on this box; `host` None: where it listens cannot be seen."""

    pid: int
    host: str | None = None
    user: str | None = None
    where: Whereabouts = "process"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerState:
    """The Ollama server: `local` says that the probe looked at the server's own machine.

    `settings_known` False: its environment is hidden from this account, and plans assume Ollama's
    defaults; None: there is no process to ask.
    `runners` are its processes that hold models, by their pids, `orphans` runners that outlived
    their server and keep its memory.
    """

    host: str | None = None
    version: str | None = None
    local: bool = True
    runtime: RuntimeKind | None = None
    pid: int | None = None
    user: str | None = None
    where: Whereabouts | None = None
    loaded: tuple[LoadedModel, ...] = ()
    settings: ServerSettings = field(default_factory=ServerSettings)
    settings_known: bool | None = None
    runners: tuple[int, ...] = ()
    orphans: tuple[int, ...] = ()
    others: tuple[OtherServer, ...] = ()


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
        # An NPU that Ollama cannot use changes nothing of what is measured here.
        used = [a for a in self.accelerators if a.vendor in _OLLAMAS]
        parts += [(a.vendor, a.name, a.uuid, a.memory_total_bytes) for a in used]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return the machine document (schema `machine`)."""
        return {"schema": 1, **asdict(self)}
