"""Bundles between real servers: what was made on one answers on another."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.bundle import room
from orchestrator.bundle.create import create
from orchestrator.bundle.load import load
from orchestrator.bundle.outcome import Load
from orchestrator.cli.terminal import Plain
from orchestrator.errors import DiskFull
from orchestrator.home import Home
from orchestrator.runtime.binary import Binary
from orchestrator.server import Server
from orchestrator.store import Store
from tests.bundle.conftest import UID
from tests.conftest import RunDeploy
from tests.real import standin, tiny
from tests.real.disk import fill, small_disk
from tests.real.families import R1
from tests.real.server import RealServer, bare_environment, free_port
from tests.real.tiny import TinyModel
from tests.real.tokenizer import small

NAME = "qwen2.5:0.5b"
CTX = "deploy/qwen2.5:ctx512"


class Servant(RealServer):
    """A server of an unprivileged user, as a service has one."""

    def start(self) -> "Servant":
        for folder in (self.home, self.models):
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, UID, UID)
        self.binary, real = self.folder_program(), self.binary
        try:
            super().start()
        finally:
            self.binary = real
        return self

    def folder_program(self) -> Path:
        """A program that gives up root before it becomes the server."""
        script = self.home.parent / "as-another-user"
        script.write_text(
            f"#!/bin/sh\nexec setpriv --reuid={UID} --regid={UID} --clear-groups "
            f'"{self.binary}" "$@"\n'
        )
        script.chmod(0o755)
        return script


@pytest.fixture
def bundle(server: RealServer, tiny_models: dict[str, TinyModel], tmp_path: Path) -> Path:
    """A bundle of a model and of one derived from it, made by a real server."""
    tiny.create(server, tiny_models[NAME])
    server.client().create(CTX, from_=NAME, parameters={"num_ctx": 512}, system="Be brief.")
    file = tmp_path / "b.tar"
    create((NAME, CTX), file, Home.of(env(server, tmp_path)), env(server, tmp_path), Plain())
    return file


@pytest.fixture
def commons() -> Iterator[Path]:
    """A folder that every user may enter: pytest closes its own to others at any time."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def second(runtime_binary: Binary, commons: Path) -> Iterator[Servant]:
    """A server of another user, with a store of its own."""
    with Servant(runtime_binary.path, runtime_binary.library_path, commons / "second") as other:
        yield other


def env(server: RealServer, tmp_path: Path) -> dict[str, str]:
    person = tmp_path / "person"
    person.mkdir(exist_ok=True)
    ours = {"DEPLOY_HOME": str(tmp_path / "deploy"), "OLLAMA_HOST": server.url}
    return bare_environment(person) | ours


def answer(server: RealServer, name: str) -> str:
    said = server.client().generate(name, "hello", options={"num_predict": 8, "temperature": 0})
    assert said.response
    return said.response


def loaded(file: Path, to: RealServer, tmp_path: Path, *, api: bool = False) -> Load:
    environ = env(to, tmp_path)
    return load(file, Home.of(environ), environ, Plain(), through_the_api=api)


def layers(server: RealServer, name: str, *, without: str = "") -> set[str]:
    store = Store.at(str(server.models))
    assert store is not None
    found = store.manifest(name)
    assert found is not None
    return {layer.digest for layer in found.layers if layer.kind not in without.split()}


def test_written_into_the_store_of_a_service_it_answers_at_once(
    server: RealServer, second: Servant, bundle: Path, tmp_path: Path
) -> None:
    done = loaded(bundle, second, tmp_path)

    assert (done.way, done.answers) == ("store", True)
    there, here = Server(second.url), Server(server.url)
    for name in (NAME, CTX):
        assert there.find(name) == here.find(name)
    assert answer(second, NAME) == answer(server, NAME)
    files = [second.models, *second.models.rglob("*")]
    assert {path.stat().st_uid for path in files} == {UID}
    second.client().delete(CTX)  # what the server cannot remove is not its own
    assert there.find(CTX) is None


def test_given_through_the_api_it_has_the_same_layers_and_answers(
    server: RealServer, second: Servant, bundle: Path, tmp_path: Path
) -> None:
    done = loaded(bundle, second, tmp_path, api=True)

    assert done.way == "api"
    assert answer(second, NAME) == answer(server, NAME)
    for name in (NAME, CTX):
        ours, theirs = (layers(s, name, without="config params") for s in (server, second))
        assert ours == theirs
        one, other = server.client().show(name), second.client().show(name)
        assert one.template == other.template
        assert sorted((one.parameters or "").split()) == sorted((other.parameters or "").split())
        assert one.license == other.license

    again = loaded(bundle, second, tmp_path, api=True)
    assert [(m.written_bytes, m.digest) for m in again.models] == [
        (0, m.digest) for m in done.models
    ]


