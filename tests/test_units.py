"""Sizes and durations: what is read back is what was meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.units import GB, GIB, MIB, duration, gb, gib, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        pytest.param("1073741824", GIB, id="bare-number-is-bytes"),
        pytest.param("2.5GiB", int(2.5 * GIB), id="fraction"),
        pytest.param("24GB", 24 * GB, id="vendors-gigabyte-is-decimal"),
        pytest.param("512M", 512 * MIB, id="one-letter-is-binary"),
        pytest.param("1 tib", 1024 * GIB, id="case-and-blank-do-not-matter"),
        pytest.param("0", 0, id="zero"),
        pytest.param("9007199254740993", 2**53 + 1, id="no-rounding-through-a-float"),
        pytest.param("9" * 400, int("9" * 400), id="no-overflow"),
    ],
)
def test_a_size_is_read_in_its_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "1e9", "5 parsecs", "1.GiB", "nan", "1,5GB"])
def test_what_is_no_size_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@given(st.integers(0, 2**60))
def test_a_number_of_bytes_reads_back(size: int) -> None:
    assert parse_size(f"{size}B") == size


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        pytest.param(gib(4_683_073_184), "4.36 GiB", id="memory-in-gib"),
        pytest.param(gib(0.4 * MIB), "0.4 MiB", id="small-memory-keeps-a-digit"),
        pytest.param(gib(98 * MIB), "98 MiB", id="below-a-tenth-in-mib"),
        pytest.param(gib(-2 * GIB), "-2.00 GiB", id="a-difference-may-be-negative"),
        pytest.param(gib(64 * GIB, 0), "64 GiB", id="digits"),
        pytest.param(gb(4_683_073_184), "4.68 GB", id="downloads-in-gb"),
        pytest.param(gb(404_430_188_519), "404.4 GB", id="large-downloads"),
        pytest.param(gb(98_000_000), "98 MB", id="small-downloads"),
        pytest.param(duration(0.34), "340 ms", id="below-a-second"),
        pytest.param(duration(4.24), "4.2 s", id="seconds"),
        pytest.param(duration(185), "3 min 05 s", id="minutes"),
        pytest.param(duration(3725), "1 h 02 min", id="hours"),
    ],
)
def test_numbers_are_shown_as_people_quote_them(shown: str, text: str) -> None:
    assert shown == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.9996, "1.0 s"), (59.99, "1 min 00 s"), (3599.9, "1 h 00 min")]
)
def test_rounding_carries_into_the_next_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
