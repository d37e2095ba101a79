"""Versions of Ollama and what they do by themselves."""

from itertools import pairwise

import pytest

from orchestrator.era import NEWEST, Era, ServerVersion
from orchestrator.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("0.9.3", "0.9.3", id="plain"),
        pytest.param("v0.33.0-rc2", "0.33.0", id="a-pre-release-counts-as-its-release"),
        pytest.param(" 0.30 ", "0.30.0", id="no-patch"),
        pytest.param("0.0.0", str(NEWEST), id="a-build-from-source-is-the-newest"),
    ],
)
def test_a_version_reads(text: str, shown: str) -> None:
    assert str(ServerVersion.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "latest", "1", "x0.9.3", "-1.2.3"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not an Ollama version"):
        ServerVersion.parse(text)


@pytest.mark.parametrize(
    ("text", "era"),
    [
        pytest.param("0.5.7", Era.ESTIMATE, id="early"),
        pytest.param("0.12.10", Era.ESTIMATE, id="last-with-a-formula"),
        pytest.param("0.12.11", Era.MEASURED, id="first-that-allocates-on-trial"),
        pytest.param("0.24.9", Era.MEASURED, id="last-that-allocates-on-trial"),
        pytest.param("0.30.0", Era.LLAMA_SERVER, id="first-llama-server"),
        pytest.param("1.0", Era.LLAMA_SERVER, id="future"),
    ],
)
def test_the_eras_end_where_the_code_was_removed(text: str, era: Era) -> None:
    assert ServerVersion.parse(text).era is era


def test_the_mask_is_copied_from_0_11_5_on() -> None:
    assert not ServerVersion.parse("0.11.4").masks_twice
    assert ServerVersion.parse("0.11.5").masks_twice


def test_versions_compare_as_numbers_not_as_text() -> None:
    written = ["0.9.3", "0.9.10", "0.12.3", "0.30.0", "1.0.0"]
    versions = [ServerVersion.parse(v) for v in written]
    assert all(a < b and b > a and a <= b for a, b in pairwise(versions))
