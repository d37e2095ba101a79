"""docs/cli.md says what the commands say of themselves."""

import click
import pytest

from docs.generate_cli import PAGE, commands, main, page
from orchestrator.cli.main import COMMANDS, deploy

HELP = dict(commands())


def test_page_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "run python docs/generate_cli.py"


def test_every_command_has_its_section() -> None:
    assert {f"deploy {name}" for name in COMMANDS} <= HELP.keys()
    runtime = deploy.get_command(click.Context(deploy), "runtime")
    assert isinstance(runtime, click.Group)
    assert {f"deploy runtime {name}" for name in runtime.commands} <= HELP.keys()


@pytest.mark.parametrize("name", sorted(HELP))
def test_every_help_stands_on_the_page_under_the_command_name(name: str) -> None:
    _, _, section = PAGE.read_text("utf-8").partition(f"\n## {name}\n")
    section, _, _ = section.partition("\n## ")
    assert HELP[name].rstrip() in section


def test_the_list_of_commands_says_what_each_help_says_first() -> None:
    """The list is written by hand, so that `deploy --help` imports no command."""
    assert sorted(COMMANDS) == deploy.list_commands(click.Context(deploy))
    for name, (module, summary) in COMMANDS.items():
        assert module == name
        assert summary.endswith(".")


def test_check_fails_on_an_old_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    old = tmp_path_factory.mktemp("docs") / "cli.md"
    old.write_text(page().replace("deploy auto", "deploy otto"), "utf-8")
    monkeypatch.setattr("docs.generate_cli.PAGE", old)
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
