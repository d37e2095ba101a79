"""What MODEL means to `deploy pull`."""

from pathlib import Path

import pytest

from orchestrator.errors import InvalidInput
from orchestrator.profile import Profile
from orchestrator.profile.keys import SourceName
from orchestrator.pull.request import Request

PROFILE = Profile(name="test", sources=("mirror", "ollama"), registry="https://mirror.example")


def read(model: str, source: SourceName | None = None, profile: Profile = PROFILE) -> Request:
    return Request.read(model, source, profile)


def test_a_tag_comes_from_the_sources_of_the_profile_in_their_order() -> None:
    assert read("deepseek-r1:7b") == Request(
        kind="tag", name="deepseek-r1:7b", sources=("mirror", "ollama")
    )
    assert read("qwen3").name == "qwen3:latest"


def test_a_named_source_is_the_only_one() -> None:
    assert read("deepseek-r1:7b", "hf-gguf").sources == ("hf-gguf",)


def test_a_name_with_a_registry_is_fetched_by_the_server_from_there() -> None:
    found = read("registry.example:5000/team/r1:7b")
    assert (found.kind, found.sources) == ("tag", ("ollama",))
    with pytest.raises(InvalidInput, match=r"names its registry, registry\.example"):
        read("registry.example:5000/team/r1:7b", "mirror")


@pytest.mark.parametrize(
    ("host", "source"),
    [("hf.co", "hf-gguf"), ("HF-mirror.com", "hf-gguf"), ("modelscope.cn", "modelscope")],
)
def test_a_repository_by_its_full_name_comes_as_from_its_hub_unless_told(
    host: str, source: SourceName
) -> None:
    name = f"{host}/unsloth/DeepSeek-R1-GGUF:Q4_K_M"
    assert read(name).sources == read(name, source).sources == (source,)
    assert read(name, "ollama").sources == ("ollama",)
    with pytest.raises(InvalidInput, match="names its registry"):
        read(name, "mirror")


def test_a_repository_comes_from_the_hub_by_us() -> None:
    assert read("hf:Qwen/Qwen2.5-0.5B-Instruct@main:Q8_0").sources == ("hub",)


@pytest.mark.parametrize(
    ("source", "name"),
    [("hf-gguf", "hf-mirror.com/a/b-GGUF:Q4_K_M"), ("modelscope", "modelscope.cn/a/b-GGUF:Q4_K_M")],
)
def test_a_repository_may_come_through_the_server_from_a_host_that_has_it(
    source: SourceName, name: str
) -> None:
    profile = Profile(name="test", gguf_host="hf-mirror.com")
    found = read("hf:a/b-GGUF:Q4_K_M", source, profile)
    assert found == Request(kind="tag", name=name, sources=(source,))
    with pytest.raises(InvalidInput, match="no revision and no file"):
        read("hf:a/b-GGUF@v1", source, profile)


@pytest.mark.parametrize("source", ["ollama", "mirror", "bundle", "starter"])
def test_a_source_without_repositories_is_refused_for_one(source: SourceName) -> None:
    with pytest.raises(InvalidInput, match=f"--source {source} has no repositories"):
        read("hf:a/b", source)


def test_files_are_told_by_how_they_are_called(tmp_path: Path) -> None:
    for name, kind in (("model.gguf", "file"), ("r1.tar", "bundle"), ("r1.bundle", "bundle")):
        path = tmp_path / name
        with pytest.raises(InvalidInput, match="no such file"):
            read(str(path))
        path.touch()
        sources = ("bundle",) if kind == "bundle" else ()
        assert (read(str(path)).kind, read(str(path)).sources) == (kind, sources)
        with pytest.raises(InvalidInput, match="is a file: --source hub cannot have it"):
            read(str(path), "hub")


@pytest.mark.parametrize("model", ["", "a b", "a:", "../x", "hf:", "hf:one", "x/y/z/w:1", "-x"])
def test_what_is_no_name_is_refused_with_what_would_be(model: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(model)
    assert "hf:ORG/REPO" in refused.value.hint
