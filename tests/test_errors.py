"""The error tree is what its pages say."""

import json
import re
from collections import defaultdict
from pathlib import Path

import jsonschema
import pytest

from orchestrator import errors
from orchestrator.errors import DeployError, NothingFits
from orchestrator.schema import load

PAGE = Path(__file__).parents[1] / "docs" / "exit-codes.md"
CODES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 75, 130, 143)


def tree(root: type[DeployError] = DeployError) -> list[type[DeployError]]:
    return [root, *(each for child in root.__subclasses__() for each in tree(child))]


CLASSES = [c for c in dict.fromkeys(tree()) if c.__module__ == errors.__name__]


def test_every_code_of_the_design_has_a_class_and_no_other_is_used() -> None:
    assert tuple(sorted({c.exit_code for c in CLASSES})) == CODES


def test_one_code_is_one_family() -> None:
    families = defaultdict(set)
    for each in CLASSES:
        own = [c for c in each.__mro__ if c in CLASSES and c.exit_code == each.exit_code]
        families[each.exit_code].add(own[-1])
    shared = {code: sorted(c.__name__ for c in roots) for code, roots in families.items()}
    assert shared.pop(4) == ["ServerRefused", "ServerUnreachable"]
    assert all(len(names) == 1 for names in shared.values())


@pytest.mark.parametrize("each", CLASSES, ids=lambda c: c.__name__)
def test_each_class_says_what_and_what_next(each: type[DeployError]) -> None:
    assert each.__doc__
    assert each.remedy
    assert each("what").hint == each.remedy
    assert each("what", hint="next").hint == "next"


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = set(re.findall(r"[A-Z][A-Za-z]+", (errors.__doc__ or "").split("Codes are")[0]))
    names = {c.__name__ for c in CLASSES} - {"InternalFault"}
    assert names <= drawn
    for line in (errors.__doc__ or "").splitlines():
        for name, code in re.findall(r"([A-Z][a-zA-Z]+) (\d+)", line):
            assert getattr(errors, name).exit_code == int(code)


def listed() -> set[tuple[int, str]]:
    """Return (code, name in the second column) of every row of the page; "" for no class."""
    found = set()
    for row in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) > 3 and cells[1].isdigit():
            found |= {(int(cells[1]), name) for name in re.findall(r"\w+", cells[2]) or [""]}
    return found


def test_the_page_has_each_class_beside_its_code_and_no_other() -> None:
    assert listed() == {(0, "")} | {(c.exit_code, c.__name__) for c in CLASSES}


@pytest.mark.parametrize("each", CLASSES, ids=lambda c: c.__name__)
def test_the_document_of_an_error_is_valid(each: type[DeployError]) -> None:
    document = json.loads(json.dumps(each("what", path="$.memory").to_json()))
    jsonschema.validate(document, load("error"))
    assert document["error"]["code"] == each.exit_code
    assert document["error"]["name"] == each.__name__
    assert document["error"]["details"] == {"path": "$.memory"}


def test_an_error_reads_as_its_message() -> None:
    assert str(NothingFits("nothing fits in 2.0 GiB")) == "nothing fits in 2.0 GiB"
