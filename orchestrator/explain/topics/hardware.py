"""Cards, hosts, and what several of them give."""

from orchestrator.explain.topics.figures import Figures
from orchestrator.explain.topics.topic import Claim, Topic

GROUP = "Hardware"


def topics(f: Figures) -> tuple[Topic, ...]:
    """Return the topics of this page of claims."""
    return (_split(f), _several(), _unified(), _old(f), _ascend(), _sheets(f))


def _split(f: Figures) -> Topic:
    claim = Claim(
        "A GPU that holds half of the model makes it twice as fast.",
        "GPU and CPU take turns on every token, so the slower part decides: half of the layers on "
        "a CPU with a tenth of the bandwidth leave less than a fifth of the speed. Each token of "
        f"deepseek-r1:32b reads {f.read('deepseek-r1:32b')} of weights: an RTX 4090 has "
        f"{f.bandwidth('RTX 4090')} for that, two channels of DDR4-2400 have 38 GB/s.",
        "docs/estimating-speed.md",
    )
    return Topic("gpu-split", "GPU and CPU together", GROUP, (claim,))


def _several() -> Topic:
    claim = Claim(
        "More GPUs are linearly faster.",
        "Ollama gives each card whole layers, one after the other: several cards hold a larger "
        "model, one stream gets no faster. Each card takes its own driver context and compute "
        "buffer, so two of 12 GB hold less than one of 24.",
        "llama.cpp's split mode by layer; docs/estimating-memory.md",
    )
    return Topic("several-gpus", "Several GPUs", GROUP, (claim,))


def _unified() -> Topic:
    claim = Claim(
        "A Mac or DGX Spark with 128 GB has 128 GB for the model, and host memory beside it.",
        "It is one pool: what the GPU takes is gone for the host. Metal grants two thirds to three "
        "quarters of it; the system keeps the larger of 4 GiB and 8 % in `deploy`'s plans.",
        "docs/estimating-memory.md; Ollama's discovery of unified memory",
    )
    return Topic("unified-memory", "Unified memory", GROUP, (claim,))


def _old(f: Figures) -> Topic:
    claim = Claim(
        "A GeForce GT 710 helps.",
        f"Its compute capability is {f.capability('GeForce GT 710')}; Ollama's CUDA build needs "
        "5.0. The box is planned as a CPU: with two channels of DDR4-2400 it reads at most 38.4 "
        "GB/s. `deploy probe` says why a card is unusable.",
        "Ollama's docs/gpu.mdx",
    )
    return Topic("old-cards", "GT 710 and other old cards", GROUP, (claim,))


def _ascend() -> Topic:
    claim = Claim(
        "Ascend 310 cards run it out of the box.",
        "Ollama has no backend for them. Huawei's way is MindIE or vLLM-Ascend; llama.cpp can "
        "use them, but Ollama does not ship that backend.",
        "Ollama's docs/gpu.mdx",
    )
    return Topic("ascend", "Huawei Ascend", GROUP, (claim,))


def _sheets(f: Figures) -> Topic:
    claims = (
        Claim(
            "A100: 624 TFLOPS single precision, so it writes faster.",
            "19.5 in FP32, 312 in FP16 on tensor cores; 624 is FP16 with sparsity. Writing is "
            f"bound by memory: {f.bandwidth('A100 SXM4 80GB')}, against "
            f"{f.bandwidth('RTX 3060')} of an RTX 3060.",
            "A100 data sheet",
        ),
        Claim(
            "RTX 3050 has 2,048 cores, RTX 4070 has GDDR6, Tesla is the series.",
            "2,560 (8 GB) or 2,304 (6 GB), 2,048 is the laptop's; GDDR6X at launch, a GDDR6 "
            "revision came in August 2024; the name Tesla ended with Ampere.",
            "NVIDIA's product pages",
        ),
    )
    return Topic("card-sheets", "What data sheets say of speed", GROUP, claims)
