"""A release as it is published: its version, and the URLs of its files. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from orchestrator.errors import InvalidInput

# The newest stable release that this program was written against; --version names another.
_VERSION = "0.30.0"
_BASE_URL = "https://github.com/ollama/ollama/releases/download"
_VERSIONS = re.compile(r"v?(\d{1,4}\.\d{1,4}\.\d{1,4}(?:-[0-9A-Za-z.]{1,32})?)")
URL_VARIABLE = "DEPLOY_RUNTIME_URL"
SUMS = "sha256sum.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """The files of a version lie in BASE_URL/vVERSION/."""

    version: str = _VERSION
    base_url: str = _BASE_URL

    @classmethod
    def of(
        cls, environ: Mapping[str, str], *, version: str | None = None, base_url: str | None = None
    ) -> Self:
        """Return what is asked for; unsaid, the known good version from where the environment says.

        Raises InvalidInput: no version, or no http URL.
        """
        found = _VERSIONS.fullmatch(version or _VERSION)
        if found is None:
            raise InvalidInput(
                f"{version!r} is no version of Ollama", hint=f"write it as {_VERSION}"
            )
        url = (base_url or environ.get(URL_VARIABLE) or _BASE_URL).rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise InvalidInput(
                f"{url.rpartition('@')[2][:200]!r} is no base URL of releases",
                hint="name a folder as https://HOST/PATH; below it lie vX.Y.Z/ollama-linux-…",
            )
        return cls(version=found[1], base_url=url)

    def url(self, name: str) -> str:
        """Return where a file of this release lies."""
        return f"{self.base_url}/v{self.version}/{name}"

    @property
    def host(self) -> str:
        """The host of the URLs, without a login."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    def __str__(self) -> str:
        return f"Ollama {self.version}"
