"""A tokenizer of a wished size that needs no download: byte-level BPE over made-up words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from orchestrator.errors import InvalidInput

_NORMAL, _CONTROL = 1, 3
_BEGIN, _END = "<|begin|>", "<|end|>"
_SPACE = "Ġ"  # how byte-level BPE writes a space
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CONTROLS = 2
"""Entries at the end that no answer should hold: begin and end of text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """What the tokenizer.ggml keys of a file hold. One merge an entry, as published ones have:
    the engine's tables of both are megabytes of a runner's memory.
    """

    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]

    @property
    def begin(self) -> int:
        """The number of the begin-of-text token."""
        return len(self.tokens) - CONTROLS

    @property
    def end(self) -> int:
        """The number of the end-of-text token."""
        return len(self.tokens) - 1


def vocabulary(size: int, words: Sequence[str]) -> Vocabulary:
    """Return a vocabulary of exactly `size` entries in which each of `words`, with a space before
    it, is one token, as far as there is room.

    Raises InvalidInput: there is no room for the 256 bytes.
    """
    bytes_ = _byte_letters()
    room = size - len(bytes_) - CONTROLS
    if room < 0:
        raise InvalidInput(f"no vocabulary of {size} entries: the single bytes alone take 256")
    pieces = _pieces(words, room)
    missing = islice(_fillers(), room - len(pieces))
    pieces |= dict(missing)
    tokens = [*bytes_, *pieces, _BEGIN, _END]
    types = [_NORMAL] * (size - CONTROLS) + [_CONTROL] * CONTROLS
    return Vocabulary(tokens=tokens, types=types, merges=list(pieces.values()))


def _byte_letters() -> list[str]:
    """The letters that GPT-2 gives to the 256 bytes: printable ones their own, others from U+0100.

    Source: openai/gpt-2, src/encoder.py, bytes_to_unicode.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256))
    return [chr(b) if b in printable else chr(256 + next(others)) for b in range(256)]


def _pieces(words: Sequence[str], room: int) -> dict[str, str]:
    """Return the beginnings of words, each with the merge that makes it.

    A merge only ever lengthens a word by its next letter, so that there is one way to cut it.
    """
    pieces: dict[str, str] = {}
    for word in words:
        spaced = f"{_SPACE}{word}"
        new = {spaced[:n]: f"{spaced[: n - 1]} {spaced[n - 1]}" for n in range(2, len(spaced) + 1)}
        if len(pieces.keys() | new.keys()) <= room:
            pieces |= new
    return pieces


def _fillers() -> Iterator[tuple[str, str]]:
    """Yield further pieces: a space and capitals, which no word of a prompt has.

    All are plain text: a server holds back a token whose bytes are half a letter.
    """
    before = [_SPACE]
    while True:
        after = []
        for stem in before:
            for letter in _LETTERS:
                after.append(f"{stem}{letter}")
                yield after[-1], f"{stem} {letter}"
        before = after
