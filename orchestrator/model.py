"""Models as a registry or a file describes them: names, shapes, quantizations; no opinions."""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

Basis = Literal["exact", "header", "layout", "listed"]
DEFAULT_RULE = "llama.cpp"
Kind = Literal["chat", "base", "code", "math", "vision", "embedding"]

# ggml's block layouts: bytes of a block / elements in it (ggml.h, ggml-common.h).
BITS_PER_WEIGHT = {
    "F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_1": 6.0,
    "Q5_K_M": 5.69, "Q5_K_S": 5.52, "Q5_0": 5.5, "Q4_1": 5.0, "Q4_K_M": 4.85, "Q4_K_S": 4.58,
    "Q4_0": 4.55, "Q3_K_L": 4.27, "Q3_K_M": 3.91, "Q3_K_S": 3.5, "Q2_K": 3.0,
}  # fmt: skip
"""Average bits a weight of each file type, finest first in quality: the order of choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """The numbers of a GGUF header that decide memory and speed.

    `block_count` counts transformer layers; `attention_block_count` those that keep a KV cache
    (fewer in hybrids). `recurrent_state_bytes` is the f32 state of one sequence of a hybrid.
    `kv_lora_rank` above 0 means multi-head latent attention; `mla_cache` says that the file is
    split so that the engine caches the latent instead of full heads; `key_length_mla` and
    `value_length_mla` are the heads of such a file, whose key_length is that of the latent.
    `ssm_*` are the linear attention of hybrids, `vision_*` the tower of a model that sees,
    `draft_block_count` the layers that predict further tokens and come after the last;
    `fused_attention` says that query, key and value are one matrix (Qwen 1).
    """

    name: str
    block_count: int
    embedding_length: int
    feed_forward_length: int
    head_count: int
    head_count_kv: int
    key_length: int
    value_length: int
    vocab_size: int
    context_length: int
    tied_embeddings: bool = False
    expert_count: int = 0
    expert_used_count: int = 0
    expert_feed_forward_length: int = 0
    attention_block_count: int | None = None
    recurrent_state_bytes: int = 0
    kv_lora_rank: int = 0
    rope_dimension_count: int = 0
    mla_cache: bool = False
    q_lora_rank: int = 0
    key_length_mla: int = 0
    value_length_mla: int = 0
    leading_dense_block_count: int = 0
    expert_shared_feed_forward_length: int = 0
    expert_bias: bool = False
    rope_factor_count: int = 0
    fused_attention: bool = False
    ssm_conv_kernel: int = 0
    ssm_inner_size: int = 0
    ssm_state_size: int = 0
    ssm_group_count: int = 0
    ssm_time_step_rank: int = 0
    draft_block_count: int = 0
    vision_block_count: int = 0
    vision_embedding_length: int = 0
    vision_feed_forward_length: int = 0
    vision_patch_size: int = 0
    vision_position_count: int = 0
    vision_deepstack_count: int = 0

    @property
    def layers(self) -> int:
        """Transformer layers plus the output layer: what the server's log counts."""
        return self.block_count + 1

    @property
    def attention_layers(self) -> int:
        """Layers that hold a KV cache."""
        counted = self.attention_block_count
        return self.block_count if counted is None else counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Bytes of the tensors of one file: each tensor once, the header not counted.

    `per_layer` has block_count entries. `embedding_bytes` is token_embd, `output_bytes` is
    output.weight with its norms (0 for the matrix when embeddings are tied). `vision_bytes` is the
    tower that reads pictures, `draft_bytes` the layers that predict further tokens.
    `expert_layer_bytes` is the part of each layer that experts take, empty in a model without;
    `largest_expert_bytes` the largest of their tensors, which holds the experts of one layer.
    """

    total_bytes: int
    embedding_bytes: int
    output_bytes: int
    per_layer_bytes: tuple[int, ...]
    basis: Basis
    expert_layer_bytes: tuple[int, ...] = ()
    largest_expert_bytes: int = 0
    vision_bytes: int = 0
    draft_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One distinct file of a registry, under all the tags that name it.

    `file_bytes` is what is downloaded; `bytes_basis` is "exact" where a manifest was seen and
    "listed" where only the rounded size of the library's page is known. `tensor_bytes` is the file
    without its header, where known. `released` is an ISO date. `weights` comes from a true
    header; `rule` names the kind of build that laid the file out (orchestrator.gguf.deviations).
    """

    tags: tuple[str, ...]
    model: str
    family: str
    kind: Kind
    architecture: Architecture
    quantization: str
    format: str
    parameters_total: int
    parameters_active: int
    file_bytes: int
    bytes_basis: Basis
    tensor_bytes: int | None = None
    digest: str | None = None
    license: str = ""
    commercial_use: bool = True
    released: str = ""
    thinking: bool = False
    min_server_version: str | None = None
    weights: Weights | None = None
    rule: str = DEFAULT_RULE

    @property
    def tag(self) -> str:
        """The shortest tag that names this file (never `latest`: that one moves)."""
        return min(self.tags, key=lambda t: (t.endswith(":latest"), len(t), t))


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Whose estimate it is: names and sizes that the numbers belong to."""

    model: str
    quantization: str
    file_bytes: int
    parameters_active: int
    parameters_total: int
    server_version: str | None = None


class Origin(NamedTuple):
    """Where a model with a name of our making comes from: `name` ("hf:ORG/REPO", "file:/PATH")
    stays, `content` changes with its bytes.
    """

    name: str
    content: str


_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,343}(?::\d{1,5})?")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-]{0,79}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}")
_REGISTRY = "registry.ollama.ai"


@dataclass(frozen=True, slots=True)
class ModelRef:
    """An Ollama model name: [host/][namespace/]name[:tag], with Ollama's defaults."""

    name: str
    tag: str = "latest"
    namespace: str = "library"
    host: str = _REGISTRY

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name the way the server does. Raises ValueError: it would answer 400."""
        *path, last = text.split("/")
        name, colon, tag = last.partition(":")
        host = path[0] if len(path) == 2 else _REGISTRY
        namespace = path[-1] if path else "library"
        rules = ((_HOST, host), (_NAMESPACE, namespace), (_NAME, name), (_NAME, tag or "latest"))
        if len(path) > 2 or (colon and not tag) or not all(r.fullmatch(p) for r, p in rules):
            raise ValueError(f"{text!r} is not a model name")
        return cls(name, tag or "latest", namespace, host)

    def __str__(self) -> str:
        """The short form, as `ollama list` prints it."""
        short = f"{self.name}:{self.tag}"
        if self.host != _REGISTRY:
            return f"{self.host}/{self.namespace}/{short}"
        return short if self.namespace == "library" else f"{self.namespace}/{short}"

    def at(self, host: str) -> "ModelRef":
        """The same model on another registry."""
        return ModelRef(self.name, self.tag, self.namespace, host)


def registry_address(url: str) -> tuple[str, bool]:
    """Return (host[:port], whether it speaks plain http) of a registry's URL.

    Raises ValueError: another scheme, no host, or what no model name can carry: a path, a password.
    """
    parts = urlsplit(url if "://" in url else f"https://{url}")
    shown = re.sub(r"//[^/@]*@", "//***@", url)
    _ = parts.port  # raises ValueError: no number below 65536
    plain = _HOST.fullmatch(parts.netloc) and not parts.path.strip("/")
    if parts.scheme not in ("http", "https") or not plain:
        raise ValueError(
            f"{shown!r} is not the URL of a registry: https://HOST[:PORT], or http://HOST:PORT"
        )
    return parts.netloc, parts.scheme == "http"
