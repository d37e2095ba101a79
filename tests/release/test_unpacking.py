import os
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import DiskFull, SourceCorrupt
from orchestrator.release.unpacking import unpack
from tests.real.disk import small_disk
from tests.release.publisher import (
    Members,
    Quiet,
    archive,
    file,
    folder,
    link,
    small,
    special,
)

_LIB = "lib/ollama/libggml-base.so"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "scratch" / "made"
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize("ending", ["tar.zst", "tgz"])
def test_files_links_and_modes_arrive(
    tmp_path: Path, made: Path, quiet: Quiet, ending: str
) -> None:
    unpack(archive(tmp_path / f"a.{ending}", small("1")), made, quiet)

    assert (made / "bin/ollama").stat().st_mode & 0o777 == 0o755
    assert (made / _LIB).stat().st_mode & 0o777 == 0o644
    assert (made / "lib/ollama/cuda_v12/libcublas.so.12").read_bytes() == b"cublas"
    assert (made / "lib/ollama/cuda_v12/libggml-base.so").resolve() == (made / _LIB).resolve()


def test_an_add_on_replaces_files_and_writes_through_no_link(
    tmp_path: Path, made: Path, quiet: Quiet
) -> None:
    unpack(archive(tmp_path / "a.tgz", small("1")), made, quiet)
    over = [file("lib/ollama/cuda_v12/libcublas.so.12", b"another"), file(_LIB, b"newer")]
    unpack(archive(tmp_path / "b.tgz", over), made, quiet)

    assert (made / "lib/ollama/cuda_v12/libcublas.so.12").read_bytes() == b"another"
    assert (made / "lib/ollama/cuda_v12/libcublas.so.12.8").read_bytes() == b"cublas"
    assert (made / _LIB).read_bytes() == b"newer"


def test_a_second_name_of_a_file_arrives(tmp_path: Path, made: Path, quiet: Quiet) -> None:
    members = [file("lib/a", b"a"), link("lib/b", "./lib/a", tarfile.LNKTYPE)]
    unpack(archive(tmp_path / "a.tgz", members), made, quiet)

    assert (made / "lib/b").read_bytes() == b"a"


@pytest.mark.parametrize(
    ("members", "why"),
    [
        pytest.param([file("/tmp/out", b"")], "leads out", id="absolute"),
        pytest.param([file("lib/../../out", b"")], "leads out", id="climbs"),
        pytest.param([file("etc/out", b"")], "outside bin/ and lib/", id="another-folder"),
        pytest.param([file("out", b"")], "outside bin/ and lib/", id="at-the-top"),
        pytest.param([file("./", b"")], "outside bin/ and lib/", id="the-folder-itself"),
        pytest.param([file("bin", b"")], "outside bin/ and lib/", id="bin-is-a-file"),
        pytest.param([link("lib", "bin")], "outside bin/ and lib/", id="lib-is-a-link"),
        pytest.param([link("lib/a", "/etc/passwd")], "leads to", id="absolute-link"),
        pytest.param([link("lib/a", "../../out")], "leads to", id="link-leads-out"),
        pytest.param([link("lib/a", "../other/b")], "leads to", id="link-to-another-folder"),
        pytest.param([link("lib/a", "..")], "leads to", id="link-to-the-top"),
        pytest.param([link("lib/a/b", "c/../d")], "leads to", id="link-that-hides-its-way"),
        pytest.param([link("lib/a", "")], "leads to", id="link-to-nothing"),
        pytest.param(
            [folder("lib/d"), link("lib/a", "d"), file("lib/a/out", b"")],
            "a link or a file",
            id="through-a-link",
        ),
        pytest.param(
            [file("lib/a", b""), file("lib/a/b", b"")], "a link or a file", id="below-a-file"
        ),
        pytest.param(
            [file("lib/a", b""), folder("lib/a")], "a link or a file", id="folder-over-a-file"
        ),
        pytest.param([folder("lib/a"), file("lib/a", b"")], "replace a folder", id="over-a-folder"),
        pytest.param([link("lib/a", "/etc/passwd", tarfile.LNKTYPE)], "leads to", id="hard-out"),
        pytest.param([link("lib/a", "lib/b", tarfile.LNKTYPE)], "of no file", id="hard-to-nothing"),
        pytest.param([special("lib/a", tarfile.CHRTYPE)], "device", id="device"),
        pytest.param([special("lib/a", tarfile.FIFOTYPE)], "device or a pipe", id="pipe"),
        pytest.param([file("bin/a", b"", 0o4755)], "another user", id="setuid"),
        pytest.param([file("bin/a", b"", 0o2755)], "another user", id="setgid"),
    ],
)
def test_a_hostile_member_is_refused(
    tmp_path: Path, made: Path, quiet: Quiet, members: Members, why: str
) -> None:
    with pytest.raises(SourceCorrupt, match=why):
        unpack(archive(tmp_path / "evil.tar.zst", members), made, quiet)

    assert [p.name for p in tmp_path.iterdir() if p.name != "evil.tar.zst"] == ["scratch"]
    assert [p.name for p in (tmp_path / "scratch").iterdir()] == ["made"]


