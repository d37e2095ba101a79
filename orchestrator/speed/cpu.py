"""How fast a processor streams weights: its cores at the kernels at hand, bound by its memory."""

from dataclasses import dataclass

from orchestrator.machine import Machine
from orchestrator.model import Target
from orchestrator.speed.constants import constants

# Measured bytes a second and core, Ollama 0.9.3 embedded build, 2 cores (docs/estimating-speed.md):
# 8-bit and 16-bit kernels are vectorised, the 4-bit ones are not.
_EMBEDDED_FAST, _EMBEDDED_SLOW = 7.0e9, 1.8e9
_WIDE = ("Q8_0", "F16", "BF16", "F32")
# What a reading loop measures of the sheet's bandwidth; the calibration knows sheets only.
_MEASURED_SHARE = 0.75
# Without a measured bandwidth: two channels of DDR4 up to 11 cores, then more with the sockets.
_DEFAULT_BANDWIDTH, _DEFAULT_BANDWIDTH_PER_CORE = 40e9, 3.5e9
_DEFAULT_CORES = 2
_UNMEASURED = 1.25  # a bandwidth by rule of thumb widens the range by this
# Measured prefill over decode: 1.4 to 1.5 with the embedded build, 2.8 to 3.9 with a recent engine.
_PREFILL_TO_DECODE = {"embedded": 1.4, "release": 3.3}


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """A processor as speed sees it."""

    bytes_per_s: float
    spread: float
    prefill_to_decode: float
    basis: str


def host_of(target: Target, machine: Machine) -> Host:
    """Return the rate at which this machine's processor reads weights of this quantization."""
    cores = _cores(machine)
    known = machine.memory.bandwidth_bytes_per_s
    embedded = machine.server.runtime == "embedded"
    measured = constants().cpu
    core = measured.bytes_per_core_s
    if embedded:
        core = _EMBEDDED_FAST if target.quantization in _WIDE else _EMBEDDED_SLOW
    # The memory's channels are there whatever a quota or a mask leaves of the cores.
    channels = _DEFAULT_BANDWIDTH_PER_CORE * (machine.host.physical_cores or cores)
    bandwidth = known or max(_DEFAULT_BANDWIDTH, channels)
    share = measured.efficiency / _MEASURED_SHARE
    bound, kernels = share * bandwidth, cores * core
    what = f"{cores:g} cores x {core / 1e9:.1f} GB/s of the {'embedded' if embedded else 'release'}"
    if bound < kernels:
        how = "measured" if known else "assumed"
        what = f"{share:.2f} of {bandwidth / 1e9:.0f} GB/s memory ({how})"
    return Host(
        bytes_per_s=min(bound, kernels),
        spread=measured.spread * (1 if known else _UNMEASURED),
        prefill_to_decode=_PREFILL_TO_DECODE["embedded" if embedded else "release"],
        basis=f"CPU: {what}; {measured.measurements} measurements",
    )


def _cores(machine: Machine) -> float:
    """Return how many cores compute at a time: one a thread, and no more than a quota grants."""
    host = machine.host
    cores = host.threads or host.physical_cores or _DEFAULT_CORES
    return min(cores, host.cpu_quota / 1000) if host.cpu_quota else cores
