"""choose(): the pick, and every rejection with what it is short of. Pure: facts in, reasons out."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.budget import Budget, budget
from orchestrator.estimate import Estimate
from orchestrator.fit import Fit, Rejection, Terms, shortfall
from orchestrator.machine import Machine
from orchestrator.model import BITS_PER_WEIGHT, Candidate
from orchestrator.offload import Wish, offloaded
from orchestrator.profile import Profile
from orchestrator.settings import Wishes
from orchestrator.units import gib

_GPU_WORTH_PARAMETERS = 3_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What would be deployed; `chosen` is None when nothing fits.

    `slow`: it is the last that was left, and is not refused for speed.
    """

    profile: Profile
    machine: Machine
    budget: Budget
    chosen: Fit | None
    rejected: tuple[Rejection, ...]
    why: str
    warnings: tuple[str, ...] = ()
    slow: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the plan document (schema `plan`)."""
        return {
            "schema": 1,
            "profile": self.profile.name,
            "machine": {"name": self.machine.name, "digest": self.machine.digest},
            "server_version": self.machine.server.version,
            "budget": {
                "bytes": self.budget.bytes,
                "reserve_bytes": self.budget.reserve_bytes,
                "basis": self.budget.basis,
            },
            "chosen": self._chosen_json(),
            "rejected": [r.to_json() for r in self.rejected],
        }

    def _chosen_json(self) -> dict[str, Any] | None:
        if self.chosen is None:
            return None
        found = self.chosen.estimate
        return {
            "tag": self.chosen.candidate.tag,
            "placement": found.placement.kind,
            "gpu_layers": found.placement.gpu_layers,
            "layers": found.placement.total_layers,
            "devices": [{"index": d.index, "bytes": d.bytes} for d in found.devices],
            "context": found.load.run.context,
            "parallel": found.load.run.parallel,
            "estimate": found.to_json(),
            "why": self.why,
        }


def choose(
    profile: Profile,
    machine: Machine,
    candidates: Sequence[Candidate],
    *,
    wishes: Wishes | None = None,
    named: bool = False,
    ruled_out: Mapping[str, Rejection] | None = None,
    installed: Collection[str] = (),
    partials: Collection[tuple[int, int]] = (),
) -> Plan:
    """Pick by the raw estimates alone; see pick()."""
    terms = Terms(
        profile=profile,
        machine=machine,
        budget=budget(machine, profile.max_memory_bytes),
        wishes=wishes or Wishes(context=profile.context, parallel=profile.parallel),
        installed=installed,
        partials=partials,
    )
    return pick(candidates, terms, named=named, ruled_out=ruled_out)


def pick(
    candidates: Sequence[Candidate],
    terms: Terms,
    *,
    named: bool = False,
    ruled_out: Mapping[str, Rejection] | None = None,
) -> Plan:
    """Pick the first candidate in the profile's order that fits this machine and its server.

    `named`: the user listed these tags, so the profile's families and quantizations do not
    restrict them and every one of them is answered for. `ruled_out` holds what the loop has
    learnt: no source has it, it did not load, it broke its promise.
    """
    profile = terms.profile
    ranked = order(candidates if named else eligible(candidates, profile), profile)
    search = _Search(terms, ranked, ruled_out or {})
    wish = _wish(search)
    chosen = search.first(wish)
    lone = chosen is None
    if lone:
        chosen = search.smallest_too_slow(wish)
    return _plan(search, chosen, wish, slow=lone and chosen is not None, named=named)


def eligible(candidates: Iterable[Candidate], profile: Profile) -> list[Candidate]:
    """Return the default candidates: GGUF of the profile's families, kinds and quantizations."""
    return [
        c
        for c in candidates
        if c.kind in profile.kinds
        and c.format == "gguf"
        and profile.rank(c.family) is not None
        and c.quantization in profile.quantizations
    ]


