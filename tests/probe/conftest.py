from pathlib import Path

import pytest

from orchestrator.machine import Absent, Accelerator
from tests.probe.boxes import Box
from tests.probe.nvidia_boxes import Read
from tests.real import nvml


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "box")


@pytest.fixture
def read(stub: Path, box: Box) -> Read:
    """Read the box with the stub as its driver: what NVML says is captured, and replayed."""

    def reading(scenario: str) -> tuple[Accelerator, ...] | Absent:
        nvml.capture(stub, scenario, box.root)
        return nvml.read_box(box.root)

    return reading
