from dataclasses import replace

import pytest

from orchestrator import release as room
from orchestrator.errors import PullFailed
from orchestrator.home import Home
from orchestrator.release import Release
from orchestrator.runtime import embedded
from orchestrator.runtime.binary import Binary, release_folder
from tests.real.hub import Fault
from tests.real.server import free_port
from tests.release.publisher import AMD64, Publisher, Quiet, small

_ZST = "ollama-linux-amd64.tar.zst"
_NVIDIA = replace(AMD64, gpu="nvidia")


@pytest.fixture
def with_embedded(runtime_binary: Binary, home: Home) -> Home:
    """A home where the embedded runtime is installed already: no index need be asked."""
    folder = runtime_binary.path.parent
    home.runtimes.mkdir(parents=True)
    (home.runtimes / folder.name).symlink_to(folder)
    return home


def test_a_gpu_and_a_network_get_the_release(
    publisher: Publisher, with_embedded: Home, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1")})

    found = room.first_runtime(_NVIDIA, with_embedded, {}, quiet, release=release)

    assert found.path == release_folder(with_embedded, "0.30.1") / "bin" / "ollama"


def test_the_environment_names_the_place_of_releases(
    publisher: Publisher, with_embedded: Home, quiet: Quiet
) -> None:
    known = Release.of({}).version
    publisher.publish(known, {_ZST: small(known)})

    found = room.first_runtime(
        _NVIDIA, with_embedded, {"DEPLOY_RUNTIME_URL": publisher.base_url}, quiet
    )

    assert found.kind == "release"


def test_without_a_gpu_nobody_is_asked_for_a_release(
    publisher: Publisher, with_embedded: Home, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1")})

    found = room.first_runtime(AMD64, with_embedded, {}, quiet, release=release)

    assert found.kind == "embedded"
    assert not publisher.hub.asked


def test_without_a_network_a_gpu_gets_the_embedded_runtime_and_a_warning(
    with_embedded: Home, quiet: Quiet
) -> None:
    nobody = Release.of({}, base_url=f"http://127.0.0.1:{free_port()}")

    found = room.first_runtime(_NVIDIA, with_embedded, {}, quiet, release=nobody)

    assert found.kind == "embedded"
    assert "takes no connection" in quiet.text
    assert "DOES NOT USE THE GPU" in quiet.text
    assert "deploy runtime install --from release" in quiet.text


def test_a_release_that_comes_damaged_leaves_the_embedded_runtime(
    publisher: Publisher, with_embedded: Home, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1", bytes(range(256)) * 4096)})
    publisher.hub.faults = [Fault(_ZST, corrupt_at=100)]

    found = room.first_runtime(_NVIDIA, with_embedded, {}, quiet, release=release)

    assert found.kind == "embedded"
    assert "damaged, twice" in quiet.text


def test_where_the_embedded_runtime_cannot_run_a_cpu_gets_the_release(
    publisher: Publisher, home: Home, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = publisher.publish("0.30.1", {"ollama-linux-arm64.tgz": small("0.30.1")})
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert embedded.refusal()

    found = room.first_runtime(replace(AMD64, arch="aarch64"), home, {}, quiet, release=release)

    assert found.kind == "release"
    assert "aarch64" in quiet.text


def test_where_neither_can_be_had_the_release_says_why(
    home: Home, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")

    with pytest.raises(PullFailed, match="this is darwin"):
        room.first_runtime(replace(AMD64, os="darwin"), home, {}, quiet)
