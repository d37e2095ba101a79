"""What a user may do with a file, by the file's mode."""

import pytest

from orchestrator.probe.rights import Rights

READ, WRITE, BOTH = 4, 2, 6
OWNER, GROUP = 7, 70


@pytest.mark.parametrize(
    ("rights", "mode", "bits", "may"),
    [
        pytest.param(Rights(0, frozenset()), 0o000, BOTH, True, id="root"),
        pytest.param(Rights(None, None), 0o000, BOTH, True, id="user-unknown"),
        pytest.param(Rights(8, None), 0o000, BOTH, True, id="groups-unknown"),
        pytest.param(Rights(7, None), 0o700, BOTH, True, id="the-owner"),
        pytest.param(Rights(7, frozenset({70})), 0o077, WRITE, False, id="only-the-owner-may-not"),
        pytest.param(Rights(8, frozenset({70})), 0o060, BOTH, True, id="the-group"),
        pytest.param(Rights(8, frozenset({70})), 0o707, WRITE, False, id="only-the-group-may-not"),
        pytest.param(Rights(8, frozenset({71})), 0o772, WRITE, True, id="others"),
        pytest.param(Rights(8, frozenset({71})), 0o774, WRITE, False, id="others-may-only-read"),
        pytest.param(Rights(8, frozenset({71})), 0o774, BOTH, False, id="half-of-it"),
        pytest.param(Rights(8, frozenset({71})), 0o774, READ, True, id="to-read"),
    ],
)
def test_whose_bits_decide(rights: Rights, mode: int, bits: int, may: bool) -> None:
    assert rights.allow(bits, mode=mode, owner=OWNER, group=GROUP) is may
