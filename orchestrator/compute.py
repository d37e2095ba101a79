"""Compute buffers: what an engine reserves beside weights and cache for one step of prefill. Bytes.

Read off "compute buffer size" lines of real servers and checked against the graphs of llama.cpp
and of Ollama's engine; docs/estimating-memory.md names the evidence and the measured error.
Symbols: C tokens in the cache, B batch, M = B*C, E embedding, F feed-forward, V vocabulary, H
heads; a value of the graph is an f32, 4 bytes.
"""

from orchestrator.engine import Engine, engine_of, splits_slots
from orchestrator.era import ServerVersion
from orchestrator.memory import Device, Run, kv_bytes_per_layer
from orchestrator.model import Architecture, Weights

_F32 = 4
_THREE_TENSORS = ServerVersion((0, 4, 0))  # gate, up and their product; before, two of them
# A second embedding beside the logits, without flash attention: not yet on Metal at 0.11.6.
_TWICE, _TWICE_ON_METAL = ServerVersion((0, 11, 5)), ServerVersion((0, 12, 0))
_COPIES = 4  # of the inputs, while several cards work on successive batches
# Values a token that Ollama's engine keeps for the chunked scan of linear attention, by the width
# of its inner layer (qwen3-coder-next: 884 MiB at 1024 tokens a batch; one log).
_SCAN = 30


def device_bytes(shape: Architecture, run: Run, device: Device, *, output: bool = True) -> int:
    """Return the compute buffer of one device that holds whole layers, and the output or not."""
    engine = engine_of(shape, run.version)
    if engine is Engine.LLAMA_SERVER:
        return _llama_server(shape, run, device)
    if engine is Engine.OLLAMA:
        return _ollama(shape, run, device)
    layers = _runner(shape, run, device)
    return max(layers, _logits(shape, run, device)) if output else layers


def card_bytes(
    shape: Architecture, run: Run, device: Device, *, several: bool, output: bool = True
) -> int:
    """Return the compute buffer of a card, alone or one of several that hold all layers."""
    each = device_bytes(shape, run, device, output=output)
    if not several or engine_of(shape, run.version) is Engine.OLLAMA:
        return each  # Ollama's own engine works on one batch at a time
    return each + pipeline_bytes(shape, run)


