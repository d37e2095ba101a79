"""`deploy explain [TAG|TOPIC]`, and `deploy explain --what-if KEY=VALUE...`."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from orchestrator.cli import render_explain as render
from orchestrator.cli.options import common, planning, read_json, start_log
from orchestrator.cli.order import order_of
from orchestrator.cli.render import emit
from orchestrator.errors import DeployError, InvalidInput, UnknownModel
from orchestrator.explain import topics
from orchestrator.explain.case import Case
from orchestrator.explain.changes import changed
from orchestrator.explain.changes import parse as parse_changes
from orchestrator.explain.explanation import explained
from orchestrator.explain.topics.here import here
from orchestrator.explain.whatif import compared
from orchestrator.machine_file import from_json
from orchestrator.order import Order, intend, nothing_fits
from orchestrator.plan import Plan
from orchestrator.server import Server
from orchestrator.survey import Survey, survey

_LIST = "topics"


@click.command()
@click.argument("words", metavar="[TAG|TOPIC|topics] [KEY=VALUE]...", nargs=-1)
@click.option("--what-if", is_flag=True, help="Before and after: --what-if context=32768 kv=q8_0")
@click.option("--server-version", help="Explain for this version of Ollama.")
@click.option("--machine", "machine_path", metavar="FILE", help="A machine from `probe --json`.")
@planning
@common
def explain(
    words: tuple[str, ...],
    what_if: bool,
    server_version: str | None,
    machine_path: str | None,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
    **flags: Any,
) -> None:
    """Say why this model, what it takes and how far it reaches, with this machine's numbers.

    Without a word: what a plan picks here. With a TAG: that model. With a TOPIC: what people say of
    it and what is so; `deploy explain topics` lists them. --what-if compares before and after for
    the keys context, parallel, kv, flash, quantize, min-tps and server-version.
    """
    start_log(verbose=verbose, log_format=log_format)
    subject, keys = _split(words, what_if=what_if)
    if subject == _LIST:
        found = [{"name": t.name, "title": t.title, "group": t.group} for t in topics.all_topics()]
        listed = {"schema": 1, "about": "topics", "topics": found}
        return emit(listed, render.topics(listed), as_json=as_json)
    order = order_of((), flags)
    if subject and (topic := topics.find(subject)):
        return _topic(topic, order, machine_path, server_version, as_json=as_json)
    if subject:
        order = replace(order, tags=(subject,))
        _check(subject, order)
    changes = parse_changes(keys) if what_if else None
    seen = _surveyed(order, machine_path, server_version)
    plan = None if subject else intend(order, seen)
    if plan and not plan.chosen:
        raise nothing_fits(plan)
    case = _case(order, seen, plan)
    if changes is None:
        document = _explained(case, order, plan)
        return emit(document, render.model(document), as_json=as_json)
    after = changed(case, changes, order.catalog)
    others = () if subject else order.candidates
    document = compared(changes, case, after, others).to_json()
    return emit(document, render.what_if(document), as_json=as_json)


def _split(words: Sequence[str], *, what_if: bool) -> tuple[str | None, tuple[str, ...]]:
    """Return the tag or topic, and the words that name a change."""
    keys = tuple(w for w in words if "=" in w)
    names = [w for w in words if "=" not in w]
    if keys and not what_if:
        hint = f"deploy explain {' '.join([*names, '--what-if', *keys])}"
        raise InvalidInput(f"{keys[0]} is a change: put --what-if before it", hint=hint)
    if len(names) > 1:
        raise InvalidInput(
            f"one tag or topic at a time, not {len(names)}: {', '.join(names)}",
            hint=f"deploy explain {names[0]}",
        )
    if what_if and names and (names[0] == _LIST or topics.find(names[0])):
        raise InvalidInput(f"--what-if changes a model, and {names[0]} is a topic")
    return (names[0] if names else None), keys


def _check(subject: str, order: Order) -> None:
    """Raise UnknownModel, with the nearest topic and tags, for what is neither."""
    try:
        _ = order.candidates
    except UnknownModel as e:
        listed = f"`deploy explain {_LIST}` lists the topics"
        near = topics.nearest(subject)
        if near:
            what = f"{subject!r} is neither a model nor a topic"
            raise UnknownModel(what, hint=f"`deploy explain {near}`? {listed}; {e.hint}") from e
        what = (
            e.what if "does not exist" in e.what else f"{subject!r} is neither a model nor a topic"
        )
        raise UnknownModel(what, hint=f"{listed}; {e.hint}") from e


def _case(order: Order, seen: Survey, plan: Plan | None) -> Case:
    """Return the case of the plan's pick, else of the model that was named."""
    chosen = plan.chosen.candidate if plan and plan.chosen else order.candidates[0]
    return Case(
        profile=order.profile,
        machine=seen.machine,
        candidate=chosen,
        wishes=order.wishes,
        installed=seen.names,
        partials=seen.partials,
    )


def _explained(case: Case, order: Order, plan: Plan | None) -> dict[str, Any]:
    """Return the document of a model; the pick is explained in the placement of its plan."""
    others = order.catalog.candidates
    if plan is None or plan.chosen is None:
        return explained(case, others).to_json()
    kind = plan.chosen.placement.kind
    pinned = replace(case, profile=replace(case.profile, placement=kind))
    return explained(pinned, others, picked=True, why=plan.why, rejected=plan.rejected).to_json()


def _topic(
    topic: topics.Topic,
    order: Order,
    machine_path: str | None,
    server_version: str | None,
    *,
    as_json: bool,
) -> None:
    """Print a topic; what it means here is left out where the machine cannot be looked at."""
    lines: tuple[str, ...] = ()
    try:
        seen = _surveyed(order, machine_path, server_version)
        plan = intend(order, seen)
        lines = here(topic.name, seen.machine, _case(order, seen, plan) if plan.chosen else None)
    except DeployError:
        if machine_path or server_version:
            raise
    document = {"schema": 1, "about": "topic", "topic": {**topic.to_json(), "here": list(lines)}}
    emit(document, render.topic(document), as_json=as_json)


def _surveyed(order: Order, machine_path: str | None, server_version: str | None) -> Survey:
    if machine_path is None:
        seen = survey(order.home, os.environ, parallel=order.profile.parallel)
        return seen.with_version(server_version)
    document = read_json(machine_path)
    machine = from_json(document, source=machine_path, server_version=server_version)
    server = Server(machine.server.host or "")
    return Survey(server=server, answers=False, machine=machine).with_version(server_version)
