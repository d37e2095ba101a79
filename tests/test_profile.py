"""Profiles: file < environment < flag; who set what; every mistake by its key."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ProfileInvalid
from orchestrator.profile import Profile, parse
from orchestrator.units import GIB
from tests.shapes import CATALOG

BUNDLED = Path(__file__).parents[1] / "profiles"
FILE = """
schema = 1
summary = "one"
families = [["deepseek-r1", "qwen3"], ["qwq"]]
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
        ("context = true", "context = True has the wrong type"),
        ('context = "8192"', "context = '8192' has the wrong type"),
        ("context = 1.5", "context = 1.5 has the wrong type"),
        ("parallel = -1", "parallel = -1; at least 1"),
        ("min_tps = -0.1", "min_tps = -0.1; at least 0"),
        ("min_tps = nan", "min_tps = nan is no number"),
        ("min_tps = inf", "min_tps = inf is no number"),
        ("keep_alive = -2", "keep_alive = -2; at least -1"),
        ('placement = "moon"', "one of auto, gpu, split, cpu, any"),
        ('fallback = "other"', "the only one is 'starter'"),
        ('alias = "a/b"', "alias = 'a/b'"),
        ('alias = "a:b"', "alias = 'a:b'"),
        ('alias = ""', "alias = ''"),
        ("families = []", "families = \\[\\]; a list of lists"),
        ('families = ["qwen3"]', "a list of lists of names"),
        ("families = [[]]", "a list of lists of names"),
        ('quantizations = ["Q9_9"]', "quantizations = \\['Q9_9'\\]"),
        ("quantizations = []", "quantizations = \\[\\]"),
        ('max_memory = "5 parsecs"', "is not a size"),
        ("contxt = 1", "unknown key 'contxt'"),
        ('name = "x"', "unknown key 'name'"),
        ("schema = 2", "schema must be 1"),
        ("= 1", "profile bad: "),
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


@given(st.dictionaries(st.sampled_from(["context", "parallel"]), st.integers(1, 10**6)))
def test_the_last_to_speak_wins(flags: dict[str, Any]) -> None:
    found = parse(FILE, "mine").override(flags, "--flag")
    assert all(getattr(found, k) == v and found.origin[k] == "--flag" for k, v in flags.items())
    assert found.min_tps == 2.5


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.toml")), ids=lambda p: p.stem)
def test_the_bundled_profiles_name_what_exists(path: Path) -> None:
    found = parse(path.read_text("utf-8"), path.stem)
    families = {c.family for c in CATALOG.candidates}
    assert {f for group in found.families for f in group} <= families
    assert (found.context_gpu, found.context_cpu) == (8192, 4096)
    assert found.min_tps == 4
    assert (found.memory_pass, found.memory_warn) == (0.10, 0.25)
    assert found.quantizations[0] == "Q4_K_M"
    assert found.quantizations[-1] == "Q8_0"
    assert "F16" not in found.quantizations


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("default", ("deepseek-r1", "qwen3")),
        ("reasoning", ("deepseek-r1",)),
        ("chat", ("qwen3",)),
    ],
)
def test_the_families_of_the_bundled_profiles_in_order(name: str, first: tuple[str, ...]) -> None:
    found = parse((BUNDLED / f"{name}.toml").read_text("utf-8"), name)
    assert found.families[0][: len(first)] == first
