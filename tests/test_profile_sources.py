"""Which sources a profile has, in which order, and what they are told."""

from pathlib import Path

import pytest

from orchestrator.errors import ProfileInvalid
from orchestrator.profile import Profile, parse

PLAIN = Profile(name="plain")
BUNDLED = Path(__file__).parents[1] / "profiles"
_IN_CHINA = {"modelscope.cn", "hf-mirror.com"}


def test_without_a_word_the_library_comes_first_and_hosts_of_the_hub_after() -> None:
    assert PLAIN.tried == ("ollama", "hf-gguf", "modelscope")


def test_whoever_names_a_registry_means_it_and_nothing_else() -> None:
    assert PLAIN.override({"registry": "https://mirror.example"}, "--registry").tried == ("mirror",)


def test_an_order_of_ones_own_is_kept() -> None:
    own = parse('schema = 1\nsources = ["mirror", "ollama"]\nregistry = "https://a.b"', "own")
    assert own.tried == ("mirror", "ollama")
    assert not own.falls_back
    assert parse('sources = ["ollama", "starter"]', "own").falls_back


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('sources = ["ollama", "moon"]', "ollama, mirror, modelscope"),
        ("sources = []", "a list of names"),
        ('sources = ["hub", "hub"]', "names one twice"),
        ('gguf_host = "https://hf.co"', "a host without http://"),
        ('hub_endpoint = "hf-mirror.com"', "a URL: https://HOST"),
        ('hub_endpoint = "https://me:secret@hub.example"', "without a password"),
        ("connections = 65", "at most 64"),
        ('limit_rate = "fast"', "limit_rate = 'fast'"),
        ("limit_rate_bytes = 0", "at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(ProfileInvalid) as refused:
        parse(text, "own")
    assert said in refused.value.what
    assert "secret" not in refused.value.what


def test_a_rate_is_written_with_a_unit_or_as_bytes() -> None:
    assert parse('limit_rate = "5MB"', "own").limit_rate_bytes == 5_000_000
    assert parse("limit_rate_bytes = 4096", "own").limit_rate_bytes == 4096
    environ = {"DEPLOY_LIMIT_RATE": "2MiB", "DEPLOY_CONNECTIONS": "2"}
    told = PLAIN.with_environment(environ)
    assert (told.limit_rate_bytes, told.connections) == (2 * 2**20, 2)


def test_the_profile_for_china_names_only_hosts_that_are_reachable_there() -> None:
    china = parse((BUNDLED / "china.toml").read_text("utf-8"), "china")
    assert china.tried == ("modelscope", "hf-gguf", "hub")
    assert {china.gguf_host, str(china.hub_endpoint).removeprefix("https://")} <= _IN_CHINA
    assert china.registry is None
