"""`hf:` names through the true hub client, over loopback: what is read, and what fails how."""

import email.utils
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from orchestrator.errors import (
    DeployError,
    InvalidInput,
    ModelUnavailable,
    SourceBusy,
    SourceCorrupt,
    SourceUnreachable,
)
from orchestrator.gguf.layout import laid_out, layout
from orchestrator.source.described import Described
from orchestrator.source.hub import Wish, ask_access, repository
from orchestrator.source.hub_listing import listing
from orchestrator.source.hub_model import in_hub, label
from orchestrator.source.remote import LIMIT_BYTES, Patience, Remote
from tests.real.hub import COMMIT, Fault, Hub
from tests.shapes import TINY, shape_of
from tests.source.files import QWEN2, write_gguf, write_parts, write_repository
from tests.transfer.raw import Raw, answer, authority

QUICK = Patience(connect_s=1, read_s=0.3, whole_s=3, tries=2)


def read(text: str, quantization: str | None = None) -> Described:
    return in_hub(text, quantization, patience=QUICK)


def test_a_gguf_repository_is_read_by_its_header(hub: Hub) -> None:
    path = write_gguf(hub.root / "org" / "tiny-GGUF" / "tiny-Q4_K_M.gguf")
    found = read("hf:org/tiny-GGUF")
    candidate = found.candidate
    assert candidate.tag == "hf:org/tiny-GGUF/tiny-Q4_K_M.gguf"
    assert candidate.quantization == "Q4_K_M"
    assert candidate.file_bytes == path.stat().st_size
    assert candidate.architecture.embedding_length == TINY.embedding_length
    assert candidate.weights is not None
    assert candidate.weights.basis == "header"
    assert candidate.weights.total_bytes == sum(t.size_bytes for t in layout(TINY, "Q4_K_M"))
    assert found.where.endswith(f"/org/tiny-GGUF@{COMMIT[:12]}")
    assert found.transferred_bytes == hub.sent_bytes - len(hub.listing("org/tiny-GGUF"))


def test_of_a_404_gb_file_at_most_16_mib_are_transferred(hub: Hub) -> None:
    shape = shape_of("deepseek-r1:671b")
    path = write_gguf(
        hub.root / "org" / "R1-GGUF" / "R1-Q4_K_M.gguf", shape, tokens=shape.vocab_size
    )
    assert path.stat().st_size > 400e9
    found = read("hf:org/R1-GGUF:Q4_K_M")
    assert found.candidate.file_bytes == path.stat().st_size
    assert found.candidate.weights is not None
    assert found.candidate.weights.total_bytes > 400e9
    assert 2**20 < hub.sent_bytes <= LIMIT_BYTES
    ranges = [asked.range for asked in hub.asked if asked.range]
    assert ranges[:3] == ["bytes=0-1048575", "bytes=1048576-2097151", "bytes=2097152-4194303"]


def test_the_parts_of_a_model_are_summed(hub: Hub) -> None:
    paths = write_parts(hub.root / "org" / "big-GGUF" / "Q4_K_M", "big-Q4_K_M", 3)
    found = read("hf:org/big-GGUF:q4_k_m")
    assert found.candidate.tag == "hf:org/big-GGUF/Q4_K_M/big-Q4_K_M.gguf"
    assert found.candidate.file_bytes == sum(path.stat().st_size for path in paths)
    assert found.candidate.weights is not None
    whole = sum(t.size_bytes for t in layout(TINY, "Q4_K_M"))
    assert found.candidate.weights.total_bytes == whole
    assert "in 3 files" in found.notes[0]
    by_part = read(f"hf:org/big-GGUF/Q4_K_M/{paths[1].name}")
    assert by_part.candidate.weights == found.candidate.weights


def test_a_missing_part_is_told(hub: Hub) -> None:
    paths = write_parts(hub.root / "org" / "big-GGUF", "big-Q4_K_M", 3)
    paths[1].unlink()
    with pytest.raises(SourceCorrupt, match=r"2 of the 3 parts.*00002-of-00003.gguf is missing"):
        read("hf:org/big-GGUF")


