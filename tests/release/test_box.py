from pathlib import Path
from typing import Literal

import pytest

from orchestrator.errors import InvalidInput
from orchestrator.machine import Accelerator, Machine, Memory, ServerState
from orchestrator.release import Box, Release
from orchestrator.release.box import jetpack
from orchestrator.usability import judged_for

_GPU = Accelerator(
    vendor="nvidia", name="A", index=0, memory_total_bytes=2**34, memory_free_bytes=2**34
)
_MEMORY = Memory(total_bytes=2**34, available_bytes=2**33)
_AMD = Accelerator(
    vendor="amd",
    name="B",
    index=0,
    memory_total_bytes=2**34,
    memory_free_bytes=2**34,
    gfx="gfx1100",
)


@pytest.mark.parametrize(
    ("box", "archives"),
    [
        pytest.param(Box(arch="x86_64"), ["amd64"], id="cpu"),
        pytest.param(Box(arch="x86_64", gpu="nvidia"), ["amd64"], id="nvidia"),
        pytest.param(Box(arch="AMD64", gpu="amd"), ["amd64", "amd64-rocm"], id="amd-adds-rocm"),
        pytest.param(Box(arch="aarch64", gpu="nvidia"), ["arm64"], id="arm"),
        pytest.param(Box(arch="aarch64", gpu="amd"), ["arm64"], id="no-rocm-for-arm"),
        pytest.param(
            Box(arch="aarch64", gpu="nvidia", jetpack=6), ["arm64", "arm64-jetpack6"], id="jetson"
        ),
    ],
)
def test_which_archives_a_box_needs(box: Box, archives: list[str]) -> None:
    assert list(box.archives) == [f"ollama-linux-{name}" for name in archives]
    assert box.refusal is None


@pytest.mark.parametrize(
    ("box", "why"),
    [
        (Box(os="darwin", arch="arm64"), "darwin"),
        (Box(os="windows", arch="AMD64"), "windows"),
        (Box(arch="riscv64"), "riscv64"),
    ],
)
def test_a_box_that_no_release_is_installed_on_is_named(box: Box, why: str) -> None:
    assert why in (box.refusal or "")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("# R35 (release), REVISION: 4.1, GCID: 33958178\n", 5),
        ("# R36 (release), REVISION: 3.0\n", 6),
        ("# R38 (release), REVISION: 1.0\n", None),
        ("# R32 (release), REVISION: 7.1\n", None),
        ("nothing", None),
    ],
)
def test_the_jetpack_of_a_jetson(tmp_path: Path, text: str, number: int | None) -> None:
    (tmp_path / "nv_tegra_release").write_text(text)

    assert jetpack(tmp_path / "nv_tegra_release") == number


def test_a_box_without_that_file_is_no_jetson(tmp_path: Path) -> None:
    assert jetpack(tmp_path / "nv_tegra_release") is None


@pytest.mark.parametrize("gpu", [_GPU, _AMD], ids=["nvidia", "amd"])
def test_a_gpu_that_the_embedded_runtime_leaves_unused_is_one_for_a_release(
    gpu: Accelerator,
) -> None:
    embedded = ServerState(version="0.9.3", runtime="embedded")
    judged = judged_for(embedded, (gpu,))
    machine = Machine(memory=_MEMORY, server=embedded, accelerators=judged)

    assert not machine.usable
    assert Box.of(machine).gpu == gpu.vendor


def test_a_gpu_that_no_release_can_use_does_not_count() -> None:
    old = Accelerator(
        vendor="nvidia",
        name="GT 710",
        index=0,
        memory_total_bytes=2**31,
        memory_free_bytes=2**31,
        compute_capability="3.5",
    )
    machine = Machine(memory=_MEMORY, accelerators=(old,))

    assert Box.of(machine).gpu is None


def test_the_flag_goes_before_the_environment_and_that_before_ollamas_own_address() -> None:
    environ = {"DEPLOY_RUNTIME_URL": "http://mirror/ollama/"}

    assert Release.of({}).url("a").startswith("https://github.com/ollama/ollama/releases/download/")
    assert Release.of(environ, version="v0.24.0").url("a") == "http://mirror/ollama/v0.24.0/a"
    assert Release.of(environ, base_url="https://other").base_url == "https://other"


@pytest.mark.parametrize("version", ["latest", "../0.30.0", "0.30", "0.30.0/..", "0.30.0-/x"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(InvalidInput, match="no version of Ollama"):
        Release.of({}, version=version)


@pytest.mark.parametrize("url", ["ftp://host/x", "mirror/ollama", "https://", "file:///srv"])
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="no base URL"):
        Release.of({}, base_url=url)


@pytest.mark.parametrize(
    ("gpu", "no_embedded", "kind"),
    [
        (None, None, "embedded"),
        ("nvidia", None, "release"),
        ("amd", None, "release"),
        (None, "it is made for Linux on x86-64, and this is Linux on aarch64", "release"),
        ("nvidia", "it is made for Linux on x86-64", "release"),
    ],
)
def test_a_box_gets_the_release_for_its_gpu_or_where_nothing_else_runs(
    gpu: Literal["nvidia", "amd"] | None, no_embedded: str | None, kind: str
) -> None:
    assert Box(arch="x86_64", gpu=gpu).runtime(no_embedded) == kind
