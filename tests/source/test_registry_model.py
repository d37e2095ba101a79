"""Names that carry a registry: manifest and header over loopback, and what a wrong one is."""

import json
from pathlib import Path

import pytest

from orchestrator.errors import (
    DeployError,
    InvalidInput,
    ModelUnavailable,
    SourceCorrupt,
    SourceUnreachable,
)
from orchestrator.gguf.layout import layout
from orchestrator.model import ModelRef
from orchestrator.source.described import Described
from orchestrator.source.registry_model import in_registry
from orchestrator.source.remote import LIMIT_BYTES, Patience
from tests.real.hub import Fault, Hub
from tests.real.server import free_port
from tests.shapes import TINY, shape_of
from tests.source.files import write_gguf

QUICK = Patience(connect_s=1, read_s=0.3, whole_s=3, tries=2)
NAME = "library/tiny:1b"


def read(host: str) -> Described:
    return in_registry(ModelRef.parse(f"{host}/{NAME}"), insecure=False, patience=QUICK)


def test_a_model_of_a_registry_is_read_by_its_header(hub: Hub, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", tokens=100)
    hub.model(NAME, path)
    found = read(hub.host)
    assert found.candidate.tag == f"{hub.host}/library/tiny:1b"
    assert found.candidate.family == "tiny"
    assert found.candidate.file_bytes == path.stat().st_size
    assert found.candidate.digest is not None
    assert found.candidate.weights is not None
    whole = sum(t.size_bytes for t in layout(TINY, "Q4_K_M"))
    assert found.candidate.weights.total_bytes == whole


def test_a_404_gb_blob_costs_at_most_16_mib(hub: Hub, tmp_path: Path) -> None:
    shape = shape_of("deepseek-r1:671b")
    path = write_gguf(tmp_path / "a.gguf", shape, tokens=shape.vocab_size)
    hub.model(NAME, path)
    found = read(hub.host)
    assert found.candidate.file_bytes == path.stat().st_size > 400e9
    assert hub.sent_bytes <= LIMIT_BYTES
    active = found.candidate.parameters_active
    assert active == pytest.approx(37.5e9, rel=0.01)


def test_a_header_longer_than_16_mib_is_not_waited_for(hub: Hub, tmp_path: Path) -> None:
    hub.model(NAME, write_gguf(tmp_path / "a.gguf", tokens=700_000))
    with pytest.raises(InvalidInput, match=r"tiny:1b: .*is not complete after 16\d* bytes"):
        read(hub.host)
    assert hub.sent_bytes <= LIMIT_BYTES


def test_a_server_without_ranges_costs_no_more(hub: Hub, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", tokens=300_000)  # 10 MB
    hub.model(NAME, path)
    hub.faults.append(Fault("/blobs/", ignore_range=True))
    found = read(hub.host)
    assert found.candidate.quantization == "Q4_K_M"
    assert found.transferred_bytes <= LIMIT_BYTES


def test_a_line_that_breaks_is_taken_up_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.model(NAME, write_gguf(tmp_path / "a.gguf", tokens=30_000))
    hub.faults.append(Fault("/blobs/", cut_after=300_000, times=1))
    assert read(hub.host).candidate.quantization == "Q4_K_M"
    asked = [asked.range for asked in hub.asked if asked.range]
    assert asked[0] == "bytes=0-1048575"
    assert 0 < int((asked[1] or "=0-").partition("=")[2].partition("-")[0]) <= 300_000


def test_a_drip_is_not_waited_for(hub: Hub, tmp_path: Path) -> None:
    hub.model(NAME, write_gguf(tmp_path / "a.gguf", tokens=60_000))
    hub.faults.append(Fault("/blobs/", piece_s=0.25))
    with pytest.raises(SourceUnreachable, match="too slow to wait for"):
        read(hub.host)


@pytest.mark.parametrize(
    ("manifest", "kind", "says"),
    [
        pytest.param(b"<html>", SourceUnreachable, "where .* is to be JSON", id="html"),
        pytest.param(b"[" * 10**6, SourceUnreachable, "is to be JSON", id="nested"),
        pytest.param(b"[]", SourceUnreachable, "no object", id="list"),
        pytest.param(b"{}", SourceUnreachable, "no layers", id="empty"),
        pytest.param(b'{"layers": [1]}', SourceUnreachable, "no object", id="number"),
        pytest.param(b'{"layers": []}', InvalidInput, "has no GGUF", id="no-weights"),
        pytest.param(
            json.dumps({"layers": [{"digest": "../../x", "size": 1}]}).encode(),
            SourceUnreachable, "a layer with digest '../../x'", id="path-for-a-digest",
        ),
        pytest.param(
            json.dumps({"layers": [{"digest": f"sha256:{'0' * 64}", "size": -1}]}).encode(),
            SourceUnreachable, "a layer of size '-1'", id="negative",
        ),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_told(
    hub: Hub, manifest: bytes, kind: type[DeployError], says: str
) -> None:
    hub.manifests["/v2/library/tiny/manifests/1b"] = manifest
    with pytest.raises(kind, match=says) as caught:
        read(hub.host)
    assert "tiny:1b" in caught.value.what


def test_a_model_of_tensors_is_no_gguf(hub: Hub, tmp_path: Path) -> None:
    files = [write_gguf(tmp_path / name) for name in ("a", "b")]
    hub.model(NAME, *files, kind="tensor")
    with pytest.raises(InvalidInput, match=r"2 tensor files \(MLX\) and no GGUF"):
        read(hub.host)


def test_an_absent_model_and_an_absent_registry_are_told_apart(hub: Hub) -> None:
    with pytest.raises(ModelUnavailable, match="has no"):
        read(hub.host)
    with pytest.raises(SourceUnreachable, match="cannot be reached"):
        read(f"127.0.0.1:{free_port()}")


def test_bytes_from_another_place_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.model(NAME, write_gguf(tmp_path / "a.gguf", tokens=60_000))
    wrong = {"Content-Range": "bytes 5-9/10"}
    hub.faults.append(Fault("/blobs/", status=206, body=b"12345", headers=wrong))
    with pytest.raises(SourceCorrupt, match="was asked for byte 0"):
        read(hub.host)


def test_a_blob_that_is_no_model_is_told_with_its_name(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"<html>no such file</html>")
    hub.model(NAME, path)
    with pytest.raises(InvalidInput, match="tiny:1b: not a GGUF file: it starts with"):
        read(hub.host)
