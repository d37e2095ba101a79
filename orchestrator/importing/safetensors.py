"""Safetensors to a model of an Ollama server, in a way that leaves nothing but the model.

The server converts, and then quantizes what it converted. Asked for both at once it keeps the
unquantized model without a name. So it is asked twice, and the first has a name to be deleted by.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from orchestrator.errors import InvalidInput, SourceCorrupt
from orchestrator.families import Family
from orchestrator.gguf.hub_config import IMPORTED_QUANTIZATIONS
from orchestrator.importing import Destination, Imported, LocalFile, residue, room
from orchestrator.importing.check_safetensors import check
from orchestrator.importing.dress import dress, note
from orchestrator.importing.needs import import_peak_bytes, made_bytes
from orchestrator.importing.place import put
from orchestrator.importing.smoke import prove
from orchestrator.importing.upload import missing, upload
from orchestrator.progress import Progress
from orchestrator.server import imports

_WEIGHTS, _CONFIG, _PLAIN = ".safetensors", "config.json", "F16"
READ = {
    _CONFIG, "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    "added_tokens.json", "special_tokens_map.json",
}  # fmt: skip
"""What the server reads beside the weights."""


def import_safetensors(
    to: Destination,
    name: str,
    files: Sequence[LocalFile],
    *,
    quantization: str,
    family: Family | None,
    licence: str | None,
    progress: Progress,
) -> Imported:
    """Make `name` of the files, quantized; checked first, and proved by an answer at the end.

    A killed import goes on where its pieces are: nothing that the server has is uploaded or made
    again. Until the end `name` is what it was before.
    Raises InvalidInput, SourceCorrupt, DiskFull, ServerRefused, ServerUnreachable.
    """
    wished = _imported(quantization)
    check(files)
    making = _Making(to, name, _sent(files), wished, dress(family, licence), progress)
    with residue.taken_away(to, (making.made, making.plain), making.files, progress):
        moved_bytes, guessed = (0, None) if to.server.find(making.made) else making.make()
        notes = prove(to, making.made, name, progress)
        residue.remove_names(to, (making.plain,))  # so that there is room for a name
        put(to, making.made, name)
    return Imported(name=name, uploaded_bytes=moved_bytes, notes=(*note(family, guessed), *notes))


@dataclass(frozen=True)
class _Making:
    """One import between its first byte and its proof; it has names that its content decides."""

    to: Destination
    name: str
    files: tuple[LocalFile, ...]
    quantization: str
    clothes: Mapping[str, Any]
    progress: Progress

    @property
    def plain(self) -> str:
        """The name of the model before it is quantized."""
        return residue.name_of(*self._content, _PLAIN)

    @property
    def made(self) -> str:
        """The name of the model until it is proved."""
        clothes = json.dumps(self.clothes, sort_keys=True)
        return residue.name_of(*self._content, self.quantization, clothes)

    def make(self) -> tuple[int, str | None]:
        """Return how many bytes moved, and which template the server guessed."""
        converted = self.quantization != _PLAIN and self.to.server.find(self.plain) is not None
        absent = () if converted else missing(self.to, self.files)
        with room.needed(self.to, self.name, self._needed_bytes(absent, converted=converted)):
            moved_bytes = upload(self.to, absent, f"upload {self.name}", self.progress)
            sources = {file.name: file.digest for file in self.files}
            if self.quantization == _PLAIN:
                return moved_bytes, self._create(self.made, files=sources, **self.clothes)
            guessed = None if converted else self._create(self.plain, files=sources)
            quantized = {"from_": self.plain, "quantize": self.quantization}
            self._create(self.made, **quantized, **self.clothes)
        return moved_bytes, guessed

    def _create(self, made: str, **fields: Any) -> str | None:
        return imports.create(self.to.server, made, self.progress, label=self.name, **fields)

    def _needed_bytes(self, absent: Sequence[LocalFile], *, converted: bool) -> int:
        """Return what of the peak is not on the server's disk yet."""
        weights, beside = (
            sum(f.size_bytes for f in self.files if f.name.endswith(_WEIGHTS) is wanted)
            for wanted in (True, False)
        )
        made = made_bytes(_config(self.files), weights, beside, self.quantization)
        if converted:
            return 2 * (made.quantized_bytes or 0)
        present_bytes = weights + beside - sum(f.size_bytes for f in absent)
        return import_peak_bytes(weights + beside, *made) - present_bytes

    @property
    def _content(self) -> list[str]:
        return sorted(f"{file.name} {file.digest}" for file in self.files)


def _imported(quantization: str) -> str:
    """Return it as the server spells it, which refuses others only after the conversion."""
    wished = quantization.upper()
    if wished not in IMPORTED_QUANTIZATIONS:
        raise InvalidInput(
            f"Ollama's import makes no {quantization} of safetensors",
            hint=f"it makes {', '.join(IMPORTED_QUANTIZATIONS)}; or name a GGUF repository",
        )
    return wished


def _sent(files: Sequence[LocalFile]) -> tuple[LocalFile, ...]:
    return tuple(file for file in files if file.name in READ or _is_weights(file.name))


def _is_weights(name: str) -> bool:
    return name.endswith(_WEIGHTS) and len(PurePosixPath(name).parts) == 1


def _config(files: Sequence[LocalFile]) -> Mapping[str, Any]:
    path = next((file.path for file in files if file.name == _CONFIG), None)
    try:
        found = json.loads(path.read_bytes()) if path else None
    except (OSError, ValueError) as e:
        raise SourceCorrupt(f"cannot read {path}: {e}") from e
    if not isinstance(found, dict):
        raise InvalidInput(f"there is no {_CONFIG} with an object among the files")
    return found