_STEP = st.sampled_from(["a", "b", "c", "..", "lib", "bin"])
_PATH = st.lists(_STEP, min_size=1, max_size=4).map("/".join)
_NAME = _PATH.map("lib/{}".format)
_MEMBER = st.one_of(
    st.builds(file, _NAME, st.just(b"x")),
    st.builds(folder, _NAME),
    st.builds(link, _NAME, _PATH),
    st.builds(link, _NAME, _NAME, st.just(tarfile.LNKTYPE)),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(_MEMBER, max_size=6))
def test_no_links_together_lead_out(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch).resolve() / "scratch" / "made"
        made.mkdir(parents=True)
        path = archive(Path(scratch) / "a.tgz", members)
        with suppress(SourceCorrupt):
            unpack(path, made, Quiet())
        for each in made.rglob("*"):
            end = Path(os.path.realpath(each))
            assert end.is_relative_to(made / "lib") or end.is_relative_to(made / "bin")
        assert [p.name for p in made.parent.iterdir()] == ["made"]


@pytest.mark.parametrize("ending", ["tar.zst", "tgz"])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_what_is_no_whole_archive_is_named(
    tmp_path: Path, made: Path, quiet: Quiet, ending: str, kept: float
) -> None:
    path = archive(tmp_path / f"torn.{ending}", small("1", bytes(10**6)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)] or b"no archive at all")

    with pytest.raises(SourceCorrupt, match=r"torn\..* cannot be unpacked"):
        unpack(path, made, quiet)


@pytest.mark.parametrize("told", [{"map": "1,a,b"}, {"major": "1", "minor": "0"}])
def test_holes_that_make_no_sense_are_refused(
    tmp_path: Path, made: Path, quiet: Quiet, told: dict[str, str]
) -> None:
    member, data = file("bin/ollama", b"x")
    member.pax_headers = {f"GNU.sparse.{name}": value for name, value in told.items()}
    with pytest.raises(SourceCorrupt, match="cannot be unpacked"):
        unpack(archive(tmp_path / "a.tgz", [(member, data)]), made, quiet)


def test_an_archive_that_takes_gigabytes_to_unpack_is_refused(
    tmp_path: Path, made: Path, quiet: Quiet
) -> None:
    path = archive(tmp_path / "a.tar.zst", small("1"))
    plain = zstandard.ZstdDecompressor().decompress(path.read_bytes())
    wide = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    squeezed = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    path.write_bytes(squeezed.compress(plain) + squeezed.flush())

    with pytest.raises(SourceCorrupt, match="memory"):
        unpack(path, made, quiet)


def test_a_member_that_does_not_fit_is_not_begun(tmp_path: Path, quiet: Quiet) -> None:
    members = [file("lib/a", b"a"), file("lib/zeros", bytes(40 * 2**20))]
    path = archive(tmp_path / "bomb.tar.zst", members)

    with small_disk(tmp_path / "disk", "48m") as disk:
        with pytest.raises(DiskFull) as e:
            unpack(path, disk, quiet)
        assert not (disk / "lib/zeros").exists()

    assert e.value.details["needed_bytes"] > 40 * 2**20