def order(candidates: Iterable[Candidate], profile: Profile) -> list[Candidate]:
    """Rank: family, total parameters, newest release, finest quantization."""

    def key(c: Candidate) -> tuple[int, int, int, float, str]:
        rank = profile.rank(c.family)
        fineness = BITS_PER_WEIGHT.get(c.quantization, 0.0)
        newest = int(c.released.replace("-", "").ljust(8, "0"))  # of some only the month is known
        last = len(profile.families)
        return (last if rank is None else rank, -c.parameters_total, -newest, -fineness, c.tag)

    return sorted(candidates, key=key)


class _Search:
    """Judges each candidate at most once a placement."""

    def __init__(
        self, terms: Terms, ranked: Sequence[Candidate], ruled_out: Mapping[str, Rejection]
    ) -> None:
        self.terms = terms
        self.ranked = ranked
        self.ruled_out = ruled_out
        self._seen: dict[tuple[str, Wish], Fit | Rejection] = {}

    def at(self, candidate: Candidate, wish: Wish) -> Fit | Rejection:
        key = (candidate.tag, wish)
        if key not in self._seen:
            known = self.ruled_out.get(candidate.tag)
            known = known or _mute(candidate)
            self._seen[key] = known or offloaded(candidate, self.terms, wish)
        return self._seen[key]

    def first(self, wish: Wish) -> Fit | None:
        for candidate in self.ranked:
            found = self.at(candidate, wish)
            if isinstance(found, Fit) and self.too_slow(found) is None:
                return found
        return None

    def smallest_too_slow(self, wish: Wish) -> Fit | None:
        """Return the smallest that only speed speaks against: better slow than nothing."""
        fits = [f for c in self.ranked if isinstance(f := self.at(c, wish), Fit)]
        return min(fits, key=lambda f: (f.candidate.file_bytes, f.candidate.tag), default=None)

    def too_slow(self, fit: Fit) -> Rejection | None:
        """Return the rejection for speed; a model wholly on GPUs is never refused for it."""
        floor, rate = self.terms.profile.min_tps, self.likely_tps(fit)
        if not floor or fit.placement.kind == "gpu":
            return None
        tag, kind = fit.candidate.tag, fit.placement.kind
        if rate is None:
            detail = f"{kind}: the bandwidth of the GPU is unknown, so is the speed"
            return Rejection(tag=tag, reason="speed_unknown", detail=detail)
        if rate >= floor:
            return None
        detail = f"{kind}: {_rate(fit.estimate)}; the floor is {floor:g}"
        return Rejection(tag=tag, reason="speed", detail=detail)

    def likely_tps(self, fit: Fit) -> float | None:
        """Return the rate that decides; what is deployed and holds is not refused for a measured
        one that is lower: such a rate differs from night to night.
        """
        found, deployed = fit.estimate, self.terms.grades.deployed
        rates = [found.decode_tps]
        if deployed and deployed.tag == fit.candidate.tag and found.speed:
            rates.append(found.speed.decode_tps[1])
        return max((r for r in rates if r is not None), default=None)


def _rate(found: Estimate) -> str:
    """Say the likely rate, and by how many runs it is calibrated."""
    seen = found.calibrated.grade.decode if found.calibrated and found.speed else None
    return f"about {found.decode_tps or 0:.1f} tokens/s{f', measured {seen}' if seen else ''}"


def _mute(candidate: Candidate) -> Rejection | None:
    """Return the rejection of what gives no answers, whatever fits."""
    if candidate.kind != "embedding":
        return None
    detail = "an embedding model cannot chat"
    return Rejection(tag=candidate.tag, reason="unsupported", detail=detail)


def _wish(search: _Search) -> Wish:
    """Resolve "auto": gpu if a model worth it fits wholly on the usable GPUs, else any."""
    placement = search.terms.profile.placement
    if placement != "auto":
        return placement
    if not search.terms.budget.cards:
        return "any"
    worthy = (c for c in search.ranked if c.parameters_total >= _GPU_WORTH_PARAMETERS)
    # Judged for any place: what a model that does not fit is short of on GPUs is not asked yet.
    found = (search.at(c, "any") for c in worthy)
    whole = any(isinstance(f, Fit) and f.placement.kind == "gpu" for f in found)
    return "gpu" if whole else "any"


