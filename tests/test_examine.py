"""What the doctor looks up himself."""

import os
from pathlib import Path

import pytest

from orchestrator.examine import may_write
from orchestrator.probe.server import ServerProcess


@pytest.mark.parametrize(
    ("mode", "uid", "groups", "may"),
    [
        pytest.param(0o755, 0, None, True, id="root"),
        pytest.param(0o755, 7, frozenset({7}), False, id="another-user"),
        pytest.param(0o777, 7, frozenset({7}), True, id="open-to-all"),
        pytest.param(0o775, 7, None, True, id="groups-unknown"),
        pytest.param(0o555, None, None, True, id="user-unknown"),
    ],
)
def test_whether_the_servers_usermay_write(
    tmp_path: Path, mode: int, uid: int | None, groups: frozenset[int] | None, may: bool
) -> None:
    tmp_path.chmod(mode)
    process = ServerProcess(pid=1, uid=uid, groups=groups)
    assert may_write(tmp_path.stat(), process) is may
    tmp_path.chmod(0o755)


def test_the_owner_and_the_group_have_their_own_bits(tmp_path: Path) -> None:
    found = tmp_path.stat()
    owner, group = found.st_uid or os.getuid(), found.st_gid
    tmp_path.chmod(0o070)
    as_group = ServerProcess(pid=1, uid=owner + 7, groups=frozenset({group}))
    assert may_write(tmp_path.stat(), as_group)
    tmp_path.chmod(0o707)
    assert not may_write(tmp_path.stat(), as_group)
    tmp_path.chmod(0o755)
