"""How many tokens a prompt has, learned from the model itself: nobody here has its tokenizer."""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.errors import InvalidInput

CountTokens = Callable[[str], int | None]
"""Asks the model how many tokens a raw prompt has; None: it would not say."""

# One token each, with a leading space, in the tokenizers of DeepSeek-R1/Qwen and SmolLM2.
WORDS = tuple(
    """the of and to in is you that it he was for on are as with his they at be this have from or
    one had by word but not what all were we when your can said there use an each which she do how
    their if will up other about out many then them these so some her would make like him into time
    has look two more write go see no way could people my than first water been call who now find
    long down day did get come made may part over new sound take only little work know place year
    live me back give most very after thing our just name good man think say great where help
    through much before line right too mean old any same tell boy follow came want show also around
    form three small set put end does another well large must big even such because turn here why
    ask went men read need land home us move try kind hand again change off play air away animal
    house point page""".split()  # noqa: SIM905 - a list of 190 lines would hide the rest
)
# A tokenizer of a few hundred entries has hardly a whole word, but often a letter with its space.
LETTERS = tuple("etaoinshrdlcumwfgypbvkjxqz")

_FEW = 8
_NEW = 24  # 24 new words and the 8 of the first probe twice: 40
_WANTED_WORDS = 24
_MIN_WORDS = 4
_MAX_PROBES = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """A vocabulary and what it costs: tokens = bos_tokens + tokens_per_word x words.

    `exact` says that every word of `words` was seen to be one token. If it is False the numbers
    are averages, and prompts come out only near the length asked for.
    """

    words: tuple[str, ...]
    bos_tokens: float
    tokens_per_word: float
    exact: bool
    probes: int = 0

    def prompt(self, n_tokens: int, rng: random.Random, *, first: str | None = None) -> str:
        """Return a raw prompt of `n_tokens`, BOS included, that begins with the word `first`.

        Raises InvalidInput: `n_tokens` leaves no room for a word.
        """
        n_words = round((n_tokens - self.bos_tokens) / self.tokens_per_word)
        if n_words < 1:
            raise InvalidInput(f"a prompt of {n_tokens} tokens has no room for a word")
        lead = first or rng.choice(self.words)
        return _text([lead, *rng.choices(self.words, k=n_words - 1)])


def solve(few: tuple[int, int], many: tuple[int, int]) -> tuple[float, float]:
    """Return (bos_tokens, tokens_per_word) of the line through two probes of (words, tokens).

    Raises ValueError: the probes have the same number of words.
    """
    (words_0, tokens_0), (words_1, tokens_1) = few, many
    if words_0 == words_1:
        raise ValueError(f"two probes of {words_0} words give no slope")
    slope = (tokens_1 - tokens_0) / (words_1 - words_0)
    return tokens_0 - slope * words_0, slope


def calibrate(
    count_tokens: CountTokens, rng: random.Random, *, may_go_on: Callable[[], bool] = lambda: True
) -> Calibration:
    """Return a vocabulary of single tokens, verified on the model with two probes if all is well.

    The probe of 40 words holds the 8 of the first one twice. No word takes less than one token, so
    32 tokens more prove that all 32 distinct words take exactly one, and what the first probe has
    above 8 is what the model puts before a prompt. Otherwise the words that take more are
    bisected out, with at most 40 probes and while `may_go_on`; failing that, `exact` is False.
    """
    words = rng.sample(WORDS, _FEW + _NEW)
    few, new = words[:_FEW], words[_FEW:]
    count = _Counter(count_tokens, rng)
    # New words first: nothing of the first probe may be found in the server's cache.
    base, large = count(few), count(new, then=[*few, *few])
    if base is None or large is None:
        return Calibration(words=tuple(words), bos_tokens=0, tokens_per_word=1, exact=False)
    if large - base == _FEW + _NEW and base >= _FEW:
        return _exact(words, base - _FEW, count)
    bos, slope = solve((_FEW, base), (2 * _FEW + _NEW, large))
    return _filtered(count, few, new, base, large, may_go_on) or Calibration(
        words=tuple(words),
        bos_tokens=max(0.0, bos),
        tokens_per_word=max(slope, 0.1),
        exact=False,
        probes=count.probes,
    )


def _exact(words: Sequence[str], bos: int, count: "_Counter") -> Calibration:
    return Calibration(
        words=tuple(words), bos_tokens=bos, tokens_per_word=1, exact=True, probes=count.probes
    )


def _filtered(
    count: "_Counter",
    few: list[str],
    new: list[str],
    base: int,
    large: int,
    may_go_on: Callable[[], bool],
) -> Calibration | None:
    """Return the calibration with the words that are one token each; None: too few are."""
    double = count(few, then=few)
    if double is None or not 0 <= (bos := 2 * base - double) <= base:
        return None  # a word's tokens depend on its neighbours: nothing adds up
    search = _Search(count, bos)
    excess_few, excess_new = base - bos - _FEW, large - bos - 2 * (base - bos) - _NEW
    search.add(few, excess_few)
    search.add(new, excess_new)
    if excess_few + excess_new > (_FEW + _NEW) // 2:  # few whole words: a small tokenizer
        for letters in (LETTERS[:13], LETTERS[13:]):
            search.probe(list(letters))
    good = search.run(may_go_on)
    # Once more together: each was judged beside others than these.
    if len(good) < _MIN_WORDS or count(good) != bos + len(good):
        return None
    return _exact(good, bos, count)


class _Counter:
    """Asks the model, and counts how often."""

    def __init__(self, count_tokens: CountTokens, rng: random.Random) -> None:
        self._count_tokens = count_tokens
        self._rng = rng
        self.probes = 0

    def __call__(self, words: Sequence[str], *, then: Sequence[str] = ()) -> int | None:
        self.probes += 1
        rest = self._rng.sample([*words[1:], *then], len(words) + len(then) - 1)
        return self._count_tokens(_text([words[0], *rest]))


class _Search:
    """Bisects sets of words by their excess: tokens above one a word. Most promising set first."""

    def __init__(self, count: _Counter, bos: int) -> None:
        self._count = count
        self._bos = bos
        self._sets: list[tuple[float, int, list[str], int]] = []
        self._added = 0

    def add(self, words: list[str], excess: int) -> None:
        self._added += 1  # breaks ties, so that lists are never compared
        heapq.heappush(self._sets, (excess / len(words), self._added, words, excess))

    def probe(self, words: list[str]) -> int | None:
        tokens = self._count(words)
        if tokens is None:
            return None
        excess = tokens - self._bos - len(words)
        self.add(words, excess)
        return excess

    def run(self, may_go_on: Callable[[], bool]) -> list[str]:
        """Return words that seem to take one token each."""
        good: list[str] = []
        while self._sets and len(good) < _WANTED_WORDS:
            _, _, words, excess = heapq.heappop(self._sets)
            if excess == 0:
                good += words
            elif len(words) > 1:
                if self._count.probes >= _MAX_PROBES or not may_go_on():
                    break
                self._split(words, excess)
        return good

    def _split(self, words: list[str], excess: int) -> None:
        half = len(words) // 2
        left = self.probe(words[:half])
        if left is not None:
            self.add(words[half:], excess - left)


def _text(words: Sequence[str]) -> str:
    return "".join(f" {w}" for w in words)
