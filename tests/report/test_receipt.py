"""A receipt tells a run to strangers: nobody's name in it, a change shows, two can be compared."""

import copy
import hashlib
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import schema
from orchestrator.cli.bench import one_model
from orchestrator.cli.receipt import receipt as command
from orchestrator.cli.render_receipt import page
from orchestrator.errors import DeployError, InvalidInput
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.redact import Redactor
from orchestrator.report.follows import violation
from orchestrator.report.receipt import checked, receipt, sealed
from orchestrator.report.receipt_comparison import compare
from tests.bench.documents import GIB, document

HOST = "http://127.0.0.1:11434"
SCHEMA = schema.load("receipt")
LAYERS = [
    {"digest": "sha256:" + 64 * "b", "media_type": "application/x.model", "size_bytes": 4 * GIB}
]
MACHINE = {
    "host": {"cpu": "AMD Ryzen 9 5950X", "physical_cores": 16},
    "memory": {"total_bytes": 64 * GIB},
    "accelerators": [
        {
            "vendor": "nvidia",
            "name": "NVIDIA GeForce RTX 3060",
            "memory_total_bytes": 12 * GIB,
            "driver": "550.54",
            "uuid": "GPU-12345678-1111-2222-3333-444455556666",
            "usable": True,
        }
    ],
}
NEW_KEYS = (
    "key", "blob", "effort", "time_budget_s", "architecture", "placement", "flash_attention",
    "promised", "effective", "cells", "left_out", "loads", "thinking", "concurrency", "comparison",
)  # fmt: skip


def of(bench: dict[str, Any], **known: Any) -> dict[str, Any]:
    """Return the receipt of a run on somebody's box."""
    redactor = Redactor(home="/home/annika", user="annika", host="gpu7.lab.example")
    unknown = {"deployment": None, "machine": None, "version": "0.5.0", "redactor": redactor}
    return receipt(bench, **{**unknown, **known})


def deployment(bench: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "tag": "deepseek-r1:7b", "model": bench["model"], "digest": bench["digest"],
        "blob": bench.get("blob"), "architecture": "qwen2", "layers": LAYERS, "state": "current",
        "alias": "deploy-current:latest", "server_host": HOST, "machine": bench["machine"],
        "deployed_at": "2026-11-25T03:00:00Z", **changes,
    }  # fmt: skip


@pytest.mark.parametrize("gpu", [True, False])
def test_it_tells_the_machine_the_layers_the_errors_and_how_to_repeat_it(gpu: bool) -> None:
    bench = document(gpu=gpu, id=147)
    found = of(bench, deployment=deployment(bench), machine=MACHINE)
    jsonschema.validate(found, SCHEMA)
    assert found["tag"] == "deepseek-r1:7b"
    assert found["layers"] == LAYERS
    assert found["machine"]["cpu"] == "AMD Ryzen 9 5950X"
    assert found["machine"]["accelerators"][0]["driver"] == "550.54"
    assert found["command"] == "deploy bench deepseek-r1:7b --context 8192"
    assert found["workload"]["seed"] == 12345
    [decode] = [e for e in found["estimates"] if e["name"] == "decode"]
    assert decode["error"] == pytest.approx((decode["measured"] - 42) / decode["measured"])
    text = page(found)
    for each in (found["command"], found["sha256"], LAYERS[0]["digest"], "12345", "Ryzen"):
        assert str(each) in text


def test_a_run_of_no_deployment_has_the_tag_that_its_name_was_derived_from() -> None:
    found = of(document())
    assert (found["tag"], found["layers"]) == ("deepseek-r1:7b", None)
    assert of(document(model="qwen3:8b"))["tag"] == "qwen3:8b"


