"""`deploy plan --rehearse`: the plan, and what a stand-in of its pick proved on this server."""

import os
from typing import Any

import click

from orchestrator.cli.render import emit
from orchestrator.cli.render import plan as render_plan
from orchestrator.cli.render_rehearsal import rehearsal as render
from orchestrator.cli.terminal import progress
from orchestrator.errors import (
    DeployError,
    Inconclusive,
    NothingFits,
    PromiseBroken,
    ServerUnreachable,
)
from orchestrator.lock import only_one
from orchestrator.order import Order, intend, nothing_fits
from orchestrator.plan import Plan
from orchestrator.rehearse import Rehearsal, clear, rehearse
from orchestrator.survey import survey

_HINT = "`deploy auto --rehearse` steps down to the next that holds"


def show_rehearsed(order: Order, *, as_json: bool) -> None:
    """Print both; what does not hold, or does not fit, is still printed, with its exit code.

    Raises ServerUnreachable: a rehearsal needs the server, and starts none.
    """
    with only_one(order.home, os.environ, "plan --rehearse"), progress() as screen:
        seen = survey(order.home, os.environ, parallel=order.profile.parallel)
        if not seen.answers:
            raise ServerUnreachable(f"no Ollama server at {seen.server.host} to rehearse on")
        clear(order, seen, screen)
        seen = survey(order.home, os.environ, parallel=order.profile.parallel)  # it may have freed
        found = intend(order, seen)
        done = None
        if found.chosen:
            done = rehearse(order, seen, found.chosen, screen, slow=found.slow)
    document: dict[str, Any] = {
        "schema": 1,
        "plan": found.to_json(),
        "rehearsal": done.to_json() if done else None,
    }
    text = render_plan(document["plan"], found.warnings)
    emit(document, text + (render(document["rehearsal"]) if done else ""), as_json=as_json)
    if failure := _failure(found, done):
        click.echo(f"error: {failure.what}\nhint: {failure.hint}", err=True)
        raise click.exceptions.Exit(failure.exit_code if done else NothingFits.exit_code)


def _failure(found: Plan, done: Rehearsal | None) -> DeployError | None:
    """Return what does not hold, or does not fit; None: nothing speaks against the pick."""
    if done is None:
        return nothing_fits(found)
    if done.rejection is None:
        return None
    what = f"{done.rejection.tag}: {done.said}"
    return Inconclusive(what) if done.inconclusive else PromiseBroken(what, hint=_HINT)
