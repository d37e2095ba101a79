"""Where the layers go: the rules of three eras."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import compute, memory
from orchestrator.era import ServerVersion
from orchestrator.estimate import estimate
from orchestrator.memory import Run
from orchestrator.model import Architecture, Target
from orchestrator.placement import Card, Load, Placement, batched, everywhere, forced, place
from orchestrator.placement.formulas import counted_cache, graph_bytes
from orchestrator.units import GIB, MIB
from tests.shapes import TINY, VERSIONS, load_of, run_of, runs, shape_of, shapes, uneven

LAW = settings(deadline=None, max_examples=60)
MINIMUM = 457 * MIB
TARGET = Target(model="", quantization="", file_bytes=0, parameters_active=1, parameters_total=1)


def cards(*free_gib: float) -> list[Card]:
    return [Card(index=i, free_bytes=int(free * GIB)) for i, free in enumerate(free_gib)]


def where(placed: Placement) -> dict[int, int]:
    return {s.index: s.layers + s.output for s in placed.shares}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("tag", "free", "kind"),
    [
        pytest.param("deepseek-r1:7b", 8, "gpu", id="7b-on-8"),
        pytest.param("deepseek-r1:14b", 12, "gpu", id="14b-on-12"),
        pytest.param("deepseek-r1:32b", 24, "gpu", id="32b-on-24"),
        pytest.param("deepseek-r1:70b", 24, "split", id="70b-on-24"),
        pytest.param("deepseek-r1:70b", 48, "gpu", id="70b-on-48"),
        pytest.param("deepseek-r1:7b", 0.5, "cpu", id="half-a-gib-is-no-card"),
    ],
)
def test_what_an_article_s_cards_take(tag: str, free: float, kind: str, version: str) -> None:
    assert place(load_of(tag, version), cards(free)).kind == kind


def test_70b_fits_on_two_cards_of_24_but_not_on_one() -> None:
    load = load_of("deepseek-r1:70b", "0.20.0", flash_attention=True)
    placed = place(load, cards(24, 24))
    assert placed.kind == "gpu"
    assert sum(where(placed).values()) == placed.total_layers == 81
    assert place(load, cards(24)).kind == "split"


def exact_need(load: Load) -> int:
    """What one card must have free for all layers, by the rule of the era."""
    version, output = load.run.version, load.output_bytes
    if version.numbers < (0, 30):
        # llama.cpp's runner, which has the dense shapes: the formula's cache and graph, and one
        # layer more. The formula wants more than this, the layout as much.
        cache = counted_cache(load.shape, load.run)
        sizes = [w + k for w, k in zip(load.weights.per_layer_bytes, cache, strict=True)]
        graph = max(graph_bytes(load.shape, load.run))
        need = MINIMUM + load.overhead_bytes + graph + sizes[0] + sum(sizes) + output
        return need + (version.numbers < (0, 12, 11))
    graph = compute.device_bytes(load.shape, load.run, "cuda")
    target = 1024 * MIB if load.fit_target_bytes is None else load.fit_target_bytes
    target += memory.DRIVER_CONTEXT_BYTES
    return target + graph + sum(load.layer_bytes) + output


def test_the_old_runner_counts_3_2_gib_for_a_32b_and_gives_layers_away() -> None:
    load = load_of("deepseek-r1:32b", "0.20.0", 32768, flash_attention=True)
    assert max(graph_bytes(load.shape, load.run)) / GIB == pytest.approx(3.2, abs=0.05)
    newer = replace(load, shape=replace(load.shape, name="qwen3"))  # has Ollama's own engine
    assert place(newer, cards(20)).gpu_layers - place(load, cards(20)).gpu_layers >= 5


@pytest.mark.parametrize("free", [8, 12, 16])
@pytest.mark.parametrize("version", ["0.9.3", "0.20.0", "0.33.0"])
@pytest.mark.parametrize("tag", ["deepseek-r1:70b", "qwen3:32b", "qwen3:30b"])
def test_a_split_leaves_room_for_its_own_buffers(tag: str, version: str, free: int) -> None:
    load = load_of(tag, version, 8192, flash_attention=version != "0.9.3")
    placed = place(load, cards(free))
    [device] = estimate(TARGET, load, placed).devices
    assert placed.kind == "split"
    assert device.bytes <= free * GIB


def test_the_newest_server_offloads_the_output_first() -> None:
    """0.30.10, a 32B on 15,814 MiB: 48 of 65 layers, 752 MiB of cache for 47 of them."""
    load = load_of("deepseek-r1:32b", "0.30.10", flash_attention=True)
    [share] = place(
        load, [Card(index=0, free_bytes=15814 * MIB + memory.DRIVER_CONTEXT_BYTES)]
    ).shares
    assert (share.layers, share.output) == (47, True)
    [one] = everywhere(load, layers=1).shares
    assert (one.layers, one.output) == (0, True)
    older = replace(load, run=replace(load.run, version=ServerVersion.parse("0.24.0")))
    [one] = everywhere(older, layers=1).shares
    assert (one.layers, one.output) == (1, False)


def test_of_a_mixture_the_newest_server_leaves_experts_on_the_host_and_nothing_else() -> None:
    load = load_of("qwen3:30b", "0.33.0", 8192, flash_attention=True)
    [share] = place(load, cards(12)).shares
    assert (share.layers, share.output) == (48, True)
    assert 0 < share.expert_layers < 48
    roomier, [tighter] = place(load, cards(16)).shares[0], place(load, cards(6)).shares
    assert roomier.expert_layers < share.expert_layers < tighter.expert_layers
    assert place(load, cards(24)).kind == "gpu"
    [none_whole] = place(load, cards(2)).shares
    assert none_whole.expert_layers == none_whole.layers < 48


def test_experts_move_in_from_the_first_card_on() -> None:
    load = load_of("qwen3:30b", "0.33.0", 8192, flash_attention=True)
    first, last = place(load, cards(8, 8)).shares
    assert first.expert_layers == 0
    assert last.output
    assert last.expert_layers > 0
    assert first.layers + last.layers == 48


@pytest.mark.parametrize(
    ("tag", "version", "free", "split"),
    [
        pytest.param("deepseek-r1:70b", "0.20.0", (24, 24), [41, 40], id="runner-evenly"),
        pytest.param("qwen3:32b", "0.20.0", (16, 16), [33, 32], id="own-engine-evenly"),
        pytest.param("qwen3:32b", "0.20.0", (16, 8), [45, 20], id="own-engine-by-room"),
        pytest.param("deepseek-r1:32b", "0.33.0", (16, 16), [33, 32], id="llama-server-by-room"),
    ],
)
def test_slices_of_layers_lie_one_after_the_other(
    tag: str, version: str, free: tuple[int, ...], split: list[int]
) -> None:
    placed = place(load_of(tag, version, 4096, flash_attention=True), cards(*free))
    assert [s.layers + s.output for s in placed.shares] == split
    assert [s.output for s in placed.shares] == [False, True]


@pytest.mark.parametrize(
    ("context", "free", "batch"),
    [
        pytest.param(4096, 24, 512, id="short-context"),
        pytest.param(8192, 24, 1024, id="longer-context"),
        pytest.param(65536, 48, 2048, id="long-context-and-room"),
        pytest.param(65536, 12, 1024, id="long-context-and-less-room"),
        pytest.param(8192, 6, 512, id="hardly-room"),
    ],
)
def test_the_newest_server_chooses_the_batch(context: int, free: int, batch: int) -> None:
    load = load_of("deepseek-r1:7b", "0.33.0", context, flash_attention=True)
    assert batched(load, cards(free)).run.num_batch == batch
    assert batched(load, ()).run.num_batch == min(2048, max(512, context // 8))
    older = replace(load, run=replace(load.run, version=ServerVersion.parse("0.24.0")))
    assert batched(older, cards(free)).run.num_batch == 512


def test_old_cuda_without_flash_attention_gets_a_small_batch_on_a_small_card() -> None:
    load = load_of("deepseek-r1:7b", "0.33.0", 8192, flash_attention=False)
    assert batched(load, cards(8)).run.num_batch == 256
    assert batched(load, cards(24)).run.num_batch == 512


@pytest.mark.parametrize("overhead", [0, GIB])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_model_is_whole_on_a_card_from_the_exact_byte_on(version: str, overhead: int) -> None:
    load = replace(load_of("deepseek-r1:14b", version, 8192), overhead_bytes=overhead)
    need = exact_need(load)
    assert place(load, [Card(index=0, free_bytes=need)]).kind == "gpu"
    short = place(load, [Card(index=0, free_bytes=need - 1)])
    assert (short.kind, short.gpu_layers) == ("split", 48)  # the output layer comes last


@pytest.mark.parametrize("target", [0, 512 * MIB, 2048 * MIB])
def test_the_margin_of_llama_cpp_is_the_server_s_setting(target: int) -> None:
    load = replace(load_of("deepseek-r1:14b", "0.33.0"), fit_target_bytes=target)
    assert place(load, [Card(index=0, free_bytes=exact_need(load))]).kind == "gpu"
    assert place(load, [Card(index=0, free_bytes=exact_need(load) - 1)]).kind == "split"


def test_the_gpu_overhead_setting_is_not_passed_on_from_0_30() -> None:
    load = replace(load_of("deepseek-r1:14b", "0.33.0"), overhead_bytes=4 * GIB)
    bare = replace(load, overhead_bytes=0)
    assert place(load, cards(11)) == place(bare, cards(11))


@pytest.mark.parametrize(
    ("version", "free", "used"),
    [
        pytest.param("0.9.3", (24, 24), [0], id="estimate-one-card-if-it-fits"),
        pytest.param("0.20.0", (24, 24), [0], id="measured-one-card-if-it-fits"),
        pytest.param("0.33.0", (24, 24), [0], id="newest-one-card-if-it-fits"),
        pytest.param("0.20.0", (7, 7, 7, 7), [0, 1], id="measured-as-few-as-possible"),
        pytest.param("0.9.3", (7, 7, 7, 7), [0, 1, 2, 3], id="estimate-one-or-all"),
        pytest.param("0.33.0", (11, 11), [0, 1], id="newest-shares-above-80-percent-of-a-card"),
        pytest.param("0.33.0", (4, 24), [1], id="the-card-with-most-free"),
    ],
)
def test_which_cards_are_used(version: str, free: tuple[float, ...], used: list[int]) -> None:
    load = load_of("deepseek-r1:14b", version, flash_attention=version != "0.9.3")
    placed = place(load, cards(*free))
    assert placed.kind == "gpu"
    assert sorted(where(placed)) == used


@pytest.mark.parametrize("version", VERSIONS)
def test_spreading_uses_every_card(version: str) -> None:
    load = replace(load_of("deepseek-r1:7b", version), spread=True)
    assert sorted(where(place(load, cards(24, 24, 24)))) == [0, 1, 2]


def test_a_full_card_takes_nothing() -> None:
    assert sorted(where(place(load_of("deepseek-r1:32b"), cards(24, 0.1)))) == [0]
    assert place(load_of("deepseek-r1:7b"), []).kind == "cpu"


@pytest.mark.parametrize(
    ("layers", "kind"), [(0, "cpu"), (1, "split"), (28, "split"), (29, "gpu"), (999, "gpu")]
)
def test_layers_by_order_are_capped_at_what_there_is(layers: int, kind: str) -> None:
    placed = everywhere(load_of("deepseek-r1:7b"), 3, layers)
    assert (placed.kind, placed.gpu_layers) == (kind, min(layers, 29))
    assert [s.index for s in placed.shares] == ([3] if layers else [])


def test_the_graph_of_the_estimate_era_is_the_log_s() -> None:
    full, _ = graph_bytes(TINY, run_of("0.9.3"))
    assert full / MIB == pytest.approx(41.0, abs=0.01)
    assert sum(memory.kv_by_layer(TINY, run_of("0.9.3"))) / MIB == 8.0


def table(tag: str, c: int, b: int) -> tuple[int, int]:
    """The formulas of 0.9.3, as the page on Ollama states them."""
    s = shape_of(tag)
    e, v, h, k = s.embedding_length, s.vocab_size, s.head_count, s.head_count_kv
    d, dk = e // h, s.key_length
    if s.name == "qwen2":
        full = max(4 * b * (e + v), 4 * b * (1 + 2 * e + c + c * h))
        partial = 4 * (b * (1 + 2 * e + c * (1 + h)) + e * (1 + c))
        return full, max(4 * b * (e + v) + e * v * 105 // 128, partial)
    if s.name == "llama":
        full = max(4 * b * (1 + 4 * e + c * (1 + h)), 4 * b * (e + v))
        one = 4 * b * (1 + e + max(c, e)) + e * e * 9 // 16 + 4 * c * (b * h + d * k)
        return full, 4 * b * e + max(one, 4 * b * (e + v) + e * v * 105 // 128)
    if s.name == "deepseek2":
        full = max(4 * b * (3 * e + v), 4 * b * (3 * e + 2 + c * (1 + k) + 2 * dk * k))
        one = 4 * b * (2 * e + 1 + 2 * dk * k + c + c * k) + 4 * dk * c * k + e * dk * k * 9 // 16
        return full, max(4 * b * (3 * e + v) + e * v * 105 // 128, one)
    same = (h // k) * (s.block_count * c * 2 * 2 * dk * k) // 6
    return same, same


@pytest.mark.parametrize("context", [2048, 32768])
@pytest.mark.parametrize(
    "tag", ["deepseek-r1:14b", "deepseek-r1:70b", "deepseek-r1:671b", "qwen3:14b", "qwen3:30b"]
)
def test_each_architecture_has_its_graph(tag: str, context: int) -> None:
    assert graph_bytes(shape_of(tag), run_of("0.9.3", context)) == table(tag, context, 512)


def some_load(shape_and_run: tuple[Architecture, Run], sizes: list[int]) -> Load:
    shape, run = shape_and_run
    return Load(shape=shape, run=run, weights=uneven(shape, sizes, 100 * MIB, 300 * MIB))


LOADS = st.builds(
    some_load,
    st.tuples(shapes(), runs(256, 32768)),
    st.lists(st.integers(MIB, 400 * MIB), min_size=1, max_size=8),
)
FREE = st.lists(st.floats(0, 80), min_size=1, max_size=4)


@LAW
@given(LOADS, FREE)
def test_no_layer_is_lost_or_placed_twice(load: Load, free: list[float]) -> None:
    placed = place(load, cards(*free))
    indexes = [s.index for s in placed.shares]
    assert len(set(indexes)) == len(indexes)
    assert set(indexes) <= set(range(len(free)))
    assert sum(s.output for s in placed.shares) <= 1
    assert 0 <= placed.gpu_layers <= placed.total_layers == load.shape.block_count + 1
    assert all(s.layers > 0 for s in placed.shares)


@LAW
@given(LOADS, st.floats(0, 80), st.floats(0, 40))
def test_a_larger_card_never_takes_fewer_layers(load: Load, free: float, more: float) -> None:
    assert place(load, cards(free)).gpu_layers <= place(load, cards(free + more)).gpu_layers


@LAW
@given(LOADS, FREE)
def test_what_the_server_places_whole_is_within_what_is_free(load: Load, free: list[float]) -> None:
    placed = place(load, cards(*free))
    held = {
        s.index: s.layers * min(load.layer_bytes) + (load.output_bytes if s.output else 0)
        for s in placed.shares
    }
    assert all(size <= free[index] * GIB for index, size in held.items())


def test_versions_of_one_era_place_alike() -> None:
    load = load_of("deepseek-r1:32b", "0.9.3")
    later = replace(load, run=replace(load.run, version=ServerVersion.parse("0.10.1")))
    assert place(load, cards(16)) == place(later, cards(16))


def test_from_0_11_5_on_as_few_cards_as_hold_all() -> None:
    before, after = (load_of("deepseek-r1:32b", v, 16384) for v in ("0.11.4", "0.12.3"))
    assert len(place(before, cards(24, 24, 24, 24)).shares) == 4
    assert len(place(after, cards(24, 24, 24, 24)).shares) == 2


def test_a_hybrid_counts_one_head_of_the_cache_in_the_newest_server_s_guess() -> None:
    """qwen3.5:27b: 17.4 GB and 0.9 GB of cache are less than four fifths of 24 GiB."""
    load = load_of("qwen3.5:27b", "0.33.0", 16384, flash_attention=True)
    assert len(place(load, cards(24, 24)).shares) == 1


def test_ollama_s_own_engine_keeps_no_copies_in_flight() -> None:
    load = load_of("qwen3:32b", "0.20.0", 32768, flash_attention=True)
    one, several = (
        compute.card_bytes(load.shape, load.run, "cuda", several=s) for s in (False, True)
    )
    assert one == several


def test_layers_by_order_are_shared_out_among_the_cards() -> None:
    load = load_of("deepseek-r1:14b", "0.5.7", 8192)
    assert forced(load, cards(8, 6, 6, 6), 49) == place(load, cards(8, 6, 6, 6))
    newest = load_of("deepseek-r1:14b", "0.33.0", 8192, flash_attention=True)
    assert [s.layers + s.output for s in forced(newest, cards(16, 8), 49).shares] == [33, 16]
    assert forced(newest, cards(16), 30) == everywhere(newest, layers=30)
