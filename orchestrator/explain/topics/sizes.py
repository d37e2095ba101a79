"""What files and memory a model takes."""

from orchestrator.explain.topics.figures import Figures
from orchestrator.explain.topics.topic import Claim, Topic
from orchestrator.model import BITS_PER_WEIGHT

GROUP = "Sizes"


def topics(f: Figures) -> tuple[Topic, ...]:
    """Return the topics of this page of claims."""
    return (_half_byte(f), _quantization(f), _files(f), _full_r1(f), _what_fits(f))


def _half_byte(f: Figures) -> Topic:
    half = f.of("deepseek-r1:7b").parameters_total / 2
    claims = (
        Claim(
            "Memory = parameters x 0.5 byte, since it is 4 bit.",
            f"Ollama's default is Q4_K_M, {f.bits('deepseek-r1:7b')} bits a parameter in "
            f"deepseek-r1:7b and {f.bits('deepseek-r1:671b')} in 671b. So 7b takes "
            f"{f.file('deepseek-r1:7b')} and not {half / 2**30:.2f} GiB, 671b "
            f"{f.file('deepseek-r1:671b')}.",
            "the registry's manifests; header of DeepSeek-R1-Distill-Qwen-7B",
        ),
        Claim(
            "Times 2 or 3 for production.",
            "There is no factor: to the weights come the KV cache, "
            f"{f.cache_per_token('deepseek-r1:7b')} a token and slot for 7b, and compute buffers "
            "that depend on the context. 7b on one card in all: "
            f"{f.on_one_card('deepseek-r1:7b', 4096)} at 4,096 tokens, "
            f"{f.on_one_card('deepseek-r1:7b', 131072)} at 131,072.",
            "docs/estimating-memory.md (Ollama 0.20.0, one slot)",
        ),
        Claim(
            "File size and a little = memory.",
            "For one slot and a short context. The KV cache of deepseek-r1:32b at 32,768 tokens "
            f"alone is {f.cache('deepseek-r1:32b', 32768)}.",
            "docs/estimating-memory.md",
        ),
    )
    return Topic("half-byte", "Why parameters x 0.5 byte misleads", GROUP, claims)


def _quantization(f: Figures) -> Topic:
    shown = ("Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")
    bits = ", ".join(f"{name} {BITS_PER_WEIGHT[name]:g}" for name in shown)
    claim = Claim(
        "Q4_K_M takes less than FP4.",
        "It takes more than 4 bits: blocks of Q4_K (4.5 bits, their scales included) and of Q6_K "
        f"(6.56) mixed, {f.bits('deepseek-r1:7b')} on average in deepseek-r1:7b. Bits a weight: "
        f"{bits}. `deploy explain --what-if quantize=Q8_0` shows what another one takes here.",
        "llama-quant.cpp and the block layouts of ggml",
    )
    return Topic("quantization", "Q4_K_M, FP4 and the others", GROUP, (claim,))


def _files(f: Figures) -> Topic:
    claims = (
        Claim(
            "32B and 70B are files of about 16 GB.",
            f"{f.download('deepseek-r1:32b')} and {f.download('deepseek-r1:70b')} at Q4_K_M.",
            "the registry's manifests",
        ),
        Claim(
            "1.5B is a file of 3.6 GB.",
            f"deepseek-r1:1.5b is {f.download('deepseek-r1:1.5b')}; its fp16 tag is "
            f"{f.download('deepseek-r1:1.5b-qwen-distill-fp16')}. Beside the 4.7 GB of 7b that "
            "mixes precisions.",
            "the registry's manifests; the library's page",
        ),
    )
    return Topic("file-sizes", "How large the files are", GROUP, claims)


def _full_r1(f: Figures) -> Topic:
    claim = Claim(
        "Full R1 is 720 GB, and no single server runs it.",
        f"Ollama's files: Q4_K_M {f.download('deepseek-r1:671b')}, Q8_0 "
        f"{f.download('deepseek-r1:671b-q8_0')}, F16 {f.download('deepseek-r1:671b-fp16')}. A host "
        "with 512 GB of memory holds the first; eight H20 (768 GB) or H200 (1,128 GB) hold it on "
        f"GPUs. Each token reads {f.read('deepseek-r1:671b')} of weights.",
        "the library's tags; README of deepseek-ai/DeepSeek-V3",
    )
    return Topic("full-r1", "What full R1 needs", GROUP, (claim,))


def _what_fits(f: Figures) -> Topic:
    pairs = (("7b", 8), ("14b", 12), ("32b", 24), ("70b", 48))
    needs = ", ".join(f"{size} {f.on_one_card(f'deepseek-r1:{size}')}" for size, _ in pairs)
    cards = ", ".join(f"{size} on {gb} GB" for size, gb in pairs)
    claim = Claim(
        "7B wants a workstation, 14B a data centre, 67B eight A100.",
        f"At 4,096 tokens, on one card in all: {needs}. So {cards} of GPU memory. 1.5B and 7B run "
        "on a CPU as well.",
        "docs/estimating-memory.md (Ollama 0.20.0); `deploy plan --machine FILE` for any box",
    )
    return Topic("what-fits", "Which model fits which card", GROUP, (claim,))
