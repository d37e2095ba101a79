import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.probe.nvidia import NvidiaProbe
from orchestrator.probe.sight import Sight
from orchestrator.units import MIB
from tests.probe.boxes import Box
from tests.probe.nvidia_boxes import Read, cards, one, why
from tests.real import nvml


def test_a_driver_that_hangs_is_given_up_in_time(stub: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    told = nvml.read_here(stub, "init_hangs", tmp_path)
    assert time.monotonic() - started < 12
    assert "the driver did not answer within 10 s (a fallen GPU hangs it): reboot" in told


def test_this_box_is_read_as_a_captured_one_is(stub: Path, tmp_path: Path) -> None:
    """The default libraries, by the loader's path, in a process that a person would start."""
    found = nvml.read_here(stub, "rtx3090x2", tmp_path)
    assert not isinstance(found, str)
    listed = [card for card in found if card["driver"]]
    assert [card["name"] for card in listed] == ["NVIDIA GeForce RTX 3090"] * 2


def test_the_first_library_that_loads_is_read(stub: Path, tmp_path: Path) -> None:
    environ = nvml.environment(tmp_path, "rtx4090", tmp_path)
    library = str(stub / "libnvidia-ml.so.1")
    said = nvml.answer(environ, "/usr/lib/none/libnvidia-ml.so.1", library)
    assert json.loads(said)["gpus"][0]["name"] == "NVIDIA GeForce RTX 4090"


def test_a_library_that_cannot_be_loaded_is_not_called_missing(box: Box, tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")
    library = str(tmp_path / "libnvidia-ml.so.1")
    box.answer("nvml", nvml.answer(dict(os.environ), library, "libnvidia-none.so.9"))
    reason = why(nvml.read_box(box.root))
    assert "the driver's library cannot be loaded" in reason
    assert "file too short" in reason


def test_a_library_that_is_not_nvidias(box: Box) -> None:
    box.answer("nvml", nvml.answer(dict(os.environ), "libc.so.6"))
    assert "driver library" in why(nvml.read_box(box.root))


REAL = """
import importlib.util, pathlib, sys
found = [p for p in map(pathlib.Path, sys.path) if (p / "pynvml.py").exists()]
exec((found[-1] / "pynvml.py").read_text(), globals())
"""
BINDINGS = {
    "missing": ("raise ModuleNotFoundError('No module named pynvml')", "cannot be imported"),
    "broken": ("raise RuntimeError('broken')", "cannot be imported (RuntimeError: broken)"),
    "cut off": ("def nvmlInit(:", "cannot be imported (SyntaxError"),
    "foreign": ("x = 1", "is not that of nvidia-ml-py"),
}


def with_binding(stub: Path, box: Box, scenario: str, source: str) -> None:
    folder = box.root.with_name("binding")
    folder.mkdir()
    (folder / "pynvml.py").write_text(source)
    environ = nvml.environment(stub, scenario, box.root.parent)
    box.answer("nvml", nvml.answer(environ | {"PYTHONPATH": str(folder)}))


@pytest.mark.parametrize(("source", "reason"), BINDINGS.values(), ids=BINDINGS)
def test_a_binding_that_cannot_be_used_is_named_with_its_repair(
    stub: Path, box: Box, source: str, reason: str
) -> None:
    with_binding(stub, box, "rtx4090", source)
    told = why(nvml.read_box(box.root))
    assert told.startswith("the Python module pynvml ")
    assert reason in told
    assert told.endswith("`pip install --force-reinstall nvidia-ml-py`")


def test_an_old_binding_reads_what_it_can(stub: Path, box: Box) -> None:
    with_binding(stub, box, "rtx4090", f"{REAL}\ndel nvmlMemory_v2\n")
    card = one(nvml.read_box(box.root))
    assert (card.memory_total_bytes, card.memory_reserved_bytes) == (24564 * MIB, None)


def test_an_old_binding_is_named_where_it_reads_nothing(stub: Path, box: Box) -> None:
    with_binding(stub, box, "unknown_error", f"{REAL}\ndel nvmlMemory_v2\n")
    told = why(nvml.read_box(box.root))
    assert "pynvml.py) is older than nvidia-ml-py 12: " in told
    assert told.endswith("`pip install --force-reinstall nvidia-ml-py`")


def test_an_old_binding_may_answer_bytes(stub: Path, box: Box) -> None:
    bytes_ = "def nvmlDeviceGetName(handle): return b'RTX 4090\\xff'"
    with_binding(stub, box, "rtx4090", f"{REAL}\n{bytes_}\n")
    assert one(nvml.read_box(box.root)).name == "RTX 4090\ufffd"


def test_a_name_that_is_not_text_costs_the_name_only(stub: Path, box: Box) -> None:
    """A broken information ROM makes the binding itself fail."""
    fails = "def nvmlDeviceGetName(handle): return b'\\xff'.decode()"
    with_binding(stub, box, "rtx4090", f"{REAL}\n{fails}\n")
    card = one(nvml.read_box(box.root))
    assert (card.name, card.usable) == ("NVIDIA GPU 0", True)


def test_the_modules_beside_the_reading_program_are_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There lie a memory.py and a server.py, which no other package means to import."""
    started = tmp_path / "started"
    (tmp_path / "python").write_text(f'#!/bin/sh\necho "$@" > {started}\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr("sys.executable", os.fspath(tmp_path / "python"))
    NvidiaProbe().read()
    assert started.read_text().startswith(f"-P {nvml.PROGRAM} ")


def test_a_python_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", os.fspath(tmp_path / "python"))
    assert "NVML could not be read: python cannot be started" in why(NvidiaProbe().read())


def test_a_reading_process_that_dies_leaves_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver's library may take the process with it."""
    (tmp_path / "python").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr("sys.executable", os.fspath(tmp_path / "python"))
    assert "NVML could not be read: python failed (exit -11)" in why(NvidiaProbe().read())


def test_a_library_that_prints_before_the_answer_does_not_spoil_it(box: Box, read: Read) -> None:
    expected = read("rtx4090")
    said = (box.root / "answers" / "nvml").read_text()
    box.answer("nvml", f"a warning of the library\n{said}")
    assert nvml.read_box(box.root) == expected


def test_what_is_read_here_can_be_replayed(
    stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `--save` keeps of this box is all that the reading needs."""
    for name, value in nvml.environment(stub, "rtx3060_busy", tmp_path).items():
        monkeypatch.setenv(name, value)
    seen: dict[str, str] = {}
    libraries = (str(stub / "libnvidia-ml.so.1"),)
    here = cards(NvidiaProbe(Sight(seen=seen), libraries).read())
    box = Box(tmp_path / "replayed")
    box.answer("nvml", seen["$ nvml"])
    assert one(nvml.read_box(box.root)) == next(c for c in here if c.driver)


def test_the_reading_process_starts_without_the_orchestrator(stub: Path, tmp_path: Path) -> None:
    """It is a program of its own: what it imports is what every probe waits for."""
    environ = nvml.environment(stub, "h100_x8", tmp_path)
    program = f"import runpy, sys; runpy.run_path({nvml.PROGRAM!r}); print(list(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "orchestrator" not in done.stdout
    assert "pathlib" not in done.stdout
