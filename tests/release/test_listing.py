from pathlib import Path

import pytest

from orchestrator.errors import ModelUnavailable, SourceCorrupt, SourceUnreachable
from orchestrator.release import Release
from orchestrator.release.listing import files_of, read

_RELEASE = Release.of({}, version="0.30.1", base_url="https://user:secret@mirror/ollama")
_A, _B = "a" * 64, "b" * 64


def test_the_digests_of_a_list_by_name(tmp_path: Path) -> None:
    path = tmp_path / "sha256sum.txt"
    path.write_text(f"{_A}  ./one.tgz\n{_B.upper()} *two.tgz\nnothing\n{_A[1:]}  ./short.tgz\n")

    assert read(path, _RELEASE) == {"one.tgz": f"sha256:{_A}", "two.tgz": f"sha256:{_B}"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("<html>Sign in", SourceUnreachable, id="a-portal-that-calls-it-text"),
        pytest.param("", SourceCorrupt, id="empty"),
        pytest.param(f"{_A}\n", SourceCorrupt, id="without-names"),
    ],
)
def test_what_is_no_list_is_refused_and_no_login_is_shown(
    tmp_path: Path, text: str, error: type[Exception]
) -> None:
    path = tmp_path / "sha256sum.txt"
    path.write_text(text)

    with pytest.raises(error, match=r"^mirror ") as e:
        read(path, _RELEASE)

    assert "secret" not in str(e.value)


def test_the_newer_format_comes_first_and_each_archive_has_one() -> None:
    listed = {"a.tgz": _A, "a.tar.zst": _A, "b.tgz": _B}

    assert files_of(_RELEASE, ["a", "b"], listed) == [["a.tar.zst", "a.tgz"], ["b.tgz"]]
    with pytest.raises(ModelUnavailable, match="no c in its list"):
        files_of(_RELEASE, ["a", "c"], listed)
