"""Names of models, as the server reads and shows them."""

import re
from pathlib import Path
from typing import NamedTuple, Self

_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_FORMS = (
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
)


class Name(NamedTuple):
    """The four parts of a name: the three folders and the file of its manifest."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name; the parts that it lacks are the server's defaults.

        Raises LookupError: no name of a model. So no part of one leads out of its folder.
        """
        path, _, tag = text.rpartition(":")
        if not path or "/" in tag:  # the colon of a port
            path, tag = text, _TAG
        parts = path.split("/")
        parts = [_HOST, _NAMESPACE][: 3 - len(parts)] + parts
        return cls._valid((*parts, tag), text)

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Read the name from the path of a manifest file. Raises LookupError: no name."""
        return cls._valid(path.parts[-4:], str(path))

    @property
    def short(self) -> str:
        """The name as /api/tags shows it: without the parts that are the defaults."""
        path = [self.model]
        if self.namespace.lower() != _NAMESPACE:
            path.insert(0, self.namespace)
        if self.host.lower() != _HOST:
            path = [self.host, self.namespace, self.model]
        return f"{'/'.join(path)}:{self.tag}"

    @classmethod
    def _valid(cls, parts: tuple[str, ...], text: str) -> Self:
        if len(parts) != len(_FORMS) or not all(
            form.fullmatch(part) for form, part in zip(_FORMS, parts, strict=True)
        ):
            raise LookupError(f"{text!r} is no name of a model")
        return cls(*parts)
