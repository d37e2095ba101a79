import os
from pathlib import Path

import pytest

from orchestrator.runtime import proc


@pytest.mark.parametrize("there", [True, False], ids=["linux", "without-proc"])
def test_what_a_process_reveals(tmp_path: Path, there: bool) -> None:
    folder = proc.PROC if there else tmp_path / "absent"

    program = proc.program(os.getpid(), folder)
    environment = proc.environ(os.getpid(), folder)
    _, home = proc.account(os.getpid(), folder)

    assert program
    assert Path(program).name.startswith("python")
    assert environment
    assert environment["PATH"]
    assert home


def test_a_process_that_is_gone_reveals_nothing(tmp_path: Path) -> None:
    assert proc.program(50, tmp_path) is None
    assert proc.environ(50, tmp_path) is None
    assert proc.account(50, tmp_path) == (None, None)


def test_a_user_without_an_account_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "50").mkdir()
    (tmp_path / "50" / "status").write_text("Uid:\t1\t987654\t1\t1\n")

    assert proc.account(50, tmp_path) == ("987654", None)
