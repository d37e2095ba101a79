"""`make auto` as a stranger runs it: an empty clone, an own HOME, no venv, no caches, no server."""

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.server import free_port

_REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of somebody new; the server that deploy starts for them is ended."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_")) or k == "PATH"}
    port = free_port()
    yield kept | {"HOME": str(home), "OLLAMA_HOST": f"127.0.0.1:{port}", "LC_ALL": "C.UTF-8"}
    record = home / f".local/state/deploy/server-{port}.json"
    if record.exists():
        os.killpg(json.loads(record.read_text())["pgid"], signal.SIGKILL)


def test_make_auto_in_an_empty_clone_ends_with_an_answering_model(
    stranger: dict[str, str], tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", _REPOSITORY, clone], check=True)
    made = subprocess.run(
        ["make", "auto"],
        cwd=clone,
        env=stranger,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    assert "Traceback" not in made.stderr
    assert "NO MODEL SOURCE DELIVERED" in made.stderr
    body = {"model": "deploy-current", "messages": [{"role": "user", "content": "Hello"}]}
    request = urllib.request.Request(
        f"http://{stranger['OLLAMA_HOST']}/v1/chat/completions",
        json.dumps(body | {"max_tokens": 8}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        assert json.load(reply)["choices"][0]["message"]["content"]
    curl = next(line for line in made.stdout.splitlines() if line.startswith("# curl "))
    assert "/v1/chat/completions" in curl
