"""Pure. What an NVIDIA device was doing during a sample: how fast it ran, and for whom.

A rate that was taken on a hot, braked or shared card says nothing of the model.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

# nvmlClocksEventReasons (before R535: ThrottleReasons). Left out: an idle device, clocks that
# somebody has set, and those of a display: they hold for every sample alike.
_REASONS = {
    0x04: "sw_power_cap",
    0x08: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake",
}
# A card at its power limit is a card at work: that is told, and is no disturbance.
_DISTURBING = frozenset(
    {"hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake"}
)
_FOREIGN_SHARE = 0.10  # as of the processors: see noise.NOISY_SHARE


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceState:
    """One device during one sample; None: the driver does not say.

    Over the readings of a sample: clocks are the median, temperature and processes the most,
    `throttle` all that slowed it at any time, `foreign_utilization` the mean share of the device's
    time that processes other than the runner used. `foreign_*` are None where the runner cannot be
    told from others: in a container the driver names processes by the host's numbers.
    """

    index: int
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    power_limit_w: float | None = None
    throttle: tuple[str, ...] = ()
    foreign_processes: int | None = None
    foreign_utilization: float | None = None


def throttle_reasons(bits: int) -> tuple[str, ...]:
    """Return what makes a device slower than it could be, out of NVML's bit mask."""
    return tuple(name for bit, name in _REASONS.items() if bits & bit)


def disturbed(states: Iterable[DeviceState]) -> bool:
    """Say whether a sample was slowed by heat, a power fault, or somebody else on a device."""
    return any(
        not _DISTURBING.isdisjoint(state.throttle)
        or (state.foreign_utilization or 0.0) >= _FOREIGN_SHARE
        for state in states
    )


def merged(readings: Sequence[DeviceState]) -> DeviceState:
    """Return the state of one device over one or more readings of it."""
    foreign = [r.foreign_utilization for r in readings if r.foreign_utilization is not None]
    seen = {name for r in readings for name in r.throttle}
    return replace(
        readings[-1],
        sm_clock_mhz=_median([r.sm_clock_mhz for r in readings]),
        memory_clock_mhz=_median([r.memory_clock_mhz for r in readings]),
        temperature_c=_most([r.temperature_c for r in readings]),
        throttle=tuple(name for name in _REASONS.values() if name in seen),
        foreign_processes=_most([r.foreign_processes for r in readings]),
        foreign_utilization=statistics.fmean(foreign) if foreign else None,
    )


def _median(found: Sequence[int | None]) -> int | None:
    known = [value for value in found if value is not None]
    return statistics.median_low(known) if known else None


def _most(found: Sequence[int | None]) -> int | None:
    return max((value for value in found if value is not None), default=None)