@pytest.mark.parametrize("shards", [1, 3], ids=["one-file", "index"])
def test_safetensors_are_predicted_by_the_layout(hub: Hub, shards: int) -> None:
    folder = write_repository(hub.root / "Org" / "Tiny", shards=shards)
    found = read("hf:Org/Tiny")
    candidate = found.candidate
    assert candidate.architecture == TINY
    assert candidate.weights is not None
    assert candidate.weights.total_bytes == laid_out(TINY, "Q4_K_M").total_bytes
    files = [p for p in folder.iterdir() if p.name != "model.safetensors.index.json"]
    assert candidate.file_bytes == sum(p.stat().st_size for p in files)
    assert (candidate.quantization, candidate.bytes_basis) == ("Q4_K_M", "exact")
    assert found.imported == {"class": "Qwen2ForCausalLM", "by": "0.9.3 and later"}
    assert len(found.notes) == 2  # nothing is odd about it
    assert read("hf:Org/Tiny", "q8_0").candidate.weights == laid_out(TINY, "Q8_0")


def test_what_the_files_hold_decides_whether_the_output_is_tied(hub: Hub) -> None:
    folder = write_repository(hub.root / "o" / "tied", QWEN2 | {"tie_word_embeddings": True})
    (folder / "config.json").write_text(json.dumps(QWEN2))
    assert read("hf:o/tied").candidate.architecture == replace(TINY, tied_embeddings=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            {"architectures": ["Qwen3ForCausalLM"]}, "no version of Ollama imports Qwen3",
            id="not-importable",
        ),
        pytest.param(
            {"quantization_config": {"quant_method": "fp8"}}, "quantized already", id="quantized"
        ),
        pytest.param({"intermediate_size": 1024}, "elements, the layout", id="other-layout"),
    ],
)  # fmt: skip
def test_what_speaks_against_the_import_is_said(
    hub: Hub, change: dict[str, Any], says: str
) -> None:
    folder = write_repository(hub.root / "org" / "odd")
    (folder / "config.json").write_text(json.dumps(QWEN2 | change))
    assert says in " ".join(read("hf:org/odd").notes)


def test_a_repository_without_tokenizer_or_with_a_wish_it_cannot_import_says_so(hub: Hub) -> None:
    folder = write_repository(hub.root / "org" / "bare")
    (folder / "tokenizer.json").unlink()
    notes = " ".join(read("hf:org/bare", "Q5_K_M").notes)
    assert "neither tokenizer.json nor tokenizer.model" in notes
    assert "makes Q4_K_M, Q4_K_S, Q8_0, F16, F32, not Q5_K_M" in notes


