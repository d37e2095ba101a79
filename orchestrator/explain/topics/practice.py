"""Licences, and how to measure."""

from orchestrator.explain.topics.figures import Figures
from orchestrator.explain.topics.topic import Claim, Topic

LICENCES, MEASURING = "Licences", "Measuring"


def topics(f: Figures) -> tuple[Topic, ...]:
    """Return the topics of this page of claims."""
    return (_licences(f), _ollama_ps(), _prompt_cache())


def _licences(f: Figures) -> Topic:
    claims = (
        Claim(
            "R1 is Apache 2.0.",
            f"{f.of('deepseek-r1:671b').license}, weights and code. The Llama distills carry "
            f"Meta's licences too: 70b is under {f.of('deepseek-r1:70b').license}.",
            "LICENSE of deepseek-ai/DeepSeek-R1, the licence layer of every tag",
        ),
        Claim(
            "Qwen2.5 is free for commerce throughout.",
            f"{f.licences('qwen2.5')}. The research licence of 3B forbids commercial use, the one "
            "of 72B asks for permission above 100 million users. `deploy` leaves non-commercial "
            "files out unless --allow-licence is given.",
            "the licence layers in the registry",
        ),
    )
    return Topic("licences", "Licences", LICENCES, claims)


def _ollama_ps() -> Topic:
    claim = Claim(
        "`ollama ps` shows what a model takes.",
        "In 0.9.3 it shows the estimate that placement was made with. Newer versions sum the "
        "buffers and leave the CUDA context out, 300 to 600 MiB a card. Against the buffers of the "
        "same run Ollama's own figures are 7.6 % off in the median. `deploy` measures with NVML "
        "and the kernel's record of the process.",
        "Ollama's llm/memory.go and server/sched.go; public server logs",
    )
    return Topic("ollama-ps", "The memory figures of ollama ps", MEASURING, (claim,))


def _prompt_cache() -> Topic:
    claim = Claim(
        "Run the prompt three times and average.",
        "The second run comes out of the prompt cache: the same count of tokens in a fraction of "
        "the time, so prefill tokens/s of a repeated prompt are fiction. `deploy bench` begins "
        "each prompt anew.",
        "docs/bench-method.md",
    )
    return Topic("repeated-prompts", "Why repeated prompts measure nothing", MEASURING, (claim,))
