"""The constants of each class of device, as scripts/calibrate_speed.py wrote them."""

import json
from dataclasses import dataclass
from functools import cache
from pkgutil import get_data
from typing import Any

POOLED = "other"
"""The class whose constants are those of all measurements together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassConstants:
    """What one class of accelerator makes of its sheet.

    `efficiency` is the share of the bandwidth that decode reaches, `launch_s` what a layer costs
    whatever its size, `spread` the factor around the likely value that 90 % of blind predictions
    keep. `measurements` on `devices` kinds of device stand behind them.
    """

    efficiency: float
    launch_s: float
    spread: float
    measurements: int
    devices: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefillConstants:
    """The share of the peak arithmetic that prefill reaches, and the factor around it."""

    flops_share: float
    spread: float
    measurements: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuConstants:
    """A release on a processor: bytes a second a core, and the share of the host's bandwidth."""

    bytes_per_core_s: float
    efficiency: float
    spread: float
    measurements: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Constants:
    """Everything that was calibrated.

    `recurrent` is what a recurrent layer launches more than an attention layer, as a share of it;
    `hop_s` what each further device of a split adds to a token.
    """

    classes: dict[str, ClassConstants]
    recurrent: float
    hop_s: float
    prefill: dict[str, PrefillConstants]
    cpu: CpuConstants

    def of(self, name: str) -> ClassConstants:
        """The constants of a class; what no measurement stands behind is pooled."""
        return self.classes.get(name) or self.classes[POOLED]

    def prefill_of(self, name: str) -> PrefillConstants:
        """The prefill constants of a class, or the pooled ones."""
        return self.prefill.get(name) or self.prefill[POOLED]


@cache
def constants() -> Constants:
    """Return the calibrated constants that the package carries."""
    return from_json(json.loads(get_data(__package__, "constants.json") or b"{}"))


def from_json(document: dict[str, Any]) -> Constants:
    """Read what the calibration wrote."""
    return Constants(
        classes={k: ClassConstants(**v) for k, v in document["classes"].items()},
        recurrent=document["recurrent"],
        hop_s=document["hop_s"],
        prefill={k: PrefillConstants(**v) for k, v in document["prefill"].items()},
        cpu=CpuConstants(**document["cpu"]),
    )