def _plan(search: _Search, chosen: Fit | None, wish: Wish, *, slow: bool, named: bool) -> Plan:
    rejected: list[Rejection] = []
    below = False
    for candidate in search.ranked:
        if chosen and candidate.tag == chosen.candidate.tag:
            below = True
            continue
        found = search.at(candidate, wish) if not below or slow or named else None
        if isinstance(found, Rejection):
            rejected.append(found)
        elif isinstance(found, Fit) and (late := search.too_slow(found)):
            rejected.append(late)
        elif isinstance(found, Fit) and chosen:
            detail = f"fits, but {chosen.candidate.tag} ranks higher"
            rejected.append(Rejection(tag=candidate.tag, reason="policy", detail=detail))
    return Plan(
        profile=search.terms.profile,
        machine=search.terms.machine,
        budget=search.terms.budget,
        chosen=chosen,
        rejected=tuple(rejected),
        why=_why(search, chosen, wish, slow=slow),
        warnings=_warnings(search, chosen, slow=slow),
        slow=slow,
    )


def _why(search: _Search, chosen: Fit | None, wish: Wish, *, slow: bool) -> str:
    if chosen is None:
        return "nothing fits"
    allowed, found = search.terms.budget, chosen.estimate
    have = f"{gib(allowed.bytes)} ({allowed.basis})"
    if allowed.cards and found.placement.kind == "cpu":
        have = f"{gib(allowed.host_bytes)} (host memory; the GPUs are too small for it)"
    elif allowed.cards and found.placement.kind == "split":
        have = f"{gib(allowed.bytes)} ({allowed.basis}) and {gib(allowed.host_bytes)} on the host"
    more = found.calibrated.grade.more if found.calibrated else ""
    budget_text = f"{gib(found.needs.total_bytes)}{f' ({more})' if more else ''} of {have}"
    if slow:
        return f"the smallest that fits: {budget_text}; nothing reaches the floor in speed"
    text = f"the first in the order of profile {search.terms.profile.name} that fits: {budget_text}"
    if wish == "gpu" and search.terms.profile.placement == "auto":
        text += "; wholly on GPU, so faster than a larger model that the CPU would share"
    return text


def unmet(found: Estimate) -> Iterator[str]:
    """Yield each wish that the server will not grant: what was asked, why not, what it takes."""
    run = found.load.run
    taken = {"context": run.context, "parallel": run.parallel}
    for key, wish in found.requested.items():
        asked = (
            {True: "on", False: "off"}[wish["asked"]] if key == "flash_attention" else wish["asked"]
        )
        instead = f", so {taken[key]} is taken" if key in taken else ""
        yield f"{key} {asked} asked: {wish['reason']}{instead}"


def _warnings(search: _Search, chosen: Fit | None, *, slow: bool) -> tuple[str, ...]:
    terms, notes = search.terms, []
    if terms.grades.fault:
        notes.append(terms.grades.fault)
    if chosen is None:
        return tuple(notes)
    found, floor = chosen.estimate, terms.profile.min_tps
    asked = f"the floor of {floor:g} (--min-tps)"
    notes += unmet(found)
    if slow and found.decode_tps is None:
        notes.append(f"the speed is unknown, and so whether it reaches {asked}")
    elif slow:
        notes.append(f"{_rate(found)}, below {asked}")
    else:
        notes += _stays(search, chosen)
    return tuple(notes)


def _stays(search: _Search, chosen: Fit) -> Iterator[str]:
    """Yield what speaks by measurement against a pick that is deployed and holds."""
    found, floor = chosen.estimate, search.terms.profile.min_tps
    stays = "it is deployed and holds, so it stays"
    short, where = shortfall(found, search.terms.budget)
    if short and found.calibrated:
        yield f"{found.calibrated.grade.more}: short by {gib(short)} {where}; {stays}"
    rate = found.decode_tps
    if chosen.placement.kind != "gpu" and rate is not None and rate < floor:
        yield f"{_rate(found)}, below the floor of {floor:g}; {stays}"
