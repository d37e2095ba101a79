"""Wishes against what a server does: the settings in force, and why a wish is not."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidInput
from orchestrator.machine import Machine
from orchestrator.memory import Device, KvType
from orchestrator.settings import Effective, Wishes, effective
from tests.shapes import TINY, VERSIONS, box

CARD = ("NVIDIA GeForce RTX 4090", 24)
OLD_CARD = ("NVIDIA GeForce GTX 970", 4)
XAVIER = ("NVIDIA Jetson AGX Xavier", 32)


def found(
    wishes: Wishes | None = None,
    device: Device = "cuda",
    trained: int = 131072,
    name: str = "qwen2",
    **server: Any,
) -> Effective:
    """Return the settings on a box; without server settings, those of no box at all."""
    machine = box(64, CARD, server=server) if server else None
    shape = replace(TINY, context_length=trained, name=name)
    return effective(wishes or Wishes(), shape=shape, machine=machine, device=device)


def test_without_a_machine_flags_are_taken_at_face_value() -> None:
    run = found().run
    assert (run.context, run.parallel, run.num_batch) == (4096, 1, 512)
    assert (run.flash_attention, run.kv_cache_type, str(run.version)) == (True, "f16", "0.33.0")
    wish = Wishes(flash_attention=False, context=2048, parallel=3, num_batch=256)
    run = found(wish).run
    assert (run.flash_attention, run.context, run.parallel, run.num_batch) == (False, 2048, 3, 256)


def test_a_version_alone_decides_formulas_not_flags() -> None:
    run = effective(Wishes(), shape=TINY, version="0.9.3").run
    assert (str(run.version), run.flash_attention, run.parallel) == ("0.9.3", True, 1)


@pytest.mark.parametrize(
    ("device", "version", "on"),
    [
        pytest.param("cuda", "0.9.3", False, id="auto-was-off"),
        pytest.param("cuda", "0.13.5", True, id="auto-is-on"),
        pytest.param("cpu", "0.9.3", False, id="cpu-had-none"),
        pytest.param("cpu", "0.13.5", True, id="cpu-too"),
        pytest.param("metal", "0.20.0", True, id="metal-too"),
    ],
)
def test_flash_attention_auto_is_what_the_version_does(
    device: Device, version: str, on: bool
) -> None:
    assert found(device=device, version=version).run.flash_attention is on


def test_a_flag_beats_the_server_s_setting() -> None:
    server: dict[str, Any] = {"version": "0.20.0", "settings": {"flash_attention": False}}
    assert found(**server).run.flash_attention is False
    assert found(Wishes(flash_attention=True), **server).run.flash_attention is True


def test_flash_attention_on_an_old_cpu_server_is_ignored_with_the_reason() -> None:
    wish = Wishes(flash_attention=True, kv_cache_type="q8_0")
    result = found(wish, "cpu", version="0.9.3")
    assert (result.run.flash_attention, result.run.kv_cache_type) == (False, "f16")
    reason = "ignored: CPU, 0.9.3"
    assert result.requested == {
        "flash_attention": {"asked": True, "reason": reason},
        "kv_cache_type": {"asked": "q8_0", "reason": reason},
    }


@pytest.mark.parametrize(
    ("capability", "version", "by_hand", "on"),
    [
        ("5.2", "0.33.0", False, False), ("7.2", "0.33.0", False, False),
        ("6.1", "0.33.0", False, True), ("6.1", "0.30.0", False, False),
        (None, "0.33.0", False, True), ("5.2", "0.33.0", True, True),
        ("7.2", "0.12.11", True, False), ("5.2", "0.9.3", True, True),
    ],
)  # fmt: skip
def test_one_old_card_turns_flash_attention_off_by_the_rule_of_its_version(
    capability: str | None, version: str, by_hand: bool, on: bool
) -> None:
    machine = box(64, CARD, ("NVIDIA old", 8), version=version)
    other = replace(machine.accelerators[1], compute_capability=capability)
    machine = replace(machine, accelerators=(machine.accelerators[0], other))
    wish = Wishes(flash_attention=True if by_hand else None)
    result = effective(wish, shape=TINY, machine=machine)
    assert result.run.flash_attention is on
    assert ("flash_attention" in result.requested) is (by_hand and not on)


def test_a_server_s_quantized_cache_counts_only_with_flash_attention() -> None:
    settings = {"kv_cache_type": "q8_0", "flash_attention": True}
    assert found(version="0.9.3", settings=settings).run.kv_cache_type == "q8_0"
    result = found(version="0.9.3", settings={"kv_cache_type": "q8_0"})
    assert result.run.kv_cache_type == "f16"
    assert "flash attention is off" in result.requested["kv_cache_type"]["reason"]


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_a_quantized_cache_without_flash_attention_is_refused(kind: KvType) -> None:
    with pytest.raises(InvalidInput, match=f"{kind} KV cache needs flash attention"):
        found(Wishes(kv_cache_type=kind, flash_attention=False))


def test_an_unknown_cache_type_of_the_server_is_refused_not_guessed() -> None:
    with pytest.raises(InvalidInput, match="'q5_1' is unknown"):
        found(version="0.9.3", settings={"kv_cache_type": "q5_1"})


@pytest.mark.parametrize(
    ("wish", "server", "slots"),
    [
        pytest.param(None, {"version": "0.9.3", "pid": 7}, 2, id="old-servers-take-two"),
        pytest.param(None, {"version": "0.9.3"}, 1, id="one-where-no-server-was-seen"),
        pytest.param(None, {"version": "0.9.7", "pid": 7}, 1, id="later-ones-one"),
        pytest.param(None, {"version": None}, 1, id="unknown-is-the-newest"),
        pytest.param(3, {"version": "0.9.3"}, 3, id="a-wish"),
        pytest.param(
            None, {"version": "0.9.3", "settings": {"num_parallel": 4}}, 4, id="the-server-s"
        ),
    ],
)
def test_slots(wish: int | None, server: dict[str, Any], slots: int) -> None:
    result = found(Wishes(parallel=wish), **server)
    assert result.run.parallel == slots
    assert not result.requested


def test_a_running_server_s_slots_cannot_be_wished_away() -> None:
    result = found(Wishes(parallel=2), version="0.9.3", settings={"num_parallel": 4})
    assert result.run.parallel == 4
    assert result.requested["parallel"]["asked"] == 2
    assert "OLLAMA_NUM_PARALLEL=4" in result.requested["parallel"]["reason"]


def test_above_the_trained_context_is_clamped_and_the_wish_kept() -> None:
    result = found(Wishes(context=200_000), trained=40960)
    assert result.run.context == 40960
    assert result.requested == {"context": {"asked": 200_000, "reason": "trained for 40960"}}
    assert not found(Wishes(context=40960), trained=40960).requested


def test_a_machine_s_context_setting_is_the_default() -> None:
    server: dict[str, Any] = {"version": "0.9.3", "settings": {"context_length": 16384}}
    assert found(**server).run.context == 16384
    assert found(Wishes(context=2048), **server).run.context == 2048


@pytest.mark.parametrize("value", [0, -1, 2**31, 10**400])
@pytest.mark.parametrize("name", ["context", "parallel", "num_batch"])
def test_a_number_out_of_range_is_refused_by_the_flag_s_name(name: str, value: int) -> None:
    wish: dict[str, Any] = {name: value}
    with pytest.raises(InvalidInput, match=f"--{name.replace('_', '-')} .*must be at"):
        found(Wishes(**wish))


MACHINES = st.one_of(
    st.none(),
    st.builds(
        lambda version, cards, **settings: box(
            64, *cards, server={"version": version, "settings": settings}
        ),
        st.sampled_from(VERSIONS),
        st.lists(st.sampled_from([CARD, OLD_CARD, XAVIER]), max_size=2),
        flash_attention=st.sampled_from([None, True, False]),
        kv_cache_type=st.sampled_from([None, "f16", "q8_0", "q4_0"]),
        num_parallel=st.sampled_from([None, 1, 4]),
    ),
)
WISHES = st.builds(
    Wishes,
    kv_cache_type=st.sampled_from([None, "f16", "q8_0", "q4_0"]),
    flash_attention=st.sampled_from([None, True, False]),
    parallel=st.sampled_from([None, 1, 8]),
)


@settings(deadline=None, max_examples=150)
@given(MACHINES, WISHES, st.sampled_from(["cuda", "metal", "cpu"]))
def test_a_cache_is_never_quantized_without_flash_attention(
    machine: Machine | None, wishes: Wishes, device: Device
) -> None:
    try:
        result = effective(wishes, shape=TINY, machine=machine, device=device)
    except InvalidInput:
        assert wishes.flash_attention is False
        return
    run = result.run
    assert run.flash_attention or run.kv_cache_type == "f16"
    if wishes.kv_cache_type not in (None, run.kv_cache_type):
        assert result.requested["kv_cache_type"]["asked"] == wishes.kv_cache_type
    if wishes.flash_attention not in (None, run.flash_attention):
        assert result.requested["flash_attention"]["asked"] == wishes.flash_attention


@pytest.mark.parametrize(
    ("version", "slots"), [("0.5.7", 4), ("0.6.6", 4), ("0.6.7", 2), ("0.9.6", 2), ("0.9.7", 1)]
)
def test_how_many_slots_a_server_takes_by_itself(version: str, slots: int) -> None:
    assert found(version=version, pid=1).run.parallel == slots


def test_more_slots_than_llama_cpp_has_are_refused() -> None:
    with pytest.raises(InvalidInput, match="--parallel 257: must be at most 256"):
        found(Wishes(parallel=257))
