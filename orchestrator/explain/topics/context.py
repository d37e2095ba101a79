"""Context windows and the KV cache."""

from orchestrator.explain.topics.figures import Figures
from orchestrator.explain.topics.topic import Claim, Topic

GROUP = "Context"


def topics(f: Figures) -> tuple[Topic, ...]:
    """Return the topics of this page of claims."""
    return (_window(f), _cache(f), _slots(f))


def _window(f: Figures) -> Topic:
    claims = (
        Claim(
            "All Qwen2.5 models have 128K.",
            f"The library's files say {f.window('qwen2.5:7b')}. 7B and larger reach 128K with YaRN "
            "only; 0.5B, 1.5B and 3B do not.",
            "the library's pages; headers of the files",
        ),
        Claim(
            "R1 has 128K.",
            f"The model card says so; the file of 671b says {f.window('deepseek-r1:671b')}, those "
            f"of the distills {f.window('deepseek-r1:7b')}. The file decides.",
            "headers of the files",
        ),
        Claim(
            "The window is there without asking.",
            "The server gives what is asked for (num_ctx) or its own default, which depends "
            "on version and GPU memory. A longer prompt is cut in silence. "
            "`deploy` fixes the context in the model that it deploys.",
            "Ollama's docs/faq.md",
        ),
    )
    return Topic("context", "Context windows", GROUP, claims)


def _cache(f: Figures) -> Topic:
    shape = f.of("deepseek-r1:7b").architecture
    split = f.of("deepseek-r1:671b").architecture.mla_cache
    latent = "as 671b does" if split else "but not in a file that is not split for it, as 671b"
    claims = (
        Claim(
            "What does a token of context cost?",
            f"layers x KV heads x (key + value) x bytes: {shape.block_count} x "
            f"{shape.head_count_kv} x ({shape.key_length} + {shape.value_length}) x 2 = "
            f"{f.cache_per_token('deepseek-r1:7b')} in deepseek-r1:7b, "
            f"{f.cache_per_token('deepseek-r1:32b')} in 32b. MLA keeps one latent vector instead, "
            f"{latent}: {f.cache_per_token('deepseek-r1:671b')}.",
            "docs/estimating-memory.md; exact in 78 of 78 public server logs",
        ),
        Claim(
            "A q8_0 cache halves it.",
            f"34/64 of f16: {f.cache_per_token('deepseek-r1:32b', 'q8_0')} in 32b; q4_0 18/64. "
            "Only with flash attention: without it the server takes f16 and does not say so.",
            "block layouts of ggml; Ollama's llm/memory.go",
        ),
    )
    return Topic("kv-cache", "What the KV cache takes", GROUP, claims)


def _slots(f: Figures) -> Topic:
    claim = Claim(
        "The context is shared among requests.",
        "It is what each slot gets. The cache holds context x slots: four slots of 8,192 tokens "
        f"take {f.cache('deepseek-r1:7b', 4 * 8192)} in deepseek-r1:7b, one takes "
        f"{f.cache('deepseek-r1:7b', 8192)}. Before 0.9.7 Ollama took two slots by itself where "
        "they fitted; OLLAMA_NUM_PARALLEL decides.",
        "Ollama's docs/faq.md and server/sched.go",
    )
    return Topic("slots", "Parallel slots", GROUP, (claim,))
