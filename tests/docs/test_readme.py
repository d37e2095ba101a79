"""What README and docs tell a reader to type exists, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

from orchestrator.cli.main import COMMANDS
from tests.docs.command_lines import lines_of, problems
from tests.docs.markdown import Code, anchors_of, broken_links, code_of

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_line_and_flag_exists(page: Path) -> None:
    assert not [p for code in code_of(page.read_text("utf-8")) for p in problems(code)]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_resolves(page: Path) -> None:
    assert not broken_links(page, page.read_text("utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_fence_says_its_language_and_is_closed(page: Path) -> None:
    fences = re.findall(r"^ *```(.*)$", page.read_text("utf-8"), re.MULTILINE)
    assert all(fences[::2])
    assert not any(fences[1::2])
    assert len(fences) % 2 == 0


def test_readme_shows_every_command_in_its_table() -> None:
    rows = re.findall(r"^\| `deploy (\w+)", README.read_text("utf-8"), re.MULTILINE)
    assert sorted(set(rows)) == sorted(COMMANDS)


def test_readme_has_the_capture_between_its_marks() -> None:
    capture = README.read_text("utf-8").split("<!-- capture: deploy auto -->")[1]
    [block] = code_of(capture.split("<!-- /capture -->")[0])
    assert block.text.startswith("$ deploy auto")
    assert "promised" in block.text


@pytest.mark.parametrize("command", ["make auto", "make test"])
def test_readme_gives_the_two_commands_and_the_makefile_has_them(command: str) -> None:
    shown = [line for c in code_of(README.read_text("utf-8")) for line in c.text.splitlines()]
    assert command in shown
    target = command.removeprefix("make ")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    shown = [line for c in code_of(README.read_text("utf-8")) for line in c.text.splitlines()]
    [command] = {line for line in shown if line.startswith("make test")}
    assert command in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_page_names_a_folder_of_the_box_that_it_was_written_on(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not re.findall(r"(?<![\w.~])/(?:work|tmp|root|home/(?!you\b))[/\w.-]*", text)


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        pytest.param(Code("deploy auto --dry-run"), 0, id="a-command-with-its-flag"),
        pytest.param(Code("deploy frobnicate"), 1, id="no-such-command"),
        pytest.param(Code("deploy plan --fallback starter"), 1, id="a-flag-of-another-command"),
        pytest.param(Code("deploy runtime start --parallel 2"), 0, id="subcommand"),
        pytest.param(Code("deploy runtime restart"), 1, id="no-such-subcommand"),
        pytest.param(Code("deploy COMMAND --help"), 0, id="placeholder"),
        pytest.param(Code("deploy TAG --jsno"), 1, id="flag-after-a-placeholder"),
        pytest.param(Code('eval "$(deploy env --profil chat)"', "sh"), 1, id="inside-a-shell-word"),
        pytest.param(Code(".venv/bin/deploy statut", "sh"), 1, id="path-before-it"),
        pytest.param(Code("deploy auto \\\n  --registy URL", "sh"), 1, id="continued-line"),
        pytest.param(Code("deploy catalog | head --lines 3", "sh"), 0, id="the-flag-of-the-pipe"),
        pytest.param(Code("$ deploy auto\ndeploy otto", "text"), 0, id="output-is-no-command"),
        pytest.param(Code("$ deploy otto", "text"), 1, id="behind-a-prompt"),
        pytest.param(Code("--min-tps"), 0, id="a-flag-alone"),
        pytest.param(Code("--min-tsp 4"), 1, id="no-such-flag-alone"),
        pytest.param(Code("deploy/deepseek-r1:14b-ctx8192"), 0, id="a-model-is-no-command"),
    ],
)
def test_the_check_itself_can_fail(code: Code, wrong: int) -> None:
    assert len(problems(code)) == wrong


def test_the_pages_hold_many_command_lines() -> None:
    """Were the pattern to break, nothing would be checked any more."""
    found = [
        line for page in PAGES for c in code_of(page.read_text("utf-8")) for line in lines_of(c)
    ]
    assert len(found) > 40


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A title\n[here](page.md#a-title) [dead](no.md) [too](#none) `[x](y)`")
    text = page.read_text("utf-8")
    assert broken_links(page, text) == ["no.md", "#none"]
    assert anchors_of("## What it does, `really`") == {"what-it-does-really"}