def test_a_run_of_an_older_deploy_has_a_receipt_too() -> None:
    bench = {k: v for k, v in document().items() if k not in NEW_KEYS}
    bench["metrics"] = {k: v for k, v in bench["metrics"].items() if k != "load_cold_s"}
    found = of(bench)
    jsonschema.validate(found, SCHEMA)
    assert [cell["prompt_tokens"] for cell in found["speed"]["cells"]] == [256]
    [resident] = [p for p in found["memory"]["parts"] if p["part"] == "resident"]
    assert resident["error"] == pytest.approx(0.1 / 5.1)
    assert "deploy bench deepseek-r1:7b --context 8192" in page(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"effort": "full", "time_budget_s": 1800.0},
        {"effort": "quick"},
        {"effort": "validate"},
        {"model": "annika/strange name:1b"},
    ],
)
def test_the_command_that_repeats_it_is_one_that_deploy_takes(changes: dict[str, Any]) -> None:
    words = shlex.split(of(document(**changes))["command"])
    assert words[:2] == ["deploy", "bench"]
    context = one_model.make_context("bench", words[2:])
    assert context.params["context"] == 8192
    assert context.params["full"] is (changes.get("effort") == "full")
    assert context.params["quick"] is (changes.get("effort") in ("quick", "validate"))
    assert context.params["time_budget"] == changes.get("time_budget_s")


SECRETS = (
    "annika", "gpu7", "/srv/models", "/home/", "10.1.2.3", "reg.lab.example", "hf_abcdefghijklmnop",
    "bo@lab.example", "GPU-12345678", "nas",
)  # fmt: skip


def test_no_name_of_a_person_or_a_box_no_path_and_no_address_is_in_it() -> None:
    said = (
        "read at http://10.1.2.3:11434 on gpu7 by annika in /srv/models/blobs, /home/bo/x and"
        " nas:/export/y; HF_TOKEN=hf_abcdefghijklmnop bo@lab.example"
    )
    bench = document(gpu=True, id=7, model="reg.lab.example:5000/annika/mine:1b")
    bench["memory"]["resident_how"] = bench["memory"]["devices"][0]["how"] = said
    bench["memory"]["parts"]["how"] = bench["effective"]["how"] = said
    bench["verdict"]["checks"][0]["detail"] = said
    bench["options"]["stop"] = said
    bench["comparison"] = {"outcome": "same", "why": said, "metrics": []}
    serves = deployment(bench, tag="reg.lab.example:5000/annika/mine:1b")
    found = of(bench, deployment=serves, machine=MACHINE)
    jsonschema.validate(found, SCHEMA)
    for text in (json.dumps(found), page(found)):
        assert [s for s in SECRETS if s in text] == []
    assert found["tag"] == "registry/user/mine:1b"


def test_what_is_no_secret_stays() -> None:
    bench = document(gpu=True, model="hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M")
    bench["memory"]["parts"]["how"] = "by /api/ps, tokens/s and load/layer"
    found = of(bench)
    assert found["tag"] == "hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M"
    assert found["digest"] == bench["digest"]
    assert found["workload"]["left_out"] == bench["left_out"]
    assert found["memory"]["parts"][2]["how"] == "by /api/ps, tokens/s and load/layer"


def test_a_box_that_is_called_like_a_model_does_not_change_the_models_name() -> None:
    redactor = Redactor(host="deepseek")
    found = of(document(), redactor=redactor)
    assert found["tag"] == "deepseek-r1:7b"
    assert found["command"].split()[2] == "deepseek-r1:7b"


def test_the_same_run_has_the_same_receipt_and_its_digest_is_as_described() -> None:
    found = of(document(id=1))
    assert found == of(document(id=1))
    rest = {k: v for k, v in found.items() if k != "sha256"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert found["sha256"] == hashlib.sha256(canonical.encode()).hexdigest()
    assert checked(json.loads(json.dumps(found, indent=4)), SCHEMA, "x") == found


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value that holds no other."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inner:
        if isinstance(each, dict | list) and each:
            yield from leaves(each, (*at, key))
        else:
            yield (*at, key)


def changed(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    found = copy.deepcopy(value)
    inner = found
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = new
    return found


RECEIPT = of(document(gpu=True, id=3), machine=MACHINE)
_JSON: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-1, 9) | st.text() | st.just([])
)


@settings(max_examples=150, deadline=None)
@given(way=st.sampled_from(list(leaves(RECEIPT))), new=_JSON | st.just({}))
def test_every_change_of_any_value_is_refused(way: tuple[Any, ...], new: Any) -> None:
    forged = changed(RECEIPT, way, new)
    if json.dumps(forged) == json.dumps(RECEIPT):
        return
    with pytest.raises(InvalidInput):
        checked(forged, SCHEMA, "a.json")


