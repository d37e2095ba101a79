"""The vocabulary: exactly as large as wished, and words of the prompts are one token each."""

import pytest

from orchestrator.bench.calibration import WORDS
from orchestrator.errors import InvalidInput
from orchestrator.standin.vocabulary import vocabulary


@pytest.mark.parametrize("size", [258, 300, 2048, 32_000, 151_936, 248_320])
def test_it_has_exactly_the_wished_size_and_no_entry_twice(size: int) -> None:
    made = vocabulary(size, WORDS)
    assert len(made.tokens) == len(made.types) == len(set(made.tokens)) == size
    assert len(made.merges) == size - 258


def test_every_merge_is_of_known_halves_and_makes_an_entry_that_comes_later() -> None:
    made = vocabulary(40_000, WORDS)
    place = {token: n for n, token in enumerate(made.tokens)}
    for merge in made.merges:
        left, right = merge.split(" ")
        assert max(place[left], place[right]) < place[left + right]


def test_each_word_of_the_prompts_is_one_entry() -> None:
    assert {f"Ġ{word}" for word in WORDS} <= set(vocabulary(2048, WORDS).tokens)


def test_only_the_last_two_are_control_tokens() -> None:
    made = vocabulary(1000, WORDS)
    assert [n for n, kind in enumerate(made.types) if kind != 1] == [998, 999]
    assert (made.begin, made.end) == (998, 999)


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="257 entries"):
        vocabulary(257, WORDS)
