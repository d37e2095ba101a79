"""The promise of docs/estimating-speed.md, kept by the product's own prediction."""

import pytest

from orchestrator.fit import target_of
from orchestrator.speed.work import SHORT_CONTEXT, Token, output_work
from tests.shapes import CATALOG
from tests.speed.published import Judged, judged, load_of, median, rows


@pytest.fixture(scope="module", params=["public", "holdout"])
def results(request: pytest.FixtureRequest) -> list[Judged]:
    return list(judged(request.param))


def test_there_is_enough_to_judge_on(results: list[Judged]) -> None:
    assert len(results) > 90
    assert len({r.device for r in results}) > 20


def test_half_of_the_predictions_are_within_12_percent(results: list[Judged]) -> None:
    assert median([r.off for r in results]) <= 0.12


def test_three_quarters_are_within_25_percent(results: list[Judged]) -> None:
    assert sum(r.off <= 0.25 for r in results) >= 0.75 * len(results)


def test_nine_in_ten_lie_inside_the_range(results: list[Judged]) -> None:
    assert sum(r.inside for r in results) >= 0.90 * len(results)


def test_no_device_of_the_hold_out_was_calibrated_on() -> None:
    seen = {(r["device"], r["model"]) for r in rows("public")}
    assert not seen & {(r["device"], r["model"]) for r in rows("holdout")}


@pytest.mark.parametrize(
    "model",
    [m for m in rows("models") if m["source"] == "catalogue"],
    ids=lambda m: f"{m['model']}-{m['quantization']}",
)
def test_the_product_reads_the_bytes_that_were_calibrated_with(model: dict[str, str]) -> None:
    load = load_of(model["model"], model["quantization"])
    found = CATALOG.find(model["model"])
    token = Token.of(target_of(found, None), load, SHORT_CONTEXT)
    work = token.span(0, load.shape.block_count) + output_work(load)
    kept = SHORT_CONTEXT * int(model["cache_bytes_per_token"]) + 2 * int(model["state_bytes"])
    assert work.read_bytes == pytest.approx(int(model["read_bytes"]) + kept, rel=0.05)
    assert work.layers == int(model["layers"])
    assert work.recurrent == int(model["recurrent_layers"])
