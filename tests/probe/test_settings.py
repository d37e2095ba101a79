"""A server's settings out of its environment, read as Ollama reads them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.machine import ServerSettings
from orchestrator.probe.settings import proxy_of, settings_of
from tests.conftest import RunDeploy
from tests.real.server import free_port

MIB = 2**20
NAMES = (
    "OLLAMA_NUM_PARALLEL", "OLLAMA_CONTEXT_LENGTH", "OLLAMA_GPU_OVERHEAD", "LLAMA_ARG_FIT_TARGET",
    "OLLAMA_HOST", "HTTPS_PROXY", "https_proxy", "ROCR_VISIBLE_DEVICES", "OLLAMA_MODELS",
)  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "settings"),
    [
        pytest.param({}, {}, id="nothing-set"),
        pytest.param({"OLLAMA_NUM_PARALLEL": "4"}, {"num_parallel": 4}, id="slots"),
        pytest.param({"OLLAMA_NUM_PARALLEL": "0"}, {}, id="zero-slots-is-auto"),
        pytest.param({"OLLAMA_NUM_PARALLEL": "many"}, {}, id="no-number"),
        pytest.param({"OLLAMA_NUM_PARALLEL": ' "2" '}, {"num_parallel": 2}, id="quoted"),
        pytest.param({"OLLAMA_CONTEXT_LENGTH": "8192"}, {"context_length": 8192}, id="context"),
        pytest.param({"OLLAMA_FLASH_ATTENTION": "1"}, {"flash_attention": True}, id="on"),
        pytest.param({"OLLAMA_FLASH_ATTENTION": "false"}, {"flash_attention": False}, id="off"),
        pytest.param({"OLLAMA_FLASH_ATTENTION": "yes"}, {"flash_attention": True}, id="any-text"),
        pytest.param({"OLLAMA_FLASH_ATTENTION": ""}, {}, id="empty-is-unset"),
        pytest.param({"OLLAMA_KV_CACHE_TYPE": "Q8_0"}, {"kv_cache_type": "q8_0"}, id="kv-type"),
        pytest.param({"OLLAMA_KV_CACHE_TYPE": "banana"}, {}, id="no-kv-type"),
        pytest.param({"OLLAMA_KV_CACHE_TYPE": "q5_1"}, {}, id="only-llama-cpps-kv-type"),
        pytest.param({"OLLAMA_GPU_OVERHEAD": "1048576"}, {"gpu_overhead_bytes": MIB}, id="bytes"),
        pytest.param({"OLLAMA_SCHED_SPREAD": "t"}, {"sched_spread": True}, id="spread"),
        pytest.param({"OLLAMA_MAX_LOADED_MODELS": "3"}, {"max_loaded_models": 3}, id="loaded"),
        pytest.param({"OLLAMA_KEEP_ALIVE": "-1"}, {"keep_alive": "-1"}, id="keep-alive"),
        pytest.param({"OLLAMA_MODELS": "/srv/m"}, {"models_path": "/srv/m"}, id="models"),
        pytest.param({"CUDA_VISIBLE_DEVICES": ""}, {"visible_devices": ""}, id="hides-all"),
        pytest.param({"LLAMA_ARG_FIT_TARGET": "256"}, {"fit_target_bytes": 256 * MIB}, id="mib"),
        pytest.param(
            {"LLAMA_ARG_FIT_TARGET": "256,512"}, {"fit_target_bytes": 512 * MIB}, id="mib-a-device"
        ),
        pytest.param({"OLLAMA_NUM_PARALLEL": "9" * 5000}, {}, id="no-number-of-slots"),
        pytest.param({"OLLAMA_NUM_PARALLEL": "\N{SUPERSCRIPT TWO}"}, {}, id="no-digit"),
        pytest.param({"ROCR_VISIBLE_DEVICES": "1"}, {"amd_visible_devices": "1"}, id="rocm"),
        pytest.param({"HIP_VISIBLE_DEVICES": "0,1"}, {"amd_visible_devices": "0,1"}, id="hip"),
        pytest.param({"GPU_DEVICE_ORDINAL": "2"}, {"amd_visible_devices": "2"}, id="ordinal"),
        pytest.param(
            {"ROCR_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0", "GPU_DEVICE_ORDINAL": "2"},
            {"amd_visible_devices": "1"},
            id="rocm-goes-first",
        ),
        pytest.param(
            {"HIP_VISIBLE_DEVICES": "", "GPU_DEVICE_ORDINAL": "2"},
            {"amd_visible_devices": "2"},
            id="an-empty-one-of-hip-is-unset",
        ),
        pytest.param(
            {"ROCR_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "0"},
            {"amd_visible_devices": ""},
            id="an-empty-one-of-rocm-hides-all",
        ),
        pytest.param(
            {"HSA_OVERRIDE_GFX_VERSION": '"10.3.0"'}, {"gfx_override": "10.3.0"}, id="gfx"
        ),
        pytest.param({"OLLAMA_HOST": "0.0.0.0"}, {"listens_everywhere": True}, id="everywhere"),
        pytest.param({"OLLAMA_HOST": "[::]:1"}, {"listens_everywhere": True}, id="everywhere-6"),
        pytest.param({"OLLAMA_HOST": "127.0.0.1:1"}, {"listens_everywhere": False}, id="loopback"),
        pytest.param({"HTTPS_PROXY": "http://p:3128"}, {"proxy": "http://p:3128"}, id="proxy"),
    ],
)
def test_settings_are_read_as_ollama_reads_them(
    environ: dict[str, str], settings: dict[str, Any]
) -> None:
    assert settings_of(environ) == ServerSettings(**settings)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("https://proxy.example/", "https://proxy.example"),
        ("proxy:3128", "proxy:3128"),
        ("socks5://[::1]:1080", "socks5://[::1]:1080"),
        (" http://proxy:1 ", "http://proxy:1"),
        ("http://ann:secret@proxy:3128/path?token=secret", "http://proxy:3128"),
        ("ann:secret@proxy:3128", "proxy:3128"),
        ("http://ann:se/cr@et@proxy:1", "http://proxy:1"),
        ("http://ann:secret#1@proxy:1", "http://proxy:1"),
        ("ann:secret://x@proxy:1", "proxy:1"),
        ("secret://ann@proxy:1", "proxy:1"),
        ("http://proxy:1#secret", "http://proxy:1"),
        ("http://secret@", None),
        ("http://two words", None),
        ("", None),
    ],
)
def test_a_proxy_is_shown_without_name_and_password(value: str, shown: str | None) -> None:
    assert proxy_of({"https_proxy": value}) == shown


def test_the_proxy_in_capitals_goes_first() -> None:
    both = {"https_proxy": "http://small:1", "HTTPS_PROXY": "http://large:1"}
    assert proxy_of(both) == "http://large:1"
    assert proxy_of({**both, "HTTPS_PROXY": ""}) == "http://small:1"
    assert proxy_of({"HTTP_PROXY": "http://plain:1", "ALL_PROXY": "http://all:1"}) is None


@given(st.text(min_size=4).map(lambda text: f"SECRET{text}"), st.sampled_from(["http", "socks5"]))
def test_no_password_is_ever_shown(password: str, scheme: str) -> None:
    shown = proxy_of({"https_proxy": f"{scheme}://ann:{password}@proxy:3128"})
    assert "SECRET" not in (shown or "")


@given(st.dictionaries(st.sampled_from(NAMES), st.text()))
def test_no_environment_makes_it_raise(environ: dict[str, str]) -> None:
    settings_of(environ)


def test_a_cache_type_that_ollama_does_not_know_stops_no_plan(run_deploy: RunDeploy) -> None:
    """The server that would be started logs a warning and takes its default."""
    environ = {"OLLAMA_HOST": f"127.0.0.1:{free_port()}", "OLLAMA_KV_CACHE_TYPE": "banana"}
    done = run_deploy("plan", "--json", "deepseek-r1:1.5b", env=environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["chosen"]["estimate"]["kv_cache_type"] == "f16"
