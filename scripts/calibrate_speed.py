"""Draw the constants of orchestrator/speed from published measurements, and judge them blind.

The data with their sources lie in scripts/speed: public.csv (decode, what the constants come from),
prefill.csv, cpu.csv, models.csv (what one token reads) and holdout.csv (decode on devices that
public.csv lacks: only ever judged on).

    python scripts/calibrate_speed.py            write constants.json and print the report
    python scripts/calibrate_speed.py --check    exit 1 if constants.json is not what the data give
"""

import argparse
import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from orchestrator.machine import Accelerator  # noqa: E402
from orchestrator.speed.constants import (  # noqa: E402
    POOLED,
    ClassConstants,
    Constants,
    CpuConstants,
    PrefillConstants,
)
from orchestrator.speed.device import NAMES, Device, device_of  # noqa: E402
from orchestrator.speed.work import SHORT_CONTEXT, Work, seconds  # noqa: E402

DATA, TARGET = ROOT / "scripts" / "speed", ROOT / "orchestrator" / "speed" / "constants.json"
Vector = npt.NDArray[np.float64]

# Where the fit starts and towards what thin classes are drawn: the efficiency and launch time that
# are usual, and the scatter (of the logarithm) that classes may have around their common value.
EFFICIENCY, EFFICIENCY_SCATTER, LAUNCH_S, LAUNCH_SCATTER = 0.8, 0.2, 80e-6, 0.7
RECURRENT, HOP_S, COMMON_SCATTER = 0.7, 2e-4, 1.0
NOISE, HUBER = 0.12, 1.3  # scatter of one measurement; beyond HUBER times that it counts linearly
COVERED = 0.90
POOL_WEIGHT = 1  # devices' worth that the pooled spread counts in the spread of a class
BATCH = 512


@dataclass(frozen=True, slots=True)
class Row:
    """One published measurement, and what it takes to predict it."""

    name: str
    model: str
    count: int
    tps: float
    device: Device
    work: Work
    parameters: float
    source: str


