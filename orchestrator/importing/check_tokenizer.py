"""Whether a server can read the tokenizer of a repository of safetensors."""

from collections.abc import Mapping

from orchestrator.errors import InvalidInput, SourceCorrupt
from orchestrator.importing import LocalFile
from orchestrator.importing.check_documents import AGAIN, content, document

_JSON, _SENTENCEPIECE = "tokenizer.json", "tokenizer.model"
_BESIDE = (
    "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json",
    "generation_config.json",
)  # fmt: skip
_PIECE = b"\x0a"  # field 1 of sentencepiece's ModelProto: a message of its own


def check_tokenizer(files: Mapping[str, LocalFile]) -> None:
    """Look into the files of a tokenizer, by name, and into what a server reads beside them.

    Raises SourceCorrupt: damaged. InvalidInput: there is none.
    """
    found = [name for name in (_JSON, _SENTENCEPIECE) if name in files]
    if not found:
        raise InvalidInput(
            f"there is neither {_JSON} nor {_SENTENCEPIECE} among the files",
            hint="name another repository",
        )
    if _JSON in found:
        _check_json(files[_JSON])
    if _SENTENCEPIECE in found:
        _check_sentencepiece(files[_SENTENCEPIECE])
    for name in _BESIDE:
        if name in files:
            document(files[name])


def _check_json(file: LocalFile) -> None:
    model = document(file).get("model")
    if not isinstance(model, dict) or not model.get("vocab"):
        raise SourceCorrupt(f"{file.name} has no vocabulary", hint=AGAIN)


def _check_sentencepiece(file: LocalFile) -> None:
    """Look at how it begins: with a piece, a length of one byte, and the piece's text."""
    start = content(file)[:3]
    if start[:1] != _PIECE or start[2:3] != _PIECE:
        raise SourceCorrupt(f"{file.name} is no sentencepiece model", hint=AGAIN)
