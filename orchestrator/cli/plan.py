"""`deploy plan [TAG...]`, and its questions about several machines or several models."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from orchestrator.cli.options import common, planning, read_json, start_log
from orchestrator.cli.order import order_of
from orchestrator.cli.render import emit
from orchestrator.cli.render import plan as render
from orchestrator.compare import compare as plan_each
from orchestrator.era import ServerVersion
from orchestrator.errors import NothingFits
from orchestrator.home import Home
from orchestrator.machine import Machine
from orchestrator.machine_file import from_json
from orchestrator.order import Order, intend, nothing_fits
from orchestrator.plan import Plan
from orchestrator.server import Server
from orchestrator.survey import Survey, survey
from orchestrator.together import together as load_all

NOTHING_FITS = NothingFits.exit_code


@click.command()
@click.argument("words", metavar="[TAG]...", nargs=-1)
@click.option("--server-version", help="Plan for this version of Ollama.")
@click.option("--machine", "machine_path", metavar="FILE", help="A machine from `probe --json`.")
@click.option("--compare", is_flag=True, help="Machine files side by side: --compare a.json b.json")
@click.option("--together", is_flag=True, help="Whether all TAGs can be loaded at once.")
@click.option("--rehearse", is_flag=True, help="Load a stand-in of its exact shape, and measure.")
@planning
@common
def plan(
    words: tuple[str, ...],
    server_version: str | None,
    machine_path: str | None,
    compare: bool,
    together: bool,
    rehearse: bool,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
    **flags: Any,
) -> None:
    """Say what would be deployed here, and why nothing larger. TAGs restrict the choice.

    With --compare, words that end in .json are machine files: which box should it be? With
    --together the TAGs are loaded one after another, the largest first. Exit 3: nothing fits; with
    --compare on no machine, with --together not all of them. With --rehearse nothing is downloaded
    either; exit 7: what the stand-in took or did is not what the plan promises.
    """
    start_log(verbose=verbose, log_format=log_format)
    files = [w for w in words if _is_file(w)]
    _check(files, machine_path, compare=compare, together=together)
    if rehearse and (compare or together or machine_path or server_version):
        raise click.UsageError("--rehearse is done on this machine and its server, one model")
    order = order_of([w for w in words if w not in files], flags)
    if rehearse:
        from orchestrator.cli.rehearse import show_rehearsed

        return show_rehearsed(order, as_json=as_json)
    if compare:
        return show_compared(order, _machines(files, server_version), as_json=as_json)
    seen = _surveyed(order, machine_path, server_version)
    if together:
        return show_together(order, seen, as_json=as_json)
    return show(intend(order, seen), as_json=as_json)


def _is_file(word: str) -> bool:
    """Whether a word is a machine file and no tag: tags do not begin with a path."""
    return word.endswith(".json") or word.startswith(("/", "./", "../"))


def _check(
    files: Sequence[str], machine_path: str | None, *, compare: bool, together: bool
) -> None:
    if compare and (together or machine_path):
        other = "--together" if together else "--machine"
        raise click.UsageError(f"--compare and {other} exclude each other")
    if compare and not files:
        raise click.UsageError("--compare needs machine files: deploy plan --compare a.json b.json")
    if files and not compare:
        raise click.UsageError(f"{files[0]} is a machine file; put --machine or --compare before")


def show(found: Plan, *, as_json: bool) -> None:
    """Print a plan; one without a pick is still printed, and ends with exit code 3."""
    emit(found.to_json(), render(found.to_json(), found.warnings), as_json=as_json)
    if as_json:
        for warning in found.warnings:
            click.echo(f"warning: {warning}", err=True)
    if found.chosen is None:
        failure = nothing_fits(found)
        _end(failure.what, failure.hint)


def show_compared(order: Order, machines: dict[str, Machine], *, as_json: bool) -> None:
    """Print a plan a machine, side by side; exit code 3 where no machine holds anything.

    All are held against the raw estimates: a box where something was measured would be judged by
    other figures than one that nobody has yet.
    """
    from orchestrator.cli.render_plan import compare as render_compared

    found = plan_each(
        order.profile, machines, order.candidates, wishes=order.wishes, named=bool(order.tags)
    )
    plans = [each.to_json() for each in found]
    document = {"schema": 1, "profile": order.profile.name, "plans": plans}
    emit(document, render_compared(document), as_json=as_json)
    if not any(each.plan.chosen for each in found):
        least = nothing_fits(found[0].plan)
        _end(f"no machine holds any of these models; {found[0].source}: {least.what}", least.hint)


def show_together(order: Order, seen: Survey, *, as_json: bool) -> None:
    """Print whether the named models are loaded at once; exit code 3 where they are not."""
    from orchestrator.cli.render_plan import together as render_together

    files = order.candidates
    if not order.tags or len(files) < 2:
        raise click.UsageError("--together needs two different models: --together TAG TAG")
    terms = replace(order.terms(seen.machine), installed=seen.names, partials=seen.partials)
    if terms.grades.fault:
        click.echo(f"warning: {terms.grades.fault}", err=True)
    found = load_all(files, terms)
    document = found.to_json()
    emit(document, render_together(document), as_json=as_json)
    if found.missing:
        first = found.missing[0]
        what = f"{len(found.missing)} of {len(files)} models find no place beside the others"
        hint = "name smaller models, lower --context, or raise OLLAMA_MAX_LOADED_MODELS"
        _end(f"{what}; {first.tag}: {first.detail}", hint)


def _end(what: str, hint: str) -> None:
    click.echo(f"error: {what}\nhint: {hint}", err=True)
    raise click.exceptions.Exit(NOTHING_FITS)


def _machines(files: Sequence[str], server_version: str | None) -> dict[str, Machine]:
    return {file: _described(file, server_version) for file in files}


def _described(path: str, server_version: str | None) -> Machine:
    """Return the machine of a file, under another version of Ollama if one is named."""
    machine = from_json(read_json(path), source=path, server_version=server_version)
    if server_version is None:
        return machine
    version = str(ServerVersion.parse(server_version))
    return replace(machine, server=replace(machine.server, version=version))


def _surveyed(order: Order, machine_path: str | None, server_version: str | None) -> Survey:
    if machine_path is None:
        home = Home.of(os.environ)
        seen = survey(home, os.environ, parallel=order.profile.parallel)
        return seen.with_version(server_version)
    machine = _described(machine_path, server_version)
    return Survey(server=Server(machine.server.host or ""), answers=False, machine=machine)
