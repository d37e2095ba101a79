"""The bytes of an import, against what a disk was seen to hold at most."""

import pytest

from orchestrator.importing.needs import import_peak_bytes, made_bytes

MB = 1_000_000


@pytest.mark.parametrize(
    ("quantized_bytes", "seen_bytes"),
    [(None, 384_143_360), (36_700_000, 384_143_360), (68_000_000, 392_000_000)],
)
def test_the_peak_is_that_of_a_model_of_128_mb(
    quantized_bytes: int | None, seen_bytes: int
) -> None:
    found = import_peak_bytes(128_028_672, 128_038_144, quantized_bytes)
    assert seen_bytes <= found <= 1.01 * seen_bytes


def test_a_layout_that_is_not_known_is_taken_for_f16() -> None:
    config = {"architectures": ["Gemma3ForCausalLM"]}
    made = made_bytes(config, 1000 * MB, 5 * MB, "Q8_0")
    assert made.f16_bytes == 1005 * MB
    assert made.quantized_bytes == pytest.approx(536 * MB, rel=0.01)
    assert made_bytes(config, 1000 * MB, 5 * MB, "F16").quantized_bytes is None