def test_a_missing_shard_is_told(hub: Hub) -> None:
    folder = write_repository(hub.root / "org" / "cut", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(SourceCorrupt, match="1 of 3 weight files are missing, first model-00002"):
        read("hf:org/cut")


GIVEN = "Q2_K", "Q4_K_M", "Q8_0"


@pytest.mark.parametrize(
    ("name", "files", "kind", "says"),
    [
        pytest.param("hf:o/r:Q6_K", GIVEN, ModelUnavailable, "nothing at Q6_K", id="quantization"),
        pytest.param("hf:o/r", ("Q2_K", "Q8_0"), InvalidInput, "none at Q4_K_M", id="no-default"),
        pytest.param("hf:o/r/x.gguf", GIVEN, ModelUnavailable, "no 'x.gguf'", id="file"),
        pytest.param("hf:o/r/../../x.gguf", GIVEN, ModelUnavailable, "has no", id="escape"),
        pytest.param("hf:o/none", GIVEN, ModelUnavailable, "no repository o/none", id="repository"),
        pytest.param("hf:", GIVEN, InvalidInput, "names no repository", id="nothing"),
        pytest.param("hf:o", GIVEN, InvalidInput, "names no repository", id="no-repository"),
        pytest.param("hf:../../etc/passwd", GIVEN, InvalidInput, "names no", id="path"),
        pytest.param("hf:o/r?x=1", GIVEN, InvalidInput, "names no repository", id="query"),
        pytest.param("hf:o/r\n", GIVEN, InvalidInput, "names no repository", id="line"),
        pytest.param("hf:o/r@", GIVEN, InvalidInput, "names no repository", id="no-revision"),
        pytest.param("hf:o/r@a/../b", GIVEN, ModelUnavailable, "no revision a", id="two-dots"),
        pytest.param("hf:o/r@a..b", GIVEN, InvalidInput, "names no repository", id="range"),
        pytest.param("hf:o/r@v9", GIVEN, ModelUnavailable, "r has no revision v9", id="revision"),
    ],
)
def test_a_name_that_is_not_there_is_one_clear_error(
    hub: Hub, name: str, files: tuple[str, ...], kind: type[DeployError], says: str
) -> None:
    for each in files:
        write_gguf(hub.root / "o" / "r" / f"m-{each}.gguf", quantization="Q8_0")
    with pytest.raises(kind, match=says) as caught:
        read(name)
    assert type(caught.value) is kind


def test_projectors_and_matrices_of_importance_are_no_models(hub: Hub) -> None:
    folder = hub.root / "o" / "r"
    for name in ("m-Q8_0.gguf", "mmproj-m-F16.gguf", "m-imatrix.gguf"):
        write_gguf(folder / name, quantization="Q8_0")
    assert read("hf:o/r").candidate.tag == "hf:o/r/m-Q8_0.gguf"


@pytest.mark.parametrize(
    ("stem", "quantization"),
    [
        ("a-Q4_K_M.gguf", "Q4_K_M"), ("a.q8_0.gguf", "Q8_0"), ("UD-Q4_K_XL/a-UD-Q4_K_XL.gguf",
        "UD-Q4_K_XL"), ("a-f16.gguf", "F16"), ("a-BF16.gguf", "BF16"), ("a-IQ4_XS.gguf", "IQ4_XS"),
        ("a-7b.gguf", ""), ("Q4_K_M/a.gguf", ""), ("q8_0.gguf", "Q8_0"),
    ],
)  # fmt: skip
def test_the_quantization_is_what_a_name_ends_in(stem: str, quantization: str) -> None:
    assert label(stem) == quantization


def test_a_gated_repository_says_what_to_do_and_a_token_is_sent_but_never_shown(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    hub.gated.add("o/r")
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    with pytest.raises(ModelUnavailable, match=r"refuses o/r/m\.gguf: 403") as caught:
        read("hf:o/r")
    assert "HF_TOKEN" in caught.value.hint
    assert "secret" not in f"{caught.value.to_json()}{caught.value.__cause__}"
    assert {asked.authorization for asked in hub.asked} == {"Bearer hf_secretsecret"}


def test_a_token_on_disk_is_for_the_hub_alone(hub: Hub) -> None:
    token = Path(constants.HF_TOKEN_PATH)
    token.parent.mkdir(parents=True)
    token.write_text("hf_secretsecret")
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    read("hf:o/r")
    assert {asked.authorization for asked in hub.asked} == {None}


def test_a_mirror_that_a_profile_names_gets_no_token(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    with Hub(hub.root) as far:
        with repository("o/r", mirror=f"{far.url}/") as found:
            ask_access(found, "m.gguf")
        assert {each.authorization for each in far.asked} == {None}
        assert hub.asked == []
        monkeypatch.setenv("HF_ENDPOINT", hub.url)  # what a person sets goes before
        with repository("o/r", mirror=far.url) as found:
            assert found.remote.base == hub.url
    assert {each.authorization for each in hub.asked} == {"Bearer hf_secretsecret"}


def test_a_redirect_to_another_host_gets_the_range_and_no_token(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    with Hub(hub.root) as far:
        hub.elsewhere = far.url.replace("127.0.0.1", "localhost")
        found = read("hf:o/r")
    assert found.candidate.quantization == "Q4_K_M"
    assert {(asked.authorization, bool(asked.range)) for asked in far.asked} == {(None, True)}


def test_offline_nothing_is_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceUnreachable, match="HF_HUB_OFFLINE is set"):
        read("hf:o/r")
    assert hub.asked == []


@pytest.mark.parametrize("part", ["/api/", "/resolve/"], ids=["listing", "file"])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param({"hang": True}, SourceUnreachable, id="hangs"),
        pytest.param({"status": 429, "headers": {"Retry-After": "0"}}, SourceBusy, id="busy"),
        pytest.param({"status": 503}, SourceBusy, id="unavailable"),
        pytest.param({"status": 500}, SourceUnreachable, id="broken"),
        pytest.param({"status": 403}, ModelUnavailable, id="forbidden"),
    ],
)
def test_a_source_that_fails_is_told_in_time(
    hub: Hub, part: str, fault: dict[str, Any], kind: type[DeployError]
) -> None:
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    hub.faults.append(Fault(part, **fault))
    began = time.monotonic()
    with pytest.raises(kind):
        read("hf:o/r")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("part", ["/api/", "/resolve/"], ids=["listing", "file"])
@pytest.mark.parametrize("fault", [{"status": 503}, {"hang": True}, {"status": 500}], ids=str)
def test_what_waiting_cures_is_asked_again(hub: Hub, part: str, fault: dict[str, Any]) -> None:
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    hub.faults.append(Fault(part, times=1, **fault))
    assert read("hf:o/r").candidate.quantization == "Q4_K_M"


def test_a_page_of_html_in_place_of_the_hub_is_told(hub: Hub) -> None:
    hub.faults.append(Fault("/api/", html=True))
    with pytest.raises(SourceUnreachable, match=r"gave no listing.*page of a portal") as caught:
        read("hf:o/r")
    assert caught.value.hint.startswith("sign in to the network")


def test_a_hub_that_says_when_to_come_back_is_asked_again_then_and_not_before(hub: Hub) -> None:
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    hub.faults.append(Fault("/api/", status=429, headers={"Retry-After": "2"}, times=1))
    began = time.monotonic()
    assert read("hf:o/r").candidate.quantization == "Q4_K_M"
    assert time.monotonic() - began >= 2
    hub.faults.append(Fault("/api/", status=429, headers={"Retry-After": "1"}))
    with pytest.raises(SourceBusy, match=r"later in 1 s \(429\)") as caught:
        read("hf:o/r")
    assert caught.value.details["retry_after_s"] == 1
    assert "HF_TOKEN" in caught.value.hint


def test_a_wrong_revision_is_told_with_those_that_there_are(hub: Hub) -> None:
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    names = {"branches": ["main", "gptq"], "tags": ["v1.0"], "converts": []}
    refs = {
        kind: [{"name": n, "ref": f"refs/{n}", "targetCommit": COMMIT} for n in each]
        for kind, each in names.items()
    }
    hub.faults.append(Fault("/refs", status=200, body=json.dumps(refs).encode()))
    with pytest.raises(ModelUnavailable, match="o/r has no revision v2") as caught:
        read("hf:o/r@v2:Q4_K_M")
    assert caught.value.hint == "it has main, gptq, v1.0; or name a commit"
    hub.faults[:] = [Fault("/refs", status=500)]
    with pytest.raises(ModelUnavailable) as caught:
        read("hf:o/r@v2")
    assert caught.value.hint == "it has main; or name a commit"


def test_a_revision_is_pinned_to_its_commit(hub: Hub) -> None:
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    assert read("hf:o/r@main").where.endswith(f"@{COMMIT[:12]}")
    assert hub.asked[0].path == "/api/models/o/r/revision/main"
    assert {each.path.split("/")[4] for each in hub.asked[1:]} == {COMMIT}


def test_one_request_says_what_the_bytes_of_every_file_are(hub: Hub) -> None:
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    (hub.root / "o" / "r" / "config.json").write_text("{}")
    with repository("o/r") as found:
        assert found.digests["config.json"] == "git:9e26dfeeb6e641a33dae4961196235bdb965b21b"
        assert found.digests["m.gguf"].startswith("sha256:")
        assert "token" not in repr(found).replace("tokenizer", "")
    assert len(hub.asked) == 1


def test_a_gated_repository_is_told_before_anything_is_promised(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    hub.gated.add("o/r")
    hub.token = "hf_secretsecret"
    with (
        repository("o/r") as found,
        pytest.raises(ModelUnavailable, match="o/r is gated, and we have no access") as caught,
    ):
        ask_access(found, "m.gguf")
    assert caught.value.hint == "ask for access at https://huggingface.co/o/r, then set HF_TOKEN"
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    with repository("o/r") as found:
        ask_access(found, "m.gguf")
        assert "secret" not in repr(found)
    assert hub.asked[-1].method == "HEAD"
    assert hub.asked[-1].sent_bytes == 0


def test_a_hub_whose_listing_is_gated_as_well_says_the_same(hub: Hub) -> None:
    hub.faults = [Fault("/api/", status=403, headers={"X-Error-Code": "GatedRepo"})]
    with pytest.raises(ModelUnavailable, match="o/r is gated, and we have no access"):
        read("hf:o/r")


def test_the_question_for_access_follows_no_redirect(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    with Hub(hub.root) as far, repository("o/r") as found:
        hub.elsewhere = far.url.replace("127.0.0.1", "localhost")
        ask_access(found, "m.gguf")
        assert far.asked == []


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["pytorch_model.bin", "README.md"], r"neither a GGUF nor a config.json: it has README"),
        ([], "neither a GGUF nor a config.json: it has no file"),
        (["config.json", "adapter.bin"], "0 safetensors files .*: it has adapter.bin, config.json"),
    ],
)
def test_a_repository_of_no_whole_model_says_what_it_has(
    hub: Hub, files: list[str], says: str
) -> None:
    (hub.root / "o" / "r").mkdir(parents=True)
    for name in files:
        (hub.root / "o" / "r" / name).write_text(json.dumps(QWEN2))
    with pytest.raises(InvalidInput, match=says):
        read("hf:o/r")


