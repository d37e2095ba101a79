"""Blocks of every type: finite, of zero mean, and of the size that ggml gives them."""

import gguf
import numpy as np
import pytest

from orchestrator.gguf.layout import layout
from orchestrator.gguf.mixture import QUANTIZATIONS
from orchestrator.standin.blocks import TYPES, Tape, blocks
from orchestrator.standin.metadata import ARCHITECTURES
from tests.shapes import CATALOG

_DEVIATION = 0.01


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_the_values_are_finite_have_zero_mean_and_the_wished_deviation(kind: str) -> None:
    number = gguf.GGMLQuantizationType[kind]
    elements, size = gguf.GGML_QUANT_SIZES[number]
    raw = blocks(kind, _DEVIATION)
    assert len(raw) % size == 0
    values = gguf.dequantize(raw.reshape(-1, size), number).astype(np.float64)
    assert values.size == len(raw) // size * elements
    assert np.isfinite(values).all()
    deviation = values.std()
    assert 1 / 1.5 < deviation / _DEVIATION < 1.5
    assert abs(values.mean()) < 6 * deviation / np.sqrt(values.size)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_type_in_the_files_of_the_library_can_be_written(name: str) -> None:
    found = {
        (c.architecture, c.quantization, c.rule)
        for c in CATALOG.candidates
        if c.architecture.name == name and c.quantization in QUANTIZATIONS
    }
    assert found
    assert {t.type for each in found for t in layout(*each)} <= TYPES


def test_a_tape_goes_on_where_it_was_left_and_round_at_its_end() -> None:
    whole = blocks("Q4_0", _DEVIATION).tobytes()
    tape = Tape("Q4_0", _DEVIATION)
    first = b"".join(tape.read(1800))
    assert first == whole[:1800]
    rest = b"".join(tape.read(len(whole)))
    assert rest == whole[1800:] + whole[:1800]
    assert list(tape.read(0)) == []