def test_a_box_with_nothing_but_our_package_serves_it(
    server: RealServer,
    tiny_models: dict[str, TinyModel],
    runtime_binary: Binary,
    tmp_path: Path,
    run_deploy: RunDeploy,
) -> None:
    tiny.create(server, tiny_models[NAME])
    installed_home = runtime_binary.path.parents[2].parent
    file, host = tmp_path / "whole.tar", f"127.0.0.1:{free_port()}"
    # The home whose runtime is the tests' own; nothing is written there.
    source = Home(installed_home / "data", tmp_path / "state", tmp_path / "cache")
    create((NAME,), file, source, env(server, tmp_path) | {"PATH": ""}, Plain(), with_runtime=True)
    server.stop()
    bare = {"OLLAMA_HOST": host, "OLLAMA_MODELS": str(tmp_path / "bare"), "PATH": os.defpath}

    try:
        done = run_deploy("bundle", "load", file, "--json", env=bare)

        assert done.returncode == 0, done.stderr
        assert '"started": true' in done.stdout
        said = Server(f"http://{host}").chat_completion(NAME, "hello", max_tokens=4, timeout_s=60)
        assert said
        again = run_deploy("bundle", "load", file, "--json", env=bare)
        assert again.returncode == 0, again.stderr
        assert '"started": false' in again.stdout
    finally:
        run_deploy("runtime", "stop", env=bare)


def test_the_command_makes_shows_and_loads_one(
    bundle: Path, second: Servant, tmp_path: Path, run_deploy: RunDeploy
) -> None:
    shown = run_deploy("bundle", "show", bundle)
    assert shown.returncode == 0, shown.stderr
    assert NAME in shown.stdout
    assert CTX in shown.stdout

    done = run_deploy("bundle", "load", bundle, env={"OLLAMA_HOST": second.url})
    assert done.returncode == 0, done.stderr
    made = run_deploy(
        "bundle", "create", NAME, "-o", tmp_path / "back.tar", env={"OLLAMA_HOST": second.url}
    )
    assert made.returncode == 0, made.stderr
    refused = run_deploy("bundle", "load", tmp_path / "person")
    assert refused.returncode == 2
    assert "is no file" in refused.stderr


def test_who_may_not_write_the_store_goes_through_the_api(
    bundle: Path, second: Servant, commons: Path
) -> None:
    """As a third user: the store can be read, its server answers."""
    other = UID + 1
    person = commons / "third"
    person.mkdir()
    file = shutil.copy(bundle, person / "b.tar")
    for path in (person, file):
        os.chown(path, other, other)
    command = ["setpriv", f"--reuid={other}", f"--regid={other}", "--clear-groups"]
    environ = bare_environment(person) | {
        "DEPLOY_HOME": str(person / "deploy"),
        "OLLAMA_HOST": second.url,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [*command, sys.executable, "-m", "orchestrator", "bundle", "load", file, "--json"],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"way": "api"' in done.stdout
    assert Server(second.url).find(NAME) is not None


def test_a_disk_that_fills_at_the_upload_is_said_and_finished_when_there_is_room(
    bundle: Path,
    runtime_binary: Binary,
    commons: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = runtime_binary.path, runtime_binary.library_path
    with small_disk(commons / "disk", "8m") as folder, RealServer(*program, folder / "s") as small:
        fill(folder)
        with pytest.raises(DiskFull, match="needed"):
            loaded(bundle, small, tmp_path, api=True)
        monkeypatch.setattr(room, "check", lambda *_: None)  # somebody else writes meanwhile
        with pytest.raises(DiskFull):
            loaded(bundle, small, tmp_path, api=True)
        (folder / "ballast").unlink()
        assert len(loaded(bundle, small, tmp_path, api=True).models) == 2


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_gigabyte_goes_to_a_service_by_both_ways(
    server: RealServer, second: Servant, tmp_path: Path
) -> None:
    spec = tiny.Spec("deepseek-r1:7b", "Q8_0", R1, "qwen2", 16, 2048, 8192, 8)
    path = standin.write(tmp_path / "gb.gguf", spec.shape, "Q8_0", small(2048, chat=R1.chat))
    with path.open("rb") as content:
        digest = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
    name = tiny.create(server, TinyModel(spec, path, digest))
    assert path.stat().st_size > 900_000_000
    file, environ = tmp_path / "gb.tar", env(server, tmp_path)
    create((name,), file, Home.of(environ), environ, Plain())

    for api in (False, True):
        loaded(file, second, tmp_path, api=api)
        assert layers(second, name, without="config params") == layers(
            server, name, without="config params"
        )
        assert answer(second, name) == answer(server, name)
        second.client().delete(name)