def test_a_quantization_in_the_name_is_that_of_the_import_where_there_is_no_gguf(hub: Hub) -> None:
    write_repository(hub.root / "o" / "r")
    assert read("hf:o/r:q8_0").candidate.weights == laid_out(TINY, "Q8_0")


def test_names_are_data() -> None:
    assert Wish.parse("hf:Org.x/Re-po_1:Q4_K_M") == Wish(
        repo="Org.x/Re-po_1", quantization="Q4_K_M"
    )
    assert Wish.parse("hf:o/r/a/b c.gguf") == Wish(repo="o/r", file="a/b c.gguf")
    assert Wish.parse("hf:o/r@v1.0:Q8_0") == Wish(repo="o/r", revision="v1.0", quantization="Q8_0")
    assert Wish.parse("hf:o/r@refs/pr/7/a.gguf") == Wish(
        repo="o/r", revision="refs/pr/7", file="a.gguf"
    )


def test_a_login_in_the_address_is_used_and_never_shown(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_repository(hub.root / "o" / "r")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url.replace("://", "://bo:pass-of-bo@"))
    found = read("hf:o/r")
    assert found.where == f"{hub.url}/o/r@{COMMIT[:12]}"
    assert {each.authorization for each in hub.asked} == {"Basic Ym86cGFzcy1vZi1ibw=="}
    hub.faults.append(Fault("config.json", status=500))
    with pytest.raises(SourceUnreachable, match="500") as of_a_file:
        read("hf:o/r")
    with pytest.raises(ModelUnavailable, match="no repository o/absent") as of_a_listing:
        read("hf:o/absent")
    for caught in (of_a_file, of_a_listing):
        assert caught.value.what.startswith(hub.host)
        assert "pass-of-bo" not in json.dumps(caught.value.to_json())