def read(name: str) -> list[dict[str, str]]:
    """Return the rows of one file of the data."""
    with (DATA / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def work_of(model: dict[str, str]) -> Work:
    """Return the work of a token at a short context."""
    cache = SHORT_CONTEXT * int(model["cache_bytes_per_token"])
    return Work(
        read_bytes=int(model["read_bytes"]) + cache + 2 * int(model["state_bytes"]),
        layers=int(model["layers"]),
        recurrent=int(model["recurrent_layers"]),
    )


def models() -> dict[tuple[str, str], dict[str, str]]:
    """Return what one token reads, by model and quantization."""
    return {(m["model"], m["quantization"]): m for m in read("models")}


def rows(name: str, rate: str = "decode_tps") -> list[Row]:
    """Return the measurements of one file. Raises ValueError: a device without a bandwidth."""
    known = models()
    found = []
    for row in read(name):
        card = Accelerator(
            vendor="other", name=row["device"], index=0, memory_total_bytes=None,
            memory_free_bytes=None,
        )  # fmt: skip
        device, model = device_of(card), known[row["model"], row["quantization"]]
        if device is None:
            raise ValueError(f"{row['device']} is not in the catalogue of accelerators")
        label = f"{row['model']} {row['quantization']}"
        found.append(
            Row(
                name=row["device"], model=label, count=int(row["count"]), tps=float(row[rate]),
                device=device, work=work_of(model), parameters=float(model["parameters_active"]),
                source="/".join(row["source"].split("/")[2:5]),
            )
        )  # fmt: skip
    return found


# --- decode --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fitted:
    """Logarithms of the constants: (efficiency, launch) by class, then what all share."""

    values: Vector
    places: dict[str, int]

    def classes(self) -> dict[str, ClassConstants]:
        """Return the constants by class; how wide they are is not known yet."""
        return {
            kind: ClassConstants(
                efficiency=math.exp(self.values[2 * i]), launch_s=math.exp(self.values[2 * i + 1]),
                spread=1, measurements=0, devices=0,
            )
            for kind, i in self.places.items()
        }  # fmt: skip

    def predicted_s(self, data: Sequence[Row]) -> list[float]:
        """Return the seconds of one token of each row."""
        classes = self.classes()
        recurrent, hop = math.exp(self.values[-2]), math.exp(self.values[-1])
        return [
            seconds(
                row.work,
                bandwidth_bytes_per_s=row.device.bandwidth_bytes_per_s,
                constants=classes.get(row.device.kind) or classes[POOLED],
                recurrent=recurrent,
            )
            + hop * (row.count - 1)
            for row in data
        ]

    def errors(self, data: Sequence[Row]) -> list[float]:
        """Return log(predicted / measured) of each rate."""
        taken = self.predicted_s(data)
        return [-math.log(s * row.tps) for s, row in zip(taken, data, strict=True)]


def fit(data: Sequence[Row]) -> Fitted:
    """Return the constants that explain `data`, drawn towards what classes have in common.

    Gauss-Newton on the logarithm of the rate. Outliers count linearly (Huber); a device of many
    rows counts as the root of their number, since its errors are not independent.
    """
    kinds = [POOLED, *sorted({r.device.kind for r in data} - {POOLED})]
    places = {kind: i for i, kind in enumerate(kinds)}
    centre = np.log([EFFICIENCY, LAUNCH_S])
    start = np.concatenate([np.tile(centre, len(kinds)), np.log([RECURRENT, HOP_S])])
    counts = Counter(r.name for r in data)
    weights = np.array([counts[r.name] ** -0.5 for r in data])
    scatter = np.array([EFFICIENCY_SCATTER, LAUNCH_SCATTER])

    def errors(values: Vector) -> Vector:
        return np.array(Fitted(values, places).errors(data)) / NOISE

    def beliefs(values: Vector) -> Vector:
        pairs = values[:-2].reshape(-1, 2)
        pool = (pairs[0] - centre) / scatter
        common = (values[-2:] - start[-2:]) / COMMON_SCATTER
        return np.concatenate([((pairs[1:] - pairs[0]) / scatter).ravel(), pool, common])

    return Fitted(_least_squares(errors, beliefs, weights, start), places)


def _least_squares(
    errors: Callable[[Vector], Vector],
    beliefs: Callable[[Vector], Vector],
    weights: Vector,
    start: Vector,
) -> Vector:
    values, step = start.copy(), 1e-5
    for _ in range(40):
        now = errors(values)
        robust = weights * np.sqrt(np.minimum(1, HUBER / np.maximum(np.abs(now), 1e-9)))
        base = np.concatenate([robust * now, beliefs(values)])
        slopes = np.empty((len(base), len(values)))
        for i in range(len(values)):
            moved = values.copy()
            moved[i] += step
            slopes[:, i] = np.concatenate([robust * errors(moved), beliefs(moved)]) - base
        slopes /= step
        change = np.linalg.lstsq(slopes, -base, rcond=None)[0]
        values += np.clip(change, -0.5, 0.5)
        if np.abs(change).max() < 1e-6:
            break
    return values


def blind_errors(data: Sequence[Row], key: Callable[[Row], str]) -> list[tuple[Row, float]]:
    """Return log(predicted / measured) of each row by constants that never saw its group."""
    found: list[tuple[Row, float]] = []
    for group in sorted({key(r) for r in data}):
        fitted = fit([r for r in data if key(r) != group])
        unseen = [r for r in data if key(r) == group]
        found += zip(unseen, fitted.errors(unseen), strict=True)
    return found


def spreads(data: Sequence[Row]) -> dict[str, float]:
    """Return the factor around the likely value that holds 90 % of blind predictions, by class.

    Of a class the error on a device left out, mixed with that of all (one device left out of a
    class of one is judged by strangers), and never narrower than that: few measurements prove no
    narrowness. For what has no class the error on a class left out.
    """
    by_device = blind_errors(data, lambda r: r.name)
    pool = _quantile([e for _, e in by_device])
    found = {}
    for kind in sorted({r.device.kind for r in data}):
        own = [(r.name, e) for r, e in by_device if r.device.kind == kind]
        devices = len({name for name, _ in own})
        width = devices * _quantile([e for _, e in own]) + POOL_WEIGHT * pool
        found[kind] = math.exp(max(pool, width / (devices + POOL_WEIGHT)))
    by_class = blind_errors(data, lambda r: r.device.kind)
    return found | {POOLED: math.exp(_quantile([e for _, e in by_class]))}


def _quantile(errors: Iterable[float]) -> float:
    return float(np.quantile(np.abs(list(errors)), COVERED))


# --- prefill and processors ----------------------------------------------------------------------


def prefill_share(row: Row, fitted: Fitted) -> float | None:
    """Return the share of the arithmetic peak that a prefill reached; None: no peak is known."""
    if not row.device.flops:
        return None
    arithmetic_s = 1 / row.tps - fitted.predicted_s([row])[0] / BATCH
    return 2 * row.parameters / (arithmetic_s * row.device.flops)


def prefill(fitted: Fitted) -> dict[str, PrefillConstants]:
    """Return the shares by class; `other` is pooled and as wide as classes differ."""
    shares: dict[str, list[float]] = {POOLED: []}
    for row in rows("prefill", "prefill_tps"):
        share = prefill_share(row, fitted)
        for kind in (row.device.kind, POOLED) if share else ():
            shares.setdefault(kind, []).append(share or 0)
    return {
        kind: PrefillConstants(
            flops_share=_round(float(np.median(values))),
            spread=_round(math.exp(_quantile(np.log(np.array(values) / np.median(values))))),
            measurements=len(values),
        )
        for kind, values in sorted(shares.items())
    }


def processors() -> CpuConstants:
    """Return the two bounds that explain the processors best, and how far they are off."""
    known = models()
    data = [
        (
            float(r["decode_tps"]) * work_of(known[r["model"], r["quantization"]]).read_bytes,
            int(r["physical_cores"]),
            float(r["bandwidth_gbs"]) * 1e9,
        )
        for r in read("cpu")
    ]

    def errors(efficiency: float, core: float) -> list[float]:
        return [math.log(min(efficiency * b, n * core) / rate) for rate, n, b in data]

    grid = [(e / 100, c * 5e8) for e in range(20, 81, 2) for c in range(2, 31)]
    best = min(grid, key=lambda pair: sum(map(abs, errors(*pair))))
    return CpuConstants(
        efficiency=best[0],
        bytes_per_core_s=best[1],
        spread=_round(math.exp(_quantile(errors(*best)))),
        measurements=len(data),
    )


# --- what is written and printed -----------------------------------------------------------------


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def calibrated(data: Sequence[Row], fitted: Fitted) -> Constants:
    """Return all constants, rounded to what the data can tell."""
    wide = spreads(data)
    classes = {}
    for kind in sorted(fitted.places):
        of, own = fitted.classes()[kind], [r for r in data if kind in (POOLED, r.device.kind)]
        classes[kind] = ClassConstants(
            efficiency=_round(of.efficiency), launch_s=_round(of.launch_s),
            spread=_round(wide[kind]), measurements=len(own), devices=len({r.name for r in own}),
        )  # fmt: skip
    recurrent, hop = np.exp(fitted.values[-2:])
    return Constants(
        classes=classes, recurrent=_round(recurrent), hop_s=_round(hop), prefill=prefill(fitted),
        cpu=processors(),
    )  # fmt: skip


def judged(
    title: str, errors: Sequence[tuple[Row, float]], found: Constants, kind: str | None = None
) -> str:
    """Return one line: how far off, how often within 25 %, how often inside the range.

    `kind`: judge by the range of this class, not of each row's own.
    """
    off = np.array([abs(math.exp(e) - 1) for _, e in errors])
    inside = [abs(e) <= math.log(found.of(kind or r.device.kind).spread) for r, e in errors]
    bias = math.exp(float(np.median([e for _, e in errors])))
    return (
        f"{title:32} {len(off):4}   {np.median(off):6.1%}   {np.mean(off <= 0.25):6.0%}   "
        f"{np.mean(inside):6.0%}   {bias:5.2f}"
    )


def report(data: Sequence[Row], fitted: Fitted, found: Constants) -> Iterable[str]:
    """Yield the lines of the report."""
    yield f"{'class':32} rows devices   efficiency   us a layer   range"
    for kind, of in found.classes.items():
        yield (
            f"{NAMES[kind]:32} {of.measurements:4} {of.devices:7}   {of.efficiency:10.2f}   "
            f"{of.launch_s * 1e6:10.0f}   x/÷ {of.spread:.2f}"
        )
    yield f"a recurrent layer launches {found.recurrent:.2f} more; a hop {found.hop_s * 1e3:.2f} ms"
    yield ""
    yield f"{'decode':32} rows   median   <=25 %   inside    bias"
    yield judged("in sample", list(zip(data, fitted.errors(data), strict=True)), found)
    yield judged("blind: device left out", blind_errors(data, lambda r: r.name), found)
    yield judged(
        "blind: class left out", blind_errors(data, lambda r: r.device.kind), found, POOLED
    )
    held_out = rows("holdout")
    held = list(zip(held_out, fitted.errors(held_out), strict=True))
    yield judged("blind: source left out", blind_errors(data, lambda r: r.source), found)
    yield judged("hold-out: other devices, models", held, found)
    for kind in sorted({r.device.kind for r, _ in held}):
        yield judged(f"  {NAMES[kind]}", [h for h in held if h[0].device.kind == kind], found)
    yield ""
    yield "prefill: share of the peak"
    for kind, share in found.prefill.items():
        yield (
            f"{NAMES[kind]:32} {share.measurements:4}   {share.flops_share:.2f}   "
            f"x/÷ {share.spread:.2f}"
        )
    cpu = found.cpu
    yield (
        f"processors: {cpu.efficiency:.2f} of the bandwidth, at most "
        f"{cpu.bytes_per_core_s / 1e9:.1f} GB/s a core; x/÷ {cpu.spread:.2f} "
        f"({cpu.measurements} measurements)"
    )


def text_of(found: Constants) -> str:
    """Return the file that the package reads."""
    document: dict[str, Any] = asdict(found)
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write or check the constants; print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="exit 1 instead of writing")
    check = parser.parse_args().check
    data = rows("public")
    fitted = fit(data)
    found = calibrated(data, fitted)
    if check:
        same = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text_of(found)
        if not same:
            print(f"{TARGET.name} is not what the data give: run scripts/calibrate_speed.py")
        return 0 if same else 1
    TARGET.write_text(text_of(found), encoding="utf-8")
    print("\n".join(report(data, fitted, found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
