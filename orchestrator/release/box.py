"""What decides which archives of a release a box needs. Pure but for one file of a Jetson."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from orchestrator.machine import Accelerator, Machine, RuntimeKind
from orchestrator.release.published import Release
from orchestrator.usability import EMBEDDED, judged_for

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_TEGRA = Path("/etc/nv_tegra_release")
# JetPack by the release of its Linux. Ollama's common build is for JetPack 7.
_JETPACKS = {35: 5, 36: 6}


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """`gpu` is the vendor of a GPU that a release can use here, `jetpack` a Jetson's system.

    `os` and `arch` are as `uname` says them, in lower case.
    """

    os: str = "linux"
    arch: str
    gpu: Literal["nvidia", "amd"] | None = None
    jetpack: int | None = None

    @classmethod
    def of(cls, machine: Machine) -> Self:
        """Return the box of a machine, with the GPUs judged as a release can use them."""
        state = replace(machine.server, version=Release().version, runtime="release")
        usable = {a.vendor for a in judged_for(state, _anew(machine)) if a.usable}
        return cls(
            os=machine.host.os,
            arch=machine.host.arch,
            gpu="nvidia" if "nvidia" in usable else "amd" if "amd" in usable else None,
            jetpack=jetpack(_TEGRA),
        )

    @property
    def refusal(self) -> str | None:
        """Why no release of Ollama is installed by us on this box; None: one can be."""
        if self.os.lower() != "linux":
            return f"deploy installs it on Linux, and this is {self.os}"
        if self.arch.lower() not in _ARCHITECTURES:
            return f"it is made for x86-64 and ARM64, and this is {self.arch}"
        return None

    def runtime(self, no_embedded: str | None) -> RuntimeKind:
        """Return what this box is to have: the release for a GPU, or where the embedded runtime
        cannot run, for the reason given; else that one.
        """
        return "release" if self.gpu or no_embedded else "embedded"

    @property
    def archives(self) -> tuple[str, ...]:
        """The names of the archives, without their endings, in the order of unpacking."""
        main = f"ollama-linux-{_ARCHITECTURES[self.arch.lower()]}"
        if main.endswith("amd64"):
            return (main, f"{main}-rocm") if self.gpu == "amd" else (main,)
        return (main, f"{main}-jetpack{self.jetpack}") if self.jetpack else (main,)


def jetpack(path: Path) -> int | None:
    """Return the JetPack that a Jetson's system is, of those that have a build of their own."""
    try:
        found = re.search(r"\bR([0-9]{1,3}) \(release\)", path.read_text(errors="replace"))
    except OSError:
        return None
    return _JETPACKS.get(int(found[1])) if found else None


def _anew(machine: Machine) -> tuple[Accelerator, ...]:
    """Return the accelerators without the verdict that the embedded runtime uses none."""
    return tuple(
        replace(a, usable=True, unusable_reason=None, remedy=None)
        if a.unusable_reason == EMBEDDED.text
        else a
        for a in machine.accelerators
    )