@settings(max_examples=150, deadline=None)
@given(way=st.sampled_from(list(leaves(RECEIPT))), new=_JSON | st.just({}))
def test_what_follows_the_schema_is_what_another_reader_of_it_says(
    way: tuple[Any, ...], new: Any
) -> None:
    value = changed(RECEIPT, way, new)
    whole = isinstance(new, float) and new.is_integer()  # 1.0 is an integer to a schema
    if not whole:
        valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(value)
        assert (violation(value, SCHEMA) is None) == valid


def test_every_word_that_the_schema_of_receipts_is_written_with_is_known() -> None:
    told = {"$schema", "$id", "$defs", "title", "description"}
    known = {
        "type", "const", "enum", "minimum", "maximum", "properties", "required", "items",
        "minItems", "maxItems", "anyOf", "$ref",
    }  # fmt: skip
    assert set(words(SCHEMA)) <= told | known


def words(value: Any) -> Iterator[str]:
    """Yield the keywords of a schema."""
    for key, inner in value.items():
        yield key
        if key in ("properties", "$defs"):
            for each in inner.values():
                yield from words(each)
        elif key == "items":
            yield from words(inner)
        elif key == "anyOf":
            for each in inner:
                yield from words(each)


def test_a_sealed_document_of_another_form_is_told_where_it_is_wrong() -> None:
    forged = changed(RECEIPT, ("speed", "cells", 0, "decode_tps", "median"), "fast")
    with pytest.raises(InvalidInput, match=r"speed\.cells\[0\]\.decode_tps\.median is 'fast'"):
        checked(sealed(forged), SCHEMA, "a.json")


def test_two_runs_of_one_kind_are_comparable_and_their_ratio_is_of_the_second() -> None:
    a, b = of(document(decode_tps=40.0)), of(document(decode_tps=20.0, effort="quick"))
    found = compare(a, b, ("a", "b"))
    jsonschema.validate(found, schema.load("receipt-comparison"))
    assert found["comparable"]
    assert [d["condition"] for d in found["differences"]] == ["effort"]
    [ratio] = [n["ratio"] for n in found["numbers"] if n["name"] == "decode tg64 @256"]
    assert ratio == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "condition"),
    [
        ({"blob": "sha256:" + 64 * "c"}, "weights"),
        ({"quantization": "Q8_0"}, "quantization"),
        ({"server_version": "0.12.0", "key": "0" * 16}, "server version"),
        ({"runtime": "release"}, "runtime"),
        ({"machine": {"name": "another box", "digest": "f" * 16}}, "machine"),
        ({"machine": {"name": "a box with 8 cores", "digest": "f" * 16}}, "machine"),
        ({"context": 4096, "effective": None}, "context"),
        ({"parallel": 4, "effective": None}, "slots"),
        ({"kv_cache_type": "q8_0", "effective": None}, "KV cache type"),
        ({"placement": "split"}, "placement"),
        ({"options": {"num_ctx": 8192, "num_thread": 2}}, "options"),
        ({"key": "0" * 16}, "key"),
    ],
)
def test_a_condition_that_decides_makes_two_runs_not_comparable_and_is_named(
    changes: dict[str, Any], condition: str
) -> None:
    found = compare(of(document()), of(document(**changes)), ("a", "b"))
    assert not found["comparable"]
    assert condition in found["why"]
    decides = [d["condition"] for d in found["differences"] if d["decides"]]
    assert decides == [condition]
    assert found["differences"][0]["a"] != found["differences"][0]["b"]


def test_what_only_one_of_them_measured_has_no_ratio() -> None:
    a, b = of(document(gpu=True)), of(document(concurrency=[]))
    found = {n["name"]: n for n in compare(a, b, ("a", "b"))["numbers"]}
    assert found["users together: 4"]["ratio"] is None
    assert found["memory: device 0"]["b"] is None


# ---- the command


@pytest.fixture
def ledger(home: Home) -> Ledger:
    return Ledger(home.ledger)


Ask = Callable[..., Result]