def _scores(shape: Architecture, run: Run) -> int:
    """Return M: each token of a batch against the cells that it may attend to."""
    slots = run.parallel if splits_slots(shape, run.version) else 1
    return run.batch * (run.cells // slots)


def _runner(shape: Architecture, run: Run, device: Device) -> int:
    """llama.cpp inside Ollama's runner, up to 0.24."""
    m, b, e = _scores(shape, run), run.batch, shape.embedding_length
    if not run.flash_attention:
        mask = (6 if run.version.masks_twice else 4) * m
        halved = device == "metal" and run.version.masks_twice
        inputs = _F32 * b * _latent(shape) or (8 if halved else 16) * b * e
        return _F32 * m * shape.head_count + mask + inputs
    if shape.expert_count:
        return max(6 * m + 16 * b * e, 2 * m + _F32 * b * _feed_forward(shape))
    f, tensors = shape.feed_forward_length, 2 if run.version < _THREE_TENSORS else 3
    # The f32 mask is freed after its cast; feed-forward tensors go into the hole while they fit.
    outside = _F32 * b * f * max(0, tensors - m // (b * f)) if f and m >= b * f else 0
    wide = _F32 * b * (tensors * f + 3 * e)
    return max(6 * m + 16 * b * e + outside, 2 * m + wide)


def _ollama(shape: Architecture, run: Run, device: Device) -> int:
    """Ollama's own engine: only the rows that are answered reach the output.

    On a GPU the mask lies there twice, as it came and as f16, and the kernels quantize what they
    multiply: both stand in its log, the latter since it reserves the kernels' pool too.
    """
    m, b, e = _scores(shape, run), run.batch, shape.embedding_length
    scan = _F32 * b * _SCAN * shape.ssm_inner_size
    if not run.flash_attention:
        rows = _latent(shape) or 4 * e
        return _F32 * m * shape.head_count + 6 * m + _F32 * b * rows + scan
    wide = _F32 * b * _feed_forward(shape)
    if device == "cpu":
        return max(wide, 2 * m + wide - 8 * b * e) + scan
    return 6 * m + wide + b * shape.feed_forward_length * 9 // 8 + scan


def _llama_server(shape: Architecture, run: Run, device: Device) -> int:
    """llama-server, 0.30 and later: one row of logits, not the whole batch's."""
    m, b, e = _scores(shape, run), run.batch, shape.embedding_length
    widest = max(_feed_forward(shape), _latent(shape) + e)
    if run.flash_attention:
        extra = e if device == "cpu" and not shape.expert_count else 0
        return 2 * m + _F32 * b * (widest + extra)
    heads = shape.head_count * shape.key_length + shape.head_count_kv * shape.key_length
    rows = _latent(shape) or 3 * e + 2 * heads
    return _F32 * m * (shape.head_count + 1) + _F32 * b * rows


def _feed_forward(shape: Architecture) -> int:
    """Return the values a token at the widest point of a layer: gate, up, product, and the stream.

    In a mixture every expert in use gives a row of the embedding, twice, before they are added.
    """
    e = shape.embedding_length
    dense = 3 * shape.feed_forward_length + 3 * e
    if not shape.expert_count:
        return dense
    used = shape.expert_used_count
    wide = 2 * used * e + used * shape.expert_feed_forward_length + 3 * e
    return max(wide, dense) if shape.leading_dense_block_count else wide


def _latent(shape: Architecture) -> int:
    """Return the values a token of multi-head latent attention; 0 for other kinds.

    An unsplit file unfolds keys and values of all heads; a split one multiplies the queries into
    the latent's width.
    """
    if not shape.kv_lora_rank:
        return 0
    h, e, rank = shape.head_count, shape.embedding_length, shape.kv_lora_rank
    if not shape.mla_cache:
        key, value = shape.key_length, shape.value_length
        return h * (2 * key - shape.rope_dimension_count + value) + 3 * e
    return 2 * h * ((shape.key_length_mla or shape.key_length) + rank) + 3 * e


def _logits(shape: Architecture, run: Run, device: Device) -> int:
    """Scores of a whole batch over the vocabulary, beside one or two embeddings."""
    tied_on_cpu = device == "cpu" and shape.tied_embeddings
    since = _TWICE_ON_METAL if device == "metal" else _TWICE
    twice = run.version >= since and not run.flash_attention
    embeddings = (2 if tied_on_cpu or twice else 1) * shape.embedding_length
    return _F32 * run.batch * (shape.vocab_size + embeddings)


def host_bytes(shape: Architecture, run: Run, cards: int) -> int:
    """Return the host's part of the compute buffers when layers run on accelerators."""
    m, be = _scores(shape, run), run.batch * shape.embedding_length
    engine = engine_of(shape, run.version)
    if engine is Engine.LLAMA_SERVER:
        return 8 * be + 2 * m
    if engine is Engine.OLLAMA:
        return _F32 * be
    mask = (6 if run.version.masks_twice and not run.flash_attention else 4) * m
    return _F32 * be + mask * (_COPIES if cards > 1 else 1)


def pipeline_bytes(shape: Architecture, run: Run) -> int:
    """Return what each card holds more when all layers lie on several cards (copies in flight)."""
    m, be = _scores(shape, run), run.batch * shape.embedding_length
    mask = (6 if run.version.masks_twice else 4) * m
    return 16 * be + (16 * m if run.flash_attention else 3 * mask)


def staging_bytes(shape: Architecture, run: Run, weights: Weights) -> int:
    """Return the first card's buffer where the output layer stays on the host, before 0.30.

    The output matrix is staged there in its own type, beside the logits.
    """
    if engine_of(shape, run.version) is not Engine.LLAMA_RUNNER:
        return 0
    output = weights.output_bytes + (weights.embedding_bytes if shape.tied_embeddings else 0)
    return _F32 * run.batch * (shape.embedding_length + shape.vocab_size) + output


def borrowed_bytes(shape: Architecture, run: Run, weights: Weights, device: Device) -> int:
    """Return what llama.cpp brings to the first card when it computes for layers on the host.

    The cache of one layer, and the largest tensor of a mixture's experts. Metal shares its memory,
    and Ollama's own engine computes such layers where they are.
    """
    if device == "metal" or engine_of(shape, run.version) is Engine.OLLAMA:
        return 0
    return kv_bytes_per_layer(shape, run) + weights.largest_expert_bytes


def output_bytes(shape: Architecture, run: Run) -> int:
    """Return the logits and embeddings that the server reads back, one row a slot."""
    return _F32 * (shape.vocab_size + shape.embedding_length) * run.parallel
