"""The calibration against tokenizers that are written out here: what it must find is known."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.bench.calibration import LETTERS, WORDS, Calibration, calibrate, solve
from orchestrator.errors import InvalidInput

_MOST_PROBES = 41  # 40, and one that looks at the result together


def _tokenizer(cost: Callable[[str], int], bos: int) -> Callable[[str], int]:
    """Return a counter for a tokenizer that cuts at spaces, as every byte-level BPE does."""

    def count(text: str) -> int:
        assert text.startswith(" ")
        return bos + sum(cost(word) for word in text[1:].split(" "))

    return count


def _check(found: Calibration, count: Callable[[str], int]) -> None:
    """Whatever is called exact must be so, for any prompt."""
    rng = random.Random(99)
    for n in (16, 33, 512):
        assert not found.exact or count(found.prompt(n, rng)) == n


@pytest.mark.parametrize(
    ("few", "many", "line"),
    [
        pytest.param((8, 8), (40, 40), (0, 1), id="no-bos"),
        pytest.param((8, 9), (40, 41), (1, 1), id="bos"),
        pytest.param((8, 18), (40, 82), (2, 2), id="two-tokens-a-word"),
    ],
)
def test_two_probes_give_a_line(
    few: tuple[int, int], many: tuple[int, int], line: tuple[float, float]
) -> None:
    assert solve(few, many) == line


@settings(deadline=None)  # other tests may hold the processors
@given(st.integers(0, 4), st.floats(0.5, 8), st.integers(1, 50), st.integers(51, 200))
def test_the_line_goes_through_both_probes(bos: int, rate: float, few: int, many: int) -> None:
    counts = [(n, round(bos + rate * n)) for n in (few, many)]

    offset, slope = solve(counts[0], counts[1])

    assert [offset + slope * n for n, _ in counts] == pytest.approx([c for _, c in counts])


def test_one_length_gives_no_line() -> None:
    with pytest.raises(ValueError, match="no slope"):
        solve((8, 8), (8, 9))


@pytest.mark.parametrize("bos", [0, 1, 2])
def test_whole_words_take_two_probes(bos: int) -> None:
    count = _tokenizer(lambda _: 1, bos)
    found = calibrate(count, random.Random(1))

    assert (found.exact, found.bos_tokens, found.probes) == (True, bos, 2)
    assert len(found.words) == 32
    _check(found, count)


@pytest.mark.parametrize("bos", [0, 1])
@pytest.mark.parametrize("seed", range(20))
def test_one_bad_word_is_found_wherever_it_stands(bos: int, seed: int) -> None:
    bad = random.Random(seed).sample(WORDS, 40)
    count = _tokenizer(lambda w: 2 if w in bad else 1, bos)

    found = calibrate(count, random.Random(seed))

    assert found.exact
    assert found.bos_tokens == bos
    assert not set(found.words) & set(bad)
    assert len(found.words) >= 8
    _check(found, count)


def test_a_bad_word_among_the_first_eight_is_not_taken_for_a_bos() -> None:
    first = random.Random(4).sample(WORDS, 32)[0]
    count = _tokenizer(lambda w: 2 if w == first else 1, 0)

    found = calibrate(count, random.Random(4))

    assert found.exact
    assert found.bos_tokens == 0
    assert first not in found.words


def test_a_tiny_tokenizer_is_calibrated_on_letters() -> None:
    count = _tokenizer(lambda w: 1 if w in LETTERS[:12] else 1 + len(w), 1)

    found = calibrate(count, random.Random(2))

    assert found.exact
    assert set(found.words) <= set(LETTERS[:12])
    assert found.probes <= _MOST_PROBES
    _check(found, count)


def test_a_tokenizer_of_bytes_is_not_called_exact() -> None:
    found = calibrate(_tokenizer(lambda w: 1 + len(w), 1), random.Random(3))

    assert not found.exact
    assert found.tokens_per_word > 2
    text = found.prompt(200, random.Random(1))
    assert 120 < 1 + len(text) < 280


def test_a_tokenizer_that_joins_words_is_not_called_exact() -> None:
    def count(text: str) -> int:
        return (len(text.split()) + 1) // 2  # two words a token

    assert not calibrate(count, random.Random(3)).exact


def test_words_that_do_not_hold_together_are_not_called_exact() -> None:
    bad = set(random.Random(5).sample(WORDS, 32)[:2])

    def count(text: str) -> int:
        words = text.split()  # one token more in prompts as long as the words found together
        return sum(2 if w in bad else 1 for w in words) + (16 < len(words) < 40)

    assert not calibrate(count, random.Random(5)).exact


def test_a_server_that_does_not_count_is_not_called_exact() -> None:
    assert not calibrate(lambda _: None, random.Random(3)).exact


def test_the_search_ends_when_time_is_up() -> None:
    count = _tokenizer(lambda w: 1 if w in LETTERS[:3] else 3, 0)

    found = calibrate(count, random.Random(3), may_go_on=lambda: False)

    assert not found.exact
    assert found.probes <= 5


@settings(deadline=None)  # other tests may hold the processors
@given(st.integers(0, 2**32), st.integers(0, 3), st.floats(0, 1))
def test_exact_is_only_said_when_it_is_so(seed: int, bos: int, share: float) -> None:
    chosen = random.Random(seed)
    costs = {w: 1 if chosen.random() < share else chosen.randint(2, 5) for w in (*WORDS, *LETTERS)}
    count = _tokenizer(costs.__getitem__, bos)

    found = calibrate(count, random.Random(seed + 1))

    assert found.probes <= _MOST_PROBES
    assert not found.exact or found.bos_tokens == bos
    _check(found, count)


def test_a_prompt_needs_room_for_a_word() -> None:
    found = Calibration(words=WORDS, bos_tokens=1, tokens_per_word=1, exact=True)

    with pytest.raises(InvalidInput, match="no room"):
        found.prompt(1, random.Random(1))


def test_words_are_short_and_distinct() -> None:
    assert len(set(WORDS)) == len(WORDS) > 150
    assert all(w.isascii() and w.isalpha() and w.islower() and len(w) <= 7 for w in WORDS)
    assert sorted(LETTERS) == list("abcdefghijklmnopqrstuvwxyz")