@pytest.fixture
def ask(home: Home, monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.setenv("DEPLOY_HOME", str(home.data.parent))

    def run(*words: str | Path) -> Result:
        return CliRunner().invoke(command, [str(w) for w in words])

    return run


def error(done: Result) -> DeployError:
    """Return why a command failed, in one line and with the exit code of wrong input."""
    assert isinstance(done.exception, DeployError)
    assert done.exception.exit_code == 2
    assert "\n" not in done.exception.what
    return done.exception


def test_without_a_number_it_is_the_last_run_of_what_is_deployed(ask: Ask, ledger: Ledger) -> None:
    bench = document()
    number = ledger.begin(deployment(bench), MACHINE)
    ledger.note(number, deployment(bench), bench)
    ledger.accept(number, deployment(bench))
    ledger.record_bench(document(effort="quick"))
    ledger.record_bench(document(model="qwen3:8b"))
    ledger.record_bench(document(model=f"{bench['model']}-more"))
    found = json.loads(ask("--json").stdout)
    assert (found["run"], found["workload"]["effort"]) == (2, "quick")
    assert (found["layers"], found["machine"]["physical_cores"]) == (LAYERS, 16)


def test_without_a_deployment_it_is_the_last_run_of_all(ask: Ask, ledger: Ledger) -> None:
    ledger.record_bench(document())
    ledger.record_bench(document(model="qwen3:8b"))
    assert ask().stdout.startswith("# qwen3:8b on a box with 8 cores\n")
    assert json.loads(ask("1", "--json").stdout)["tag"] == "deepseek-r1:7b"


def test_where_nothing_was_measured_the_next_command_is_named(ask: Ask, home: Home) -> None:
    failed = error(ask())
    assert (failed.what, failed.hint) == (
        "nothing was measured yet",
        "measure with `deploy bench MODEL`",
    )
    assert not home.ledger.exists()


def test_a_number_that_no_run_has_is_wrong_input(ask: Ask, ledger: Ledger) -> None:
    ledger.record_bench(document())
    assert "there is no bench run 9" in error(ask("9")).what
    assert isinstance(ask("0").exception, SystemExit)  # click's own error of use
    assert ask("1", "--compare", "1", "1").exit_code == 2


def test_a_written_receipt_can_be_compared_and_a_changed_one_is_refused(
    ask: Ask, ledger: Ledger, tmp_path: Path
) -> None:
    ledger.record_bench(document(decode_tps=40.0))
    ledger.record_bench(document(decode_tps=30.0))
    path = tmp_path / "a.json"
    assert ask("1", "-o", path).stdout == ""
    assert path.stat().st_mode & 0o777 == 0o644
    found = json.loads(ask("--compare", path, "2", "--json").stdout)
    assert found["comparable"]
    assert (found["a"]["source"], found["b"]["source"]) == (str(path), "run 2")
    assert "all that decides is the same" in ask("--compare", path, "2").stdout
    path.write_text(path.read_text().replace("Q4_K_M", "Q8_0"))
    assert "its sha256 does not match" in error(ask("--compare", path, "2")).what


def test_the_page_can_be_written_and_a_place_that_cannot_be_is_told(
    ask: Ask, ledger: Ledger, tmp_path: Path
) -> None:
    ledger.record_bench(document())
    ask("-o", tmp_path / "a.md")
    assert (tmp_path / "a.md").read_text() == ask().stdout
    assert "cannot be written" in error(ask("-o", tmp_path / "no" / "a.md")).what


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# a page", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[]", "is no receipt"),
        (json.dumps(document()).encode(), "is no receipt"),
        (json.dumps(sealed({**RECEIPT, "schema": 2})).encode(), "receipt of schema 2"),
        (json.dumps(sealed({"schema": 1, "command": "x"})).encode(), "does not follow"),
        (b" " * (16 * 2**20 + 1), "has more than"),
        (b"[" * 200_000, "is no JSON"),
    ],
    ids=["page", "bytes", "list", "bench", "newer", "empty", "huge", "deep"],
)
def test_what_is_no_receipt_is_refused_in_one_line(
    ask: Ask, ledger: Ledger, tmp_path: Path, content: bytes, said: str
) -> None:
    ledger.record_bench(document())
    path = tmp_path / "b.json"
    path.write_bytes(content)
    failed = error(ask("--compare", "1", path))
    assert said in failed.what
    assert "deploy" in failed.hint
    assert "probe" not in failed.hint


def test_a_file_that_is_not_there_and_a_folder_are_refused(ask: Ask, tmp_path: Path) -> None:
    assert "No such file" in error(ask("--compare", tmp_path / "no.json", "1")).what
    assert "directory" in error(ask("--compare", tmp_path, "1")).what


def test_the_words_of_the_command_are_documented() -> None:
    text = command.get_help(click.Context(command))
    assert "no names, no addresses, no paths" in " ".join(text.split())
