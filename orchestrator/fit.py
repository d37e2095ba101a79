"""Whether one candidate fits a machine and its server: a fit with its estimate, or a rejection."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from orchestrator.budget import Budget
from orchestrator.era import NEWEST, Era, ServerVersion
from orchestrator.estimate import Estimate, estimate
from orchestrator.gguf.weigh import file_bytes_of, weights_of
from orchestrator.grade import Deployed, Grades
from orchestrator.machine import Machine, ServerSettings
from orchestrator.memory import Device, Run
from orchestrator.model import Candidate, Target
from orchestrator.placement import Card, Kind, Load, Placement, batched, everywhere, place
from orchestrator.profile import Profile
from orchestrator.settings import Wishes, attempts, effective
from orchestrator.units import GIB, MIB, gb, gib

Reason = Literal[
    "memory", "speed", "speed_unknown", "disk", "licence", "server", "context", "unavailable",
    "unsupported", "policy",
]  # fmt: skip
_DISK_MARGIN, _DISK_SPARE_BYTES = 1.02, GIB
_WEIGHTS_SHARE = 0.97
SMALLEST_BATCH = 512  # of those that a server from 0.30 on chooses among
_MOST_OF_A_BATCH_BYTES = 8 * GIB  # what a card can gain by it
SUPPORTED = (
    "qwen2", "qwen3", "llama", "qwen3moe", "deepseek2", "qwen3next", "qwen35", "qwen35moe",
    "qwen25vl", "qwen3vl", "qwen3vlmoe",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """Why a tag is not chosen; `short_by_bytes` where bytes are what is missing."""

    tag: str
    reason: Reason
    detail: str
    short_by_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a plan's `rejected`."""
        return {
            "tag": self.tag,
            "reason": self.reason,
            "short_by_bytes": self.short_by_bytes,
            "detail": self.detail,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A candidate that fits, in the placement that the server will give it."""

    candidate: Candidate
    estimate: Estimate

    @property
    def placement(self) -> Placement:
        """Where its layers go."""
        return self.estimate.placement


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What all candidates of one plan are judged by.

    `installed` need no download; `partials` are interrupted ones that a pull resumes: the size of
    the whole blob, and the bytes of it that are there. `grades` say how far off such
    estimates were here.
    """

    profile: Profile
    machine: Machine
    budget: Budget
    wishes: Wishes
    installed: Collection[str] = ()
    partials: Collection[tuple[int, int]] = ()
    prompt_tokens: int = 32
    grades: Grades = field(default_factory=Grades)

    @property
    def version(self) -> ServerVersion | None:
        """The server's version; None: no server known, physics of the newest era."""
        text = self.machine.server.version
        return ServerVersion.parse(text) if text else None


def judge(candidate: Candidate, terms: Terms, wish: Kind | Literal["any"]) -> Fit | Rejection:
    """Return the candidate's fit in the wished placement ("any": what the server would do).

    Where the batch that a server from 0.30 on would choose does not fit, the smallest is judged: a
    deployment fixes it.
    """
    found = _judged(candidate, terms, wish)
    if not isinstance(found, Rejection) or not _may_fit_with_less(found, terms):
        return found
    smallest = replace(terms, wishes=replace(terms.wishes, num_batch=SMALLEST_BATCH))
    instead = _judged(candidate, smallest, wish)
    return instead if isinstance(instead, Fit) else found


def _may_fit_with_less(found: Rejection, terms: Terms) -> bool:
    newest = (terms.version or NEWEST).era is Era.LLAMA_SERVER
    if not newest or terms.wishes.num_batch is not None or found.reason != "memory":
        return False
    return (found.short_by_bytes or 0) <= _MOST_OF_A_BATCH_BYTES * max(1, len(terms.budget.cards))


def _judged(candidate: Candidate, terms: Terms, wish: Kind | Literal["any"]) -> Fit | Rejection:
    if refused := _refused(candidate, terms):
        return refused
    found = _placed(candidate, terms, cpu=wish == "cpu")
    kind = found.placement.kind
    if (wish == "gpu" and kind != "gpu") or (wish == "split" and kind == "cpu"):
        return _too_big_for_cards(candidate, terms)
    fit = _fit(candidate, terms, found)
    return _too_big(fit, terms) or _disk(candidate, terms) or fit


def _too_big(fit: Fit, terms: Terms) -> Rejection | None:
    """Return the rejection for memory; what holds as it is deployed is judged by the raw figures:
    that it takes a little more was found out when it was deployed, and let pass.
    """
    found = replace(fit.estimate, calibrated=None) if holds(fit, terms) else fit.estimate
    short, where = shortfall(found, terms.budget)
    if not short:
        return None
    more = found.calibrated.grade.more if found.calibrated else ""
    return Rejection(
        tag=fit.candidate.tag,
        reason="memory",
        short_by_bytes=short,
        detail=f"needs {gib(found.needs.total_bytes)} ({fit.placement.kind}, context "
        f"{found.load.run.context}){', ' if more else ''}{more}; short by {gib(short)} {where}",
    )


def holds(fit: Fit, terms: Terms) -> bool:
    """Whether it is deployed just so, and what was measured of it is within the tolerance."""
    run, memory = fit.estimate.load.run, None
    if fit.estimate.calibrated:
        memory = fit.estimate.calibrated.grade.memory
    just_so = Deployed(
        tag=fit.candidate.tag,
        placement=fit.placement.kind,
        context=run.context,
        parallel=run.parallel,
    )
    if terms.grades.deployed != just_so:
        return False
    return memory is None or 1 - 1 / memory.median <= terms.profile.memory_warn


def _refused(candidate: Candidate, terms: Terms) -> Rejection | None:
    """Return the rejection that no placement can change."""
    found = next(_reasons(candidate, terms), None)
    return Rejection(tag=candidate.tag, reason=found[0], detail=found[1]) if found else None


def _reasons(candidate: Candidate, terms: Terms) -> Iterator[tuple[Reason, str]]:
    shape, needed = candidate.architecture, candidate.min_server_version
    if candidate.format != "gguf":
        yield "unsupported", f"{candidate.format}, not GGUF"
    if shape.name not in SUPPORTED:
        yield "unsupported", f"architecture {shape.name} is unknown, and not guessed"
    if not candidate.commercial_use and not terms.profile.allow_licence:
        yield "licence", f"{candidate.license} forbids commercial use; --allow-licence takes it"
    if needed and terms.version and terms.version < ServerVersion.parse(needed):
        yield "server", f"needs Ollama {needed} or later; this server is {terms.version}"
    if shape.expert_count and terms.machine.server.runtime == "embedded":
        yield "server", "a mixture of experts, which the embedded runtime cannot run: use a release"
    if shape.context_length < terms.profile.min_context:
        trained, wanted = shape.context_length, terms.profile.min_context
        yield "context", f"trained for {trained} tokens; the profile wants {wanted}"


def predicted(candidate: Candidate, terms: Terms, *, cpu: bool = False) -> Fit:
    """Estimate in the placement of the server, whether or not it fits; without cards, on a CPU."""
    return _fit(candidate, terms, _placed(candidate, terms, cpu=cpu))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Placed:
    loading: "_Loading"
    placement: Placement


def _placed(candidate: Candidate, terms: Terms, *, cpu: bool) -> _Placed:
    """Return where the server puts the candidate; what finds no place on cards runs on the CPU."""
    cards = () if cpu else terms.budget.cards
    tries = _tries(terms) if cards else ()
    loadings = [_loading(candidate, each, _device(cards)) for each in tries]
    for loading, group in _in_turn(loadings, cards):
        placement = place(loading.load, group)
        last = loading is loadings[-1] and len(group) == len(cards)
        if placement.kind == "gpu" or (placement.kind == "split" and last):
            return _Placed(loading=loading, placement=placement)
    loading = _loading(candidate, terms, "cpu")
    return _Placed(loading=loading, placement=everywhere(loading.load, layers=0))


def _in_turn(
    loadings: Sequence["_Loading"], cards: Sequence[Card]
) -> Iterator[tuple["_Loading", Sequence[Card]]]:
    """What a server that chooses its slots tries: every number of them on one card, then on all."""
    if len(loadings) > 1 and len(cards) > 1 and not loadings[0].load.spread:
        fullest = sorted(cards, key=lambda c: c.free_bytes, reverse=True)
        yield from ((loading, [card]) for loading in loadings for card in fullest)
    yield from ((loading, cards) for loading in loadings)


def _tries(terms: Terms) -> tuple[Terms, ...]:
    """Return what is tried on cards: a server that chooses its slots itself ends with one."""
    wishes = attempts(terms.wishes, terms.machine.server, terms.version or NEWEST)
    return tuple(replace(terms, wishes=each) for each in wishes)


def _device(cards: Sequence[Card]) -> Device:
    return "metal" if cards[0].metal else "cuda"


def _fit(candidate: Candidate, terms: Terms, found: _Placed) -> Fit:
    raw = estimate(
        target_of(candidate, terms.machine.server.version),
        found.loading.load,
        found.placement,
        machine=terms.machine,
        prompt_tokens=terms.prompt_tokens,
        requested=found.loading.requested,
    )
    return Fit(candidate=candidate, estimate=graded(raw, terms.grades, terms.machine))


def graded(found: Estimate, grades: Grades, machine: Machine) -> Estimate:
    """Return an estimate with what runs of its kind on this machine were measured to be."""
    if not grades.by_key:
        return found
    run = found.load.run
    facts = {
        "machine": machine.digest,
        "server_version": found.target.server_version,
        "architecture": found.load.shape.name,
        "quantization": found.target.quantization,
        "context": run.context,
        "parallel": run.parallel,
        "placement": found.placement.kind,
        "runtime": machine.server.runtime,
    }
    return found.graded(grades.of(facts))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Loading:
    load: Load
    requested: dict[str, Any]


def _loading(candidate: Candidate, terms: Terms, device: Device) -> _Loading:
    """Return the load of a candidate with the settings that the server will give it."""
    profile, settings = terms.profile, terms.machine.server.settings
    default = profile.context_cpu if device == "cpu" else profile.context_gpu
    wishes = Wishes(
        context=terms.wishes.context or default,
        parallel=terms.wishes.parallel,
        kv_cache_type=terms.wishes.kv_cache_type,
        flash_attention=terms.wishes.flash_attention,
        num_batch=terms.wishes.num_batch,
    )
    shape = candidate.architecture
    found = effective(wishes, shape=shape, machine=terms.machine, device=device)
    load = load_of(candidate, found.run, device, settings)
    if wishes.num_batch is None:
        cards = () if device == "cpu" else terms.budget.cards
        load = batched(load, cards)
    return _Loading(load=load, requested=dict(found.requested))


def load_of(candidate: Candidate, run: Run, device: Device, settings: ServerSettings) -> Load:
    """Return what is to be placed: the candidate in a run, under the server's settings."""
    return Load(
        shape=candidate.architecture,
        weights=weights_of(candidate),
        run=run,
        device=device,
        overhead_bytes=settings.gpu_overhead_bytes or 0,
        fit_target_bytes=settings.fit_target_bytes,
        spread=bool(settings.sched_spread),
    )


def target_of(candidate: Candidate, server_version: str | None) -> Target:
    """Return whose estimate it is."""
    return Target(
        model=candidate.tag,
        quantization=candidate.quantization,
        file_bytes=file_bytes_of(candidate),
        parameters_active=candidate.parameters_active,
        parameters_total=candidate.parameters_total,
        server_version=server_version,
    )


def shortfall(found: Estimate, allowed: Budget) -> tuple[int, str]:
    """Return how many bytes are missing and where: a card, the host, or the cap."""
    needs, free = found.needs, {c.index: c.budget_bytes for c in allowed.cards}
    over = [(d.bytes - free.get(d.index, 0), f"on GPU {d.index}") for d in needs.devices]
    pooled = {c.index for c in allowed.cards if c.unified}
    on_host = needs.host_bytes + sum(d.bytes for d in needs.devices if d.index in pooled)
    over.append((on_host - allowed.host_bytes, "of host memory"))
    if allowed.cap_bytes is not None:
        over.append((needs.total_bytes - allowed.cap_bytes, "of --max-memory"))
    worst = max(over, key=lambda o: o[0])
    return (worst[0], worst[1]) if worst[0] > 0 else (0, "")


def _too_big_for_cards(candidate: Candidate, terms: Terms) -> Rejection:
    """Say what a run on GPUs would need, against what they have."""
    cards = terms.budget.cards
    load = _loading(candidate, _tries(terms)[-1], _device(cards) if cards else "cuda").load
    whole = estimate(target_of(candidate, None), load, everywhere(load))
    need, free = whole.devices[0].bytes, sum(c.budget_bytes for c in cards)
    short, detail = need - free, f"needs {gib(need)} on GPU at context {load.run.context}; "
    if not cards:
        detail += "there is no usable GPU"
    elif short > 0:
        detail += f"{gib(free)} is free"
    else:
        short = _more_needed(load, cards, need)
        detail += (
            f"{gib(free)} is free, but this server places all {load.shape.layers} layers on GPU "
            f"only with {gib(short)} more"
        )
    return Rejection(tag=candidate.tag, reason="memory", short_by_bytes=short, detail=detail)


def _more_needed(load: Load, cards: Sequence[Card], most: int) -> int:
    """Return how much more free memory, alike on every card, lets the server place all layers."""
    low, high = 0, 2 * most
    while high - low > 16 * MIB:
        middle = (low + high) // 2
        roomier = [replace(c, free_bytes=c.free_bytes + middle) for c in cards]
        low, high = (low, middle) if place(load, roomier).kind == "gpu" else (middle, high)
    return high * len(cards)


def download_bytes(candidate: Candidate, partials: Collection[tuple[int, int]]) -> int:
    """Return what the disk must still take, with a margin, of which a partial download has some.

    Few tags have a known digest, so a partial is told by its size: the weights are nearly all of
    a model's bytes.
    """
    whole = file_bytes_of(candidate)
    there = [got for size, got in partials if _WEIGHTS_SHARE * whole <= size <= whole]
    return int(whole * _DISK_MARGIN) - max(there, default=0)


def _disk(candidate: Candidate, terms: Terms) -> Rejection | None:
    free = terms.machine.disk.free_bytes
    if free is None or set(candidate.tags) & set(terms.installed):
        return None
    need = download_bytes(candidate, terms.partials) + _DISK_SPARE_BYTES
    if need <= free:
        return None
    where = terms.machine.disk.model_store or "the model store"
    return Rejection(
        tag=candidate.tag,
        reason="disk",
        short_by_bytes=need - free,
        detail=f"download {gb(file_bytes_of(candidate))} with its margin needs {gib(need)}; "
        f"{gib(free)} is free at {where}",
    )
