"""Which models there are, and what they are."""

from orchestrator.explain.topics.figures import Figures
from orchestrator.explain.topics.topic import Claim, Topic

GROUP = "Which models there are"


def topics(f: Figures) -> tuple[Topic, ...]:
    """Return the topics of this page of claims."""
    return (
        _distills(f),
        _seven_b(f),
        _moved(f),
        _other_sizes(f),
        _modality(f),
        _inside(f),
        _open(),
    )


def _distills(f: Figures) -> Topic:
    claims = (
        Claim(
            "DeepSeek-R1 comes in 6B, 16B and 67B.",
            f"Its sizes are {f.sizes('deepseek-r1')}. 16B is DeepSeek-V2-Lite and Coder-V2-Lite, "
            "67B is DeepSeek-LLM of 2023, 6.7B is DeepSeek-Coder; a hardware table for R1-6B is "
            "one for a model that does not exist.",
            "README of deepseek-ai/DeepSeek-R1; the library's tags",
        ),
        Claim(
            "deepseek-r1:7b is DeepSeek-R1, only smaller.",
            f"Only 671b is R1 ({f.active('deepseek-r1:671b')}B active parameters). The others are "
            "distills: Qwen and Llama models trained on R1's answers. 1.5B and 7B stand on "
            "Qwen2.5-Math, 14B and 32B on Qwen2.5, 70B on Llama-3.3-Instruct, 8B on Qwen3 or "
            "Llama-3.1. They are dense: every token uses all parameters.",
            "README of deepseek-ai/DeepSeek-R1, table of the distills",
        ),
    )
    return Topic("distills", "What deepseek-r1:7b is, and which sizes exist", GROUP, claims)


def _seven_b(f: Figures) -> Topic:
    sizes = ", ".join(
        f"{tag} {f.billions(tag)}" for tag in ("deepseek-r1:7b", "qwen3:8b", "deepseek-r1:32b")
    )
    claims = (
        Claim(
            "7B means 7 GB.",
            f"7B is the number of parameters, in billions and rounded: {sizes} billion. Bytes "
            "follow from the quantization: deepseek-r1:7b is a download of "
            f"{f.download('deepseek-r1:7b')} at Q4_K_M, "
            f"{f.download('deepseek-r1:7b-qwen-distill-q8_0')} at Q8_0 and "
            f"{f.download('deepseek-r1:7b-qwen-distill-fp16')} at F16.",
            "headers of the files; the registry's manifests",
        ),
        Claim(
            "671B parameters work on every token.",
            f"In a mixture of experts a part does: {f.active('deepseek-r1:671b')}B of "
            f"{f.billions('deepseek-r1:671b')}B in deepseek-r1:671b, {f.active('qwen3:30b')}B of "
            f"{f.billions('qwen3:30b')}B in qwen3:30b. All of them lie in memory; the active ones "
            "decide the speed.",
            "README of deepseek-ai/DeepSeek-V3; headers of the files",
        ),
    )
    return Topic("what-7b-means", "What 7B means", GROUP, claims)


def _moved(f: Figures) -> Topic:
    claim = Claim(
        "deepseek-r1:8b is the Llama distill of 4.9 GB.",
        "Until May 2025. Since then the tag, and latest, is the 0528 distill on Qwen3: "
        f"{f.download('deepseek-r1:8b')}. The old file is deepseek-r1:8b-llama-distill-q4_K_M, "
        f"{f.download('deepseek-r1:8b-llama-distill-q4_K_M')}. A tag is a name and moves; a "
        "digest does not.",
        "history of the registry's manifests (josh/ollama-models-nix)",
    )
    return Topic("moved-tags", "Tags that moved to another file", GROUP, (claim,))


def _other_sizes(f: Figures) -> Topic:
    claims = (
        Claim(
            "There is a Qwen2.5-1.8B.",
            f"1.8B is Qwen1.5 (the library's qwen:1.8b). Qwen2.5 has {f.sizes('qwen2.5')}.",
            "the library's tags",
        ),
        Claim(
            "LLaMA is 7B or 13B; ChatGPT has hundreds of billions.",
            "LLaMA had 33B and 65B too. OpenAI has not published the sizes of GPT-3.5 and 4.",
            "the LLaMA paper (2023)",
        ),
    )
    return Topic("other-sizes", "Sizes of Qwen and others", GROUP, claims)


def _modality(f: Figures) -> Topic:
    claim = Claim(
        "DeepSeek-V3, R1 and Qwen2.5 see images, hear, and paint.",
        "They take text and give text. Images are read by Qwen2.5-VL, a family of its own "
        f"({f.sizes('qwen2.5vl')}), and by DeepSeek-VL2 and DeepSeek-OCR; Janus-Pro paints.",
        "README of deepseek-ai/DeepSeek-V3; the library's pages of qwen2.5 and qwen2.5vl",
    )
    return Topic("modality", "Text only", GROUP, (claim,))


def _inside(f: Figures) -> Topic:
    shape = f.of("deepseek-r1:671b").architecture
    claims = (
        Claim(
            "Every layer has 256 experts and a shared one; MLA makes attention linear.",
            f"The first 3 of {shape.block_count} layers are dense; the others have "
            f"{shape.expert_count} routed experts, {shape.expert_used_count} in use, and a shared "
            "one. MLA shrinks the KV cache; attention stays quadratic in the context.",
            "config_671B.json of deepseek-ai/DeepSeek-V3; the reports of V2 and V3",
        ),
        Claim(
            "It was trained on 2 trillion tokens with DeepSpeed MoE, a CNN and pruning.",
            "2 trillion is DeepSeek-LLM of 2023; V2 saw 8.1, V3 14.8 trillion. DeepSeek's method "
            "is DeepSeekMoE, DeepSpeed a library of Microsoft's. There is no CNN and no pruning.",
            "README and inference/model.py of deepseek-ai/DeepSeek-V3",
        ),
    )
    return Topic("inside-r1", "Experts, layers and training of R1", GROUP, claims)


def _open() -> Topic:
    claims = (
        Claim(
            "V3 is not fully open, and there is no code to run it.",
            "The weights are public since December 2024; the repository has inference/ under MIT, "
            "FlashMLA and DeepEP followed in February 2025.",
            "deepseek-ai/DeepSeek-V3: LICENSE-MODEL, LICENSE-CODE, inference/",
        ),
        Claim(
            "`import deepseek`, then `load_model('deepseek-r1')`.",
            "There is no such library. `deepseek-r1:1.5b` is pulled by Ollama; `deploy env` prints "
            "how a client reaches it.",
            "no repository of deepseek-ai has it",
        ),
    )
    return Topic("openness", "Open weights, code and libraries", GROUP, claims)
