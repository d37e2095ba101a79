"""--quantize: the library's own file where it has one, else the layout and a known header."""

from dataclasses import replace

import pytest

from orchestrator.catalog.requantized import requantized
from orchestrator.errors import InvalidInput
from orchestrator.gguf.layout import laid_out
from orchestrator.gguf.weigh import weights_of
from tests.shapes import CATALOG, uneven

R1_7B = CATALOG.find("deepseek-r1:7b")
LLAMA_8B = CATALOG.find("deepseek-r1:8b-llama-distill-q4_K_M")


@pytest.mark.parametrize("wish", ["q8_0", "Q8_0"])
def test_the_library_has_its_own_file(wish: str) -> None:
    assert requantized(CATALOG, R1_7B, wish).tag == "deepseek-r1:7b-qwen-distill-q8_0"


def test_another_quantization_is_laid_out_and_keeps_the_header() -> None:
    found = requantized(CATALOG, R1_7B, "Q6_K")
    tensors = laid_out(R1_7B.architecture, "Q6_K").total_bytes
    assert found.tensor_bytes == tensors
    assert found.file_bytes == tensors + 5_953_184, "the header of the 7b's own file"
    assert (found.quantization, found.bytes_basis, found.digest) == ("Q6_K", "layout", None)
    assert weights_of(found) == laid_out(R1_7B.architecture, "Q6_K")


def test_the_header_is_that_of_a_file_of_the_same_model() -> None:
    found = requantized(CATALOG, CATALOG.find("deepseek-r1:7b-qwen-distill-fp16"), "Q5_1")
    assert found.tensor_bytes is not None
    assert found.file_bytes - found.tensor_bytes == 5_953_184


def test_without_a_known_header_the_vocabulary_tells_its_length() -> None:
    found = requantized(CATALOG, LLAMA_8B, "Q5_1")
    assert found.tensor_bytes is not None
    assert found.file_bytes - found.tensor_bytes == 128256 * 61


def test_a_file_that_was_read_keeps_its_header() -> None:
    read = replace(R1_7B, weights=uneven(R1_7B.architecture, [7], 3, 4), file_bytes=1000)
    assert read.weights is not None
    found = requantized(CATALOG, replace(read, model="mine"), "Q6_K")
    assert found.weights is None
    assert found.file_bytes == laid_out(R1_7B.architecture, "Q6_K").total_bytes + 1000 - (
        read.weights.total_bytes
    )


def test_it_is_laid_out_as_llama_cpp_does_whoever_wrote_the_original() -> None:
    found = requantized(CATALOG, CATALOG.find("qwen3:8b"), "Q5_K_M")
    assert found.rule == "llama.cpp"
    assert weights_of(found) == laid_out(found.architecture, "Q5_K_M", "llama.cpp")


def test_what_ggml_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidInput, match="Q9_K") as caught:
        requantized(CATALOG, R1_7B, "Q9_K")
    assert "Q4_K_M" in (caught.value.hint or "")
