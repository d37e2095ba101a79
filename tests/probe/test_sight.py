"""A captured box is read by the same calls as this one, and what was read can be kept."""

import sys
import time
from pathlib import Path

import pytest

from orchestrator.machine import Machine, Memory
from orchestrator.probe.capture import captured
from orchestrator.probe.sight import ANSWERS, Sight, answer_name, whole
from tests.probe.boxes import laid_out


@pytest.mark.parametrize(
    ("text", "number"),
    [
        pytest.param("42\n", 42, id="a-line"),
        pytest.param("-1", -1, id="negative"),
        pytest.param(" 7\0", 7, id="blank-and-nul"),
        pytest.param("²", None, id="a-digit-that-is-none"),
        pytest.param("٣", None, id="another-script"),
        pytest.param("9" * 20, None, id="more-than-64-bits"),
        pytest.param("9" * 5000, None, id="more-than-python-reads"),
        pytest.param("max", None, id="a-word"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_a_number_is_read_or_not(text: str, number: int | None) -> None:
    assert whole(text) == number


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    sight = Sight(tmp_path)
    (tmp_path / "folder").mkdir()
    assert (sight.text("/none"), sight.text("/folder"), sight.text("/a\0b")) == ("", "", "")
    assert (sight.names("/none"), sight.link("/none"), sight.exists("/a\0b")) == ([], None, False)
    assert sight.number("/none") is None


def test_a_file_without_an_end_is_cut() -> None:
    assert len(Sight().text("/dev/zero")) == 4 * 2**20


def test_a_tool_that_is_not_there_is_a_fault_and_no_error() -> None:
    answer = Sight().tool("x", ["no-such-program-here"])
    assert (answer.text, "cannot be started" in (answer.fault or "")) == ("", True)


def test_a_tool_that_fails_says_its_last_line() -> None:
    program = "import sys; print('first', file=sys.stderr); sys.exit('no right to ask')"
    answer = Sight().tool("x", [sys.executable, "-c", program])
    assert "exit 1): no right to ask" in (answer.fault or "")


def test_a_tool_that_hangs_is_given_up() -> None:
    started = time.monotonic()
    answer = Sight().tool("x", [sys.executable, "-c", "import time; time.sleep(60)"], limit_s=0.5)
    assert time.monotonic() - started < 3
    assert "did not answer within 0.5 s" in (answer.fault or "")


def test_a_captured_box_answers_for_its_tools(tmp_path: Path) -> None:
    (tmp_path / ANSWERS).mkdir()
    (tmp_path / ANSWERS / answer_name("npu-smi info -l")).write_text("Total Count : 8")
    (tmp_path / ANSWERS / answer_name("hangs")).write_text("fault: it did not answer")
    sight = Sight(tmp_path)
    assert sight.tool("npu-smi info -l", ["false"]).text == "Total Count : 8"
    assert sight.tool("hangs", ["true"]).fault == "it did not answer"
    assert "was not asked" in (sight.tool("other", ["true"]).fault or "")


def test_all_that_was_read_comes_back(tmp_path: Path) -> None:
    box, copy = tmp_path / "box", tmp_path / "copy"
    box.mkdir()
    (box / "proc").mkdir()
    (box / "proc/meminfo").write_text("MemTotal: 1 kB\n")
    (box / "dev").mkdir()
    (box / "dev/kfd").write_text("")
    (box / "sda1").symlink_to("../block/sda/sda1")
    seen: dict[str, str] = {}
    live = Sight(box, seen)
    live.text("/proc/meminfo")
    assert live.exists("/dev/kfd")
    live.link("/sda1")
    Sight(seen=seen).told("stat /dev/kfd", lambda: "0660 0 109")

    machine = Machine(memory=Memory(total_bytes=1, available_bytes=1))
    again = laid_out(captured(machine, live)["raw"], copy)

    assert again.text("/proc/meminfo") == "MemTotal: 1 kB\n"
    assert again.exists("/dev/kfd")
    assert again.link("/sda1") == "../block/sda/sda1"
    assert again.told("stat /dev/kfd", lambda: None) == "0660 0 109"