def test_a_hub_that_tells_no_commit_is_asked_for_the_revision(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(hub.root / "o" / "r" / "tiny-Q4_K_M.gguf")
    told = json.loads(hub.listing("o/r")) | {"sha": None}
    monkeypatch.setattr(hub, "listing", lambda _: json.dumps(told).encode())
    with repository("o/r", QUICK, revision=COMMIT) as found:
        assert found.commit == COMMIT
    with repository("o/r", QUICK) as found:
        assert found.commit == "main"


def test_an_index_without_weights_is_told(hub: Hub) -> None:
    folder = write_repository(hub.root / "o" / "r", shards=2)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(SourceCorrupt, match="has no weight_map"):
        read("hf:o/r")


def test_a_wait_until_a_date_is_told_in_seconds(hub: Hub) -> None:
    after = email.utils.formatdate(time.time() + 20, usegmt=True)
    hub.faults.append(Fault("/api/models", status=429, headers={"Retry-After": after}))
    with (
        pytest.raises(SourceBusy, match=r"come back later in (19|20) s \(429\)"),
        repository("o/r", replace(QUICK, tries=1)),
    ):
        pass


def test_a_proxy_that_no_client_speaks_with_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks9://bo:pass-of-bo@127.0.0.1:9")
    with pytest.raises(SourceUnreachable, match="no HTTP proxy") as caught:
        Remote("the hub", "https://hub.invalid", patience=QUICK)
    assert "unset ALL_PROXY" in caught.value.hint
    assert "pass-of-bo" not in json.dumps(caught.value.to_json())


def test_an_authority_that_nobody_knows_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, tls = authority(tmp_path)
    with Raw(answer("200 OK", b"{}"), tls=tls) as server:
        url = f"https://{server.host}"
        with (
            pytest.raises(SourceUnreachable, match="signed its certificate") as caught,
            Remote("it", url, patience=QUICK) as remote,
        ):
            remote.document("/", "a document")
        assert "SSL_CERT_FILE" in caught.value.hint
        with pytest.raises(SourceUnreachable, match="signed its certificate") as caught:
            listing("o/r", None, url, None, QUICK)
        assert "SSL_CERT_FILE" in caught.value.hint
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        with Remote("it", url, patience=QUICK) as remote:
            assert remote.document("/", "a document") == {}
