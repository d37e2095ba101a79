"""`deploy bench MODEL` and `deploy bench accept RUN`."""

import os
from typing import Any

import click

from orchestrator.cli.options import common, duration_option, start_log
from orchestrator.cli.order import order_of
from orchestrator.cli.render import emit
from orchestrator.cli.render_bench import bench as render
from orchestrator.cli.terminal import progress
from orchestrator.errors import (
    BenchRegressed,
    DiskFull,
    Inconclusive,
    PromiseBroken,
    ServerUnreachable,
)
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.lock import only_one
from orchestrator.measure import Asked
from orchestrator.measure import bench as measure
from orchestrator.survey import survey

_MOST_USERS = 64
_LEAST_BUDGET_S = 10.0


class _Bench(click.Group):
    """A command that takes a model, unless its first word is one of its own commands."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse for the command that is meant."""
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return one_model.make_context(info_name, args, parent, **extra)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return no flags of measuring: its own commands take none of them."""
        return [p for p in super().get_params(ctx) if p not in self.params]

    def get_help(self, ctx: click.Context) -> str:
        """Return the help of measuring a model: that is what the name stands for."""
        return one_model.get_help(click.Context(one_model, ctx.parent, ctx.info_name))


def _users(
    _ctx: click.Context, _param: click.Parameter, text: str | None
) -> tuple[int, ...] | None:
    """Read numbers of users at once: 1,2,4."""
    if text is None:
        return None
    if text.strip() == "0":
        return ()
    words = [word.strip() for word in text.split(",")]
    if not all(w.isascii() and w.isdigit() and len(w) < 9 for w in words):
        raise click.BadParameter(f"{text!r}: write numbers of users, as in 1,2,4")
    users = tuple(sorted({int(w) for w in words}))
    if not 1 <= users[0] <= users[-1] <= _MOST_USERS:
        raise click.BadParameter(f"{text!r}: from 1 to {_MOST_USERS} users")
    return users


@click.command("bench")
@click.argument("model", required=False)
@click.option("--quick", is_flag=True, help="About a minute: fewer, shorter samples.")
@click.option("--full", is_flag=True, help="Up to an hour: deeper prompts, the context filled.")
@click.option("--time-budget", callback=duration_option, help="Bound on all of it: 90s, 5m, 1h.")
@click.option("--concurrency", "users", callback=_users, help="Users at once: 1,2,4; 0: none.")
@click.option("--compare", "against", type=int, metavar="RUN", help="Instead of the baseline.")
@click.option("--check", is_flag=True, help="Exit 7 when the estimate does not hold.")
@click.option("--context", type=int, help="Tokens a slot, for a model that is not deployed.")
@click.option("--profile", "profile_name", metavar="NAME|FILE")
@common
def one_model(
    model: str | None,
    quick: bool,
    full: bool,
    time_budget: float | None,
    users: tuple[int, ...] | None,
    against: int | None,
    check: bool,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
    **flags: Any,
) -> None:
    """Measure MODEL, a model on the server: speed, first token, load time, peak memory.

    The name of a deployment (its tag, alias or derived name) is measured with its own options.
    Speed is held against earlier runs of the same kind; a loss is measured again at once, and
    exits with 8 if that confirms it. Without MODEL, --compare RUN measures that run's model. Exit
    9: the box was too noisy, or the runs do not compare. `deploy bench accept RUN` pins a run as
    the baseline.
    """
    start_log(verbose=verbose, log_format=log_format)
    if quick and full:
        raise click.UsageError("--quick and --full exclude each other")
    if time_budget is not None and time_budget < _LEAST_BUDGET_S:
        raise click.UsageError(f"--time-budget: {time_budget:g} s measure nothing; at least 10s")
    order = order_of((), flags)
    if model is None and against is None:
        raise click.UsageError("Missing argument 'MODEL'.")
    model = model or Ledger(order.home.ledger).known_run(against or 0)["model"]
    seen = survey(order.home, order.environ, parallel=order.profile.parallel)
    if not seen.answers:
        raise ServerUnreachable(f"no Ollama server answers at {seen.server.host}")
    asked = Asked(
        effort="quick" if quick else "full" if full else "default",
        time_budget_s=time_budget,
        users=users,
        against=against,
    )
    with only_one(order.home, order.environ, "bench"), progress() as screen:
        document = measure(order, seen, model, asked, screen)
    emit(document, render(document), as_json=as_json)
    raise click.exceptions.Exit(_code(document, check=check))


def _code(document: dict[str, Any], *, check: bool) -> int:
    """Return the exit code of a measurement. Noise says nothing against a broken promise."""
    if document["id"] is None:
        return DiskFull.exit_code
    verdict, comparison = document["verdict"]["outcome"], document["comparison"]["outcome"]
    if check and verdict == "failed":
        return PromiseBroken.exit_code
    if "inconclusive" in (verdict, comparison) or comparison == "not_comparable":
        return Inconclusive.exit_code
    if comparison == "regressed":
        return BenchRegressed.exit_code
    return 0


bench = _Bench("bench", params=one_model.params, help="Measure a model, or accept a run.")


@bench.command()
@click.argument("run", type=int)
@common
def accept(run: int, as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Pin RUN, a bench run of `deploy history`, as the baseline of its kind.

    Later runs are held against it beside the last ten, so that a slow decline shows. It replaces
    the run that was pinned before.
    """
    start_log(verbose=verbose, log_format=log_format)
    ledger = Ledger(Home.of(os.environ).ledger)
    found = ledger.known_run(run)
    ledger.pin(run)
    rate = found["metrics"]["decode_tps"]
    said = f"run {run} of {found['model']} is the baseline of its kind from now on"
    speed = f": decode {rate['median']:.1f} tokens/s" if rate else ""
    document = {"schema": 1, "run": run, "key": found["key"], "model": found["model"]}
    emit(document, f"{said}{speed}", as_json=as_json)
