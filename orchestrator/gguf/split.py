"""Models in several GGUF files: `NAME-00001-of-00003.gguf`, as llama-gguf-split names them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.errors import InvalidInput
from orchestrator.gguf.header import Header

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<end>\.gguf)", re.DOTALL)
_MOST_PARTS = 1024
ADVICE = "lay all parts side by side, or merge them: `llama-gguf-split --merge FIRST-PART WHOLE`"


def stem_of(name: str) -> str:
    """Return the name without its number: the same for all parts of a model."""
    found = _PART.fullmatch(name)
    return found["stem"] + found["end"] if found else name


def parts_of(name: str) -> tuple[str, ...]:
    """Return the names of all parts, first to last; the name alone where it has no number.

    Raises InvalidInput: a number beyond the count, or a count beyond reason.
    """
    found = _PART.fullmatch(name)
    if found is None:
        return (name,)
    number, count = int(found["number"]), int(found["count"])
    if not 1 <= number <= count <= _MOST_PARTS:
        raise InvalidInput(
            f"{name}: part {number} of {count}, where 1 to {_MOST_PARTS} can be", hint=ADVICE
        )
    return tuple(
        f"{found['stem']}-{n:05}-of-{found['count']}{found['end']}" for n in range(1, count + 1)
    )


def declared(metadata: Mapping[str, Any]) -> int:
    """Return the number of files that a header says the model has: 1 where it says nothing."""
    count = metadata.get("split.count", 1)
    return count if isinstance(count, int) and count > 0 else 1


def joined(names: Sequence[str], headers: Iterable[Header]) -> Header:
    """Return one header for all parts: the keys of the first, the tensors of all.

    Raises InvalidInput: the parts are not those that the headers speak of.
    """
    read = tuple(headers)
    for number, (name, each) in enumerate(zip(names, read, strict=True)):
        count = declared(each.metadata)
        if count != len(names):
            raise InvalidInput(f"{name}: part of {count} files, given {len(names)}", hint=ADVICE)
        if count > 1 and each.metadata.get("split.no", number) != number:
            said = each.metadata["split.no"]
            raise InvalidInput(
                f"{name}: its header says part {said}, counted from 0, its name {number}",
                hint="the files are mixed up: get them anew",
            )
    return Header(
        metadata=read[0].metadata,
        tensors=tuple(tensor for each in read for tensor in each.tensors),
        size_bytes=sum(each.size_bytes for each in read),
        file_bytes=sum(each.file_bytes for each in read),
    )
