"""An order: what the user asked for, and the plan that it leads to on a surveyed machine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.budget import budget
from orchestrator.catalog import Catalog
from orchestrator.errors import DiskFull, NothingFits
from orchestrator.fit import Rejection, Terms
from orchestrator.grade import Deployed, Grades, grade
from orchestrator.home import Home
from orchestrator.machine import Machine
from orchestrator.model import Candidate
from orchestrator.plan import Plan, pick
from orchestrator.profile import Profile
from orchestrator.settings import Wishes
from orchestrator.survey import Survey
from orchestrator.units import gib


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Profile, catalogue and places; no tags: the profile decides.

    `rehearse`: a stand-in proves each candidate before its download.
    """

    profile: Profile
    catalog: Catalog
    home: Home
    environ: Mapping[str, str]
    tags: tuple[str, ...] = ()
    rehearse: bool = False

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The named models, or all. Raises UnknownModel."""
        if not self.tags:
            return self.catalog.candidates
        return tuple({c.tag: c for c in map(self.catalog.find, self.tags)}.values())

    @property
    def wishes(self) -> Wishes:
        """Context and slots, as far as a flag or the environment set them."""
        given = self.profile.origin.get("parallel", "").startswith(("--", "DEPLOY_"))
        parallel = self.profile.parallel if given else None
        return Wishes(context=self.profile.context, parallel=parallel)

    @property
    def asked(self) -> dict[str, Any]:
        """What decides the outcome: a run that asks the same may keep what serves."""
        profile = self.profile
        return {
            "tags": list(self.tags),
            "profile": profile.name,
            "context": profile.context,
            "parallel": self.wishes.parallel,
            "placement": profile.placement,
            "min_tps": profile.min_tps,
            "max_memory_bytes": profile.max_memory_bytes,
            "registry": profile.registry,
            "allow_licence": profile.allow_licence,
        }

    def terms(self, machine: Machine) -> Terms:
        """Return what a single candidate is judged by."""
        return Terms(
            profile=self.profile,
            machine=machine,
            budget=budget(machine, self.profile.max_memory_bytes),
            wishes=self.wishes,
            grades=grades(self.home, machine, self.profile.alias),
        )


_NEWEST_ROWS = 1000


def grades(home: Home, machine: Machine, alias: str | None = None) -> Grades:
    """Return what the ledger says of a machine, and what `alias` serves there.

    A ledger that cannot be read takes no plan away: then nothing is calibrated, and says so.
    """
    from orchestrator.ledger import Ledger

    ledger, host = Ledger(home.ledger), machine.server.host
    try:
        rows = ledger.figures(machine=machine.digest, limit=_NEWEST_ROWS)
        serves = ledger.current(host, f"{alias}:latest") if rows and host and alias else None
    except DiskFull as e:
        return Grades(fault=f"{e.what}: nothing is calibrated by what was measured")
    return Grades(by_key=grade(rows), deployed=Deployed.of(serves, machine))


def intend(order: Order, seen: Survey, ruled_out: Mapping[str, Rejection] | None = None) -> Plan:
    """Return the plan for this order on this machine."""
    terms = replace(order.terms(seen.machine), installed=seen.names, partials=seen.partials)
    return pick(order.candidates, terms, named=bool(order.tags), ruled_out=ruled_out)


def nothing_fits(plan: Plan) -> NothingFits | DiskFull:
    """Return the error that names the nearest candidate and what it is short of.

    DiskFull where something fits into memory and only its download fits nowhere.
    """
    if disk := [r for r in plan.rejected if r.reason == "disk"]:
        least = min(disk, key=lambda r: r.short_by_bytes or 0)
        return DiskFull(f"no model fits on the disk; nearest is {least.tag}: {least.detail}")
    if plan.profile.placement in ("gpu", "split") and not plan.budget.cards:
        return _no_gpu(plan)
    short = [r for r in plan.rejected if r.short_by_bytes]
    near = min(short, key=lambda r: r.short_by_bytes or 0, default=None)
    nearest = f"; nearest is {near.tag}: {near.detail}" if near else ""
    if not near and plan.rejected:
        last = plan.rejected[-1]
        nearest = f"; {last.tag}: {last.detail}"
    return NothingFits(
        f"nothing fits in {gib(plan.budget.bytes)} ({plan.budget.basis}){nearest}",
        hint=None if near else _refusal_hint(plan),
        plan=plan.to_json(),
    )


def _no_gpu(plan: Plan) -> NothingFits:
    """Return the error for a placement on GPUs where the server can use none."""
    why = "; ".join(
        f"{a.name}: {a.unusable_reason}" for a in plan.machine.accelerators if a.unusable_reason
    )
    placement = plan.profile.placement
    return NothingFits(
        f"placement {placement} is asked for, and there is no usable GPU"
        + (f" ({why})" if why else ""),
        hint="`deploy probe` lists the GPUs and why one is unusable; else --placement cpu",
        plan=plan.to_json(),
    )


def _refusal_hint(plan: Plan) -> str | None:
    """Return what helps where no memory is missing: nothing but refusals were found."""
    reasons = {r.reason for r in plan.rejected}
    if "licence" in reasons:
        return "--allow-licence takes models whose licence forbids commercial use"
    if "server" in reasons:
        return "a newer Ollama runs them: `deploy runtime status` shows what serves here"
    if "context" in reasons:
        return "a profile with a smaller min_context takes them"
    return "`deploy catalog` lists the models that can be deployed" if reasons else None
