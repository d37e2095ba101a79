"""docs/what-fits.md is what the plan says of the machines in scripts/machines/."""

import json
from pathlib import Path

import pytest

from scripts import card_table
from scripts.card_table import CARDS, CLAIMED, CONTEXTS, MACHINES, PAGE, SERVERS, VERSION


def test_page_is_current() -> None:
    assert PAGE.read_text("utf-8") == card_table.page(), "run python scripts/card_table.py"


def test_check_fails_on_an_old_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "what-fits.md"
    monkeypatch.setattr(card_table, "PAGE", old)
    assert card_table.main(["--check"]) == 1
    assert card_table.main([]) == 0
    assert card_table.main(["--check"]) == 0


def test_every_machine_file_has_its_row() -> None:
    assert sorted((*CARDS, *SERVERS)) == sorted(path.stem for path in MACHINES.glob("*.json"))
    assert len(CARDS) == 12


@pytest.mark.parametrize("name", [*CARDS, *SERVERS])
@pytest.mark.parametrize("context", CONTEXTS)
def test_what_a_machine_holds_fits_it(name: str, context: int) -> None:
    """The page is not only what the code says: no card gives more than its owner bought."""
    for any_family in (False, True):
        chosen = card_table.plan(name, VERSION, context, any_family=any_family).chosen
        assert chosen
        assert chosen.estimate.load.run.context == min(
            context, chosen.candidate.architecture.context_length
        )
        machine = card_table.machine(name, VERSION)
        sizes = {a.index: a.memory_total_bytes or 0 for a in machine.accelerators}
        assert all(d.bytes < sizes[d.index] for d in chosen.estimate.devices)
        assert chosen.placement.kind == ("cpu" if name == "gt-710" else "gpu")


@pytest.mark.parametrize(("tag", "file_gb", "memory_gb"), CLAIMED)
def test_what_the_article_says_of_4k_is_near(tag: str, file_gb: float, memory_gb: float) -> None:
    [row] = [row for row in card_table.claimed() if row[0] == tag]
    assert float(row[2].split()[0]) == pytest.approx(file_gb, rel=0.02)
    assert float(row[4].split()[0]) == pytest.approx(memory_gb, rel=0.2)


def test_the_files_describe_whole_machines() -> None:
    for path in MACHINES.glob("*.json"):
        document = json.loads(path.read_text("utf-8"))
        assert {"host", "memory", "disk", "accelerators"} <= document.keys()
