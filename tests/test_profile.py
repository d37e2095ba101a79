"""Profiles: file < environment < flag; who set what; every mistake by its key."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ProfileInvalid
from orchestrator.plan import choose, eligible
from orchestrator.profile import Mistake, Profile, mistakes, parse
from orchestrator.units import GIB
from tests.shapes import CATALOG, box

BUNDLED = Path(__file__).parents[1] / "profiles"
FILE = """
schema = 1
summary = "one"
families = [["deepseek-r1", "qwen3"], ["qwq"]]
kinds = ["Chat", "code"]
quantizations = ["q4_k_m", "Q8_0"]
context = 2048
min_tps = 2.5
max_memory = "8GiB"
keep_alive = "10m"
allow_licence = true
"""


def test_a_file_is_read_in_the_types_of_its_fields() -> None:
    found = parse(FILE, "mine")
    assert (found.name, found.summary, found.context, found.min_tps) == ("mine", "one", 2048, 2.5)
    assert found.families == (("deepseek-r1", "qwen3"), ("qwq",))
    assert found.kinds == ("chat", "code")
    assert found.quantizations == ("Q4_K_M", "Q8_0")
    assert (found.max_memory_bytes, found.keep_alive) == (8 * GIB, "10m")
    assert found.allow_licence is True
    assert found.parallel == Profile(name="mine").parallel


def test_families_rank_by_their_list() -> None:
    found = parse(FILE, "mine")
    assert [found.rank(f) for f in ("deepseek-r1", "qwen3", "qwq", "gemma")] == [0, 0, 1, None]


def test_file_below_environment_below_flag_and_the_origin_is_kept() -> None:
    found = parse(FILE, "mine").with_environment(
        {"DEPLOY_CONTEXT": "4096", "DEPLOY_MIN_TPS": "3", "DEPLOY_PARALLEL": "", "CONTEXT": "1"}
    )
    found = found.override({"context": 8192, "placement": None}, "--context")
    assert (found.context, found.min_tps, found.parallel) == (8192, 3.0, 1)
    assert found.origin["context"] == "--context"
    assert found.origin["min_tps"] == "DEPLOY_MIN_TPS"
    assert found.origin["max_memory_bytes"] == "profile mine"
    assert "parallel" not in found.origin
    assert "placement" not in found.origin


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("DEPLOY_MAX_MEMORY", "24GB", "max_memory_bytes", 24 * 10**9),
        ("DEPLOY_PLACEMENT", "cpu", "placement", "cpu"),
        ("DEPLOY_ALLOW_LICENCE", "Yes", "allow_licence", True),
        ("DEPLOY_ALLOW_LICENCE", "0", "allow_licence", False),
        ("DEPLOY_KEEP_ALIVE", "30m", "keep_alive", "30m"),
        pytest.param("DEPLOY_KEEP_ALIVE", "-1", "keep_alive", -1, id="no-number-in-quotes"),
        ("DEPLOY_REGISTRY", "http://127.0.0.1:5000", "registry", "http://127.0.0.1:5000"),
    ],
)
def test_the_environment_reads_in_each_type(
    variable: str, text: str, key: str, value: object
) -> None:
    assert getattr(Profile(name="p").with_environment({variable: text}), key) == value


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("context = 0", "context = 0; at least 1"),
        ("context = true", "context = true has the wrong type"),
        ('context = "8192"', "context = '8192' has the wrong type"),
        ("context = 1.5", "context = 1.5 has the wrong type"),
        ("parallel = -1", "parallel = -1; at least 1"),
        ("parallel = 257", "parallel = 257; at most 256"),
        ("max_memory = 12", "'12' has no unit; write it as 2.5GiB"),
        ('max_memory = "0GiB"', "'0GiB' is no memory at all"),
        ("min_tps = -0.1", "min_tps = -0.1; at least 0"),
        ("min_tps = nan", "min_tps = nan is no number"),
        ("min_tps = inf", "min_tps = inf is no number"),
        ("keep_alive = -2", "keep_alive = -2; at least -1"),
        ('placement = "moon"', "one of auto, gpu, split, cpu, any"),
        ('fallback = "other"', "fallback = 'other'; one of starter"),
        ('alias = "a/b"', "alias = 'a/b'"),
        ('alias = "a:b"', "alias = 'a:b'"),
        ('alias = ""', "alias = ''"),
        ("families = []", "families = \\[\\]; a list of lists"),
        ('families = ["qwen3"]', "a list of lists of names"),
        ("families = [[]]", "a list of lists of names"),
        ('quantizations = ["Q9_9"]', "quantizations = \\['Q9_9'\\]"),
        ("quantizations = []", "quantizations = \\[\\]"),
        ('kinds = ["chats"]', "kinds = \\['chats'\\]; a list of names out of chat, base, code"),
        ('kinds = "chat"', "kinds = 'chat'"),
        ('registry = "ftp://x"', "is not the URL of a registry"),
        ("allow_licence = 1", "allow_licence = 1 has the wrong type; true or false"),
        ('max_memory = "5 parsecs"', "is not a size"),
        ("contxt = 1", "unknown key 'contxt'"),
        ('name = "x"', "unknown key 'name'"),
        ("schema = 2", "schema must be 1"),
        ("= 1", "profile bad:1: Invalid statement"),
    ],
)
def test_each_mistake_is_named_by_its_key(line: str, says: str) -> None:
    with pytest.raises(ProfileInvalid, match=says) as caught:
        parse(line, "bad")
    assert "bad" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("DEPLOY_CONTEXT", "many"),
        ("DEPLOY_CONTEXT", "0"),
        ("DEPLOY_MIN_TPS", "fast"),
        ("DEPLOY_MIN_TPS", "nan"),
        ("DEPLOY_PLACEMENT", "moon"),
        ("DEPLOY_MAX_MEMORY", "lots"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(variable: str, text: str) -> None:
    with pytest.raises(ProfileInvalid, match=variable):
        Profile(name="p").with_environment({variable: text})


@pytest.mark.parametrize(
    ("variable", "text", "wanted"),
    [
        ("DEPLOY_CONTEXT", "abc", "a whole number is wanted"),
        ("DEPLOY_MIN_TPS", "fast", "a number is wanted"),
        ("DEPLOY_ALLOW_LICENCE", "maybe", "true or false is wanted"),
        ("DEPLOY_MAX_MEMORY", "12", "has no unit"),
    ],
)
def test_what_a_variable_should_hold_is_said_in_words(
    variable: str, text: str, wanted: str
) -> None:
    with pytest.raises(ProfileInvalid, match=f"{variable}={text}: .*{wanted}"):
        Profile(name="p").with_environment({variable: text})


@given(st.dictionaries(st.sampled_from(["context", "parallel"]), st.integers(1, 256)))
def test_the_last_to_speak_wins(flags: dict[str, Any]) -> None:
    found = parse(FILE, "mine").override(flags, "--flag")
    assert all(getattr(found, k) == v and found.origin[k] == "--flag" for k, v in flags.items())
    assert found.min_tps == 2.5


# --- where a mistake stands ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        pytest.param("schema = 1\n\ncontext = 0\n", 3, "context", id="after-a-blank-line"),
        pytest.param("# context = 1\ncontext = 0\n", 2, "context", id="after-its-comment"),
        pytest.param('summary = """\nalias = 1\n"""\nalias = ""\n', 4, "alias", id="inside-text"),
        pytest.param("kinds = [\n 'x',\n]\n", 1, "kinds", id="a-list-of-three-lines"),
        pytest.param("'context'=0", 1, "context", id="in-quotes"),
        pytest.param("  context  = 0", 1, "context", id="indented"),
        pytest.param("schema = 1\r\ncontext = 0\r\n", 2, "context", id="dos"),
        pytest.param('summary = "a\x85b"\ncontext = 0', 2, "context", id="no-line-break-of-toml"),
        pytest.param("[servers]\nhost = 1\n", 1, "servers", id="a-table"),
        pytest.param("[[servers]]\nhost = 1\n", 1, "servers", id="a-list-of-tables"),
        pytest.param("a.b = 1", 1, "a", id="a-dotted-key"),
        pytest.param("context = 1\ncontext = 2\n", 2, None, id="twice"),
        pytest.param("alias = 'x'\nsummary = [", 2, None, id="an-open-end"),
    ],
)
def test_a_mistake_has_its_line_and_key(text: str, line: int, key: str | None) -> None:
    [found] = mistakes(text)
    assert (found.line, found.key) == (line, key)
    with pytest.raises(ProfileInvalid, match=f"^mine.toml:{line}: "):
        parse(text, "mine", source="mine.toml")


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("contxt", "context"),
        ("moon", None),
        ("max_mem", "max_memory"),
        ("quantisations", "quantizations"),
        ("familys", "families"),
        ("kind", "kinds"),
    ],
)
def test_a_typo_names_the_nearest_key(typo: str, meant: str | None) -> None:
    [found] = mistakes(f"{typo} = 1")
    wanted = f"unknown key {typo!r}" + (f"; did you mean {meant!r}?" if meant else "")
    assert found == Mistake(line=1, key=typo, message=wanted)


def test_all_mistakes_are_found_in_the_order_of_lines() -> None:
    text = "min_tps = -1\nparallel = 2\nalias = ''\nmoon = 1\ncontext = 'x'\n"
    assert [(m.line, m.key) for m in mistakes(text)] == [
        (1, "min_tps"), (3, "alias"), (4, "moon"), (5, "context"),
    ]  # fmt: skip
    with pytest.raises(ProfileInvalid, match=r"x\.toml:1: min_tps = -1; at least 0") as caught:
        parse(text, "x", source="x.toml")
    assert "lists all 4" in caught.value.hint


def test_a_good_profile_has_no_mistakes() -> None:
    assert mistakes(FILE) == mistakes("") == ()


KEY_VALUES = st.dictionaries(
    st.sampled_from(["context", "parallel", "min_tps", "alias", "moon", "families"]),
    st.sampled_from(["1", "0", "-1", '"x"', "[]", "true", '[["qwen3"]]', '"""\nalias = 1\n"""']),
)


@given(KEY_VALUES)
def test_a_mistake_always_stands_where_its_key_does(values: dict[str, str]) -> None:
    lines = [f"{k} = {v}" for k, v in values.items()]
    text = "\n".join(lines)
    starts = {k: 1 + sum(line.count("\n") + 1 for line in lines[:i]) for i, k in enumerate(values)}
    for found in mistakes(text):
        assert found.key is not None
        assert found.line == starts[found.key]


# --- the bundled ones ----------------------------------------------------------------------------


def bundled(name: str) -> Profile:
    base = parse((BUNDLED / "default.toml").read_text("utf-8"), "default")
    return parse((BUNDLED / f"{name}.toml").read_text("utf-8"), name, base)


NAMES = sorted(path.stem for path in BUNDLED.glob("*.toml"))


def test_the_bundled_profiles_are_those_that_were_agreed() -> None:
    assert NAMES == [
        "chat", "china", "coding", "cpu-only", "default", "long-context", "reasoning", "small-box",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_bundled_profiles_name_what_exists(name: str) -> None:
    found = bundled(name)
    assert found.summary
    families = {c.family for c in CATALOG.candidates if c.kind in found.kinds}
    assert {f for group in found.families for f in group} <= families
    assert (found.memory_pass, found.memory_warn) == (0.10, 0.25)
    assert found.quantizations[0] == "Q4_K_M"
    assert found.quantizations[-1] == "Q8_0"
    assert "F16" not in found.quantizations
    assert eligible(CATALOG.candidates, found)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_profile_says_why(name: str) -> None:
    text = (BUNDLED / f"{name}.toml").read_text("utf-8")
    assert text.startswith("# ")
    assert text.count("\n#") >= 1 + (name != "cpu-only")


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("default", ("deepseek-r1", "qwen3")),
        ("reasoning", ("deepseek-r1",)),
        ("chat", ("qwen3",)),
        ("coding", ("qwen3-coder",)),
    ],
)
def test_the_families_of_the_bundled_profiles_in_order(name: str, first: tuple[str, ...]) -> None:
    assert bundled(name).families[0][: len(first)] == first


@pytest.mark.parametrize(
    ("name", "differs"),
    [
        ("reasoning", {"families"}),
        ("chat", {"families", "alias"}),
        ("coding", {"families", "kinds", "alias"}),
        ("long-context", {"context_gpu", "context_cpu", "min_context", "alias"}),
        ("small-box", {"context_gpu", "context_cpu", "min_tps"}),
        ("cpu-only", {"placement"}),
        ("china", {"sources", "gguf_host", "hub_endpoint"}),
    ],
)
def test_a_bundled_profile_holds_only_what_differs(name: str, differs: set[str]) -> None:
    values = bundled(name).to_json()["values"]
    default = bundled("default").to_json()["values"]
    own = {k for k, v in values.items() if v["origin"] == f"profile {name}"}
    assert own == differs == {k for k in values if values[k]["value"] != default[k]["value"]}
    assert values["quantizations"]["origin"] == "profile default"
    assert values["registry"] == {"value": None, "origin": "built in"}


def test_coding_takes_models_for_code_and_none_that_only_complete() -> None:
    found = eligible(CATALOG.candidates, bundled("coding"))
    assert {c.kind for c in found} == {"code"}
    assert {"qwen3-coder", "qwen2.5-coder"} <= {c.family for c in found}


def test_long_context_is_kept_by_every_model_it_takes() -> None:
    profile = bundled("long-context")
    for ram, cards in ((64, [("NVIDIA GeForce RTX 4090", 24.0)]), (64, [])):
        chosen = choose(profile, box(ram, *cards), CATALOG.candidates).chosen
        assert chosen
        assert chosen.estimate.load.run.context == 32768


def test_small_box_finds_a_place_where_default_does_not() -> None:
    model = CATALOG.find("deepseek-r1:7b")
    roomy = choose(bundled("default"), box(8), [model], named=True)
    assert roomy.chosen
    enough = roomy.chosen.estimate.host_bytes + roomy.budget.reserve_bytes
    machine = box((enough - 1) / GIB)
    assert choose(bundled("default"), machine, [model], named=True).chosen is None
    assert choose(bundled("small-box"), machine, [model], named=True).chosen


def test_cpu_only_leaves_the_card_alone() -> None:
    machine = box(64, ("NVIDIA GeForce RTX 4090", 24))
    chosen = choose(bundled("cpu-only"), machine, CATALOG.candidates).chosen
    assert chosen
    assert chosen.placement.kind == "cpu"
