"""What is planned for on a box without an Ollama is what `auto` would install there."""

import pytest

from orchestrator.home import Home
from orchestrator.release import Release
from orchestrator.runtime import embedded, installed
from orchestrator.survey import EMBEDDED_VERSION, survey
from tests.real.server import free_port


@pytest.mark.parametrize("refusal", ["it is made for Linux on x86-64", None], ids=["ARM", "x86-64"])
def test_a_box_that_takes_no_embedded_runtime_is_planned_for_the_release(
    home: Home, monkeypatch: pytest.MonkeyPatch, refusal: str | None
) -> None:
    environ = {"OLLAMA_HOST": f"127.0.0.1:{free_port()}", "PATH": ""}
    if installed(home, environ):
        pytest.skip("this box has an Ollama")
    monkeypatch.setattr(embedded, "refusal", lambda: refusal)
    seen = survey(home, environ, parallel=1)
    if any(each.usable for each in seen.machine.accelerators):
        pytest.skip("this box has a GPU, which gets the release anyway")
    told = seen.machine.server.runtime, seen.machine.server.version
    assert told == (("release", Release().version) if refusal else ("embedded", EMBEDDED_VERSION))
