"""The documents that other tests are written on are what the schema says."""

import jsonschema
import pytest

from orchestrator import schema
from tests.bench.documents import document


@pytest.mark.parametrize("gpu", [True, False])
def test_the_written_out_documents_are_valid(gpu: bool) -> None:
    jsonschema.validate(document(gpu=gpu), schema.load("bench"))
