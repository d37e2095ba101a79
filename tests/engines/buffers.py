"""The "buffer size" lines of an engine's log."""

from orchestrator.bench.buffers import parts


def logged_bytes(log: str) -> dict[str, int]:
    """Return the bytes of all buffers of a kind, of the last load in the log."""
    found = parts(log)
    assert found, "the log tells no buffers"
    told = (found.weights_bytes, found.kv_cache_bytes, found.compute_bytes)
    kinds = ("model", "KV", "compute")
    return {kind: size for kind, size in zip(kinds, told, strict=True) if size is not None}


def compared(name: str, ours: dict[str, int], log: dict[str, int]) -> float:
    """Print how far ours are from the log's, as `make perf` shows it; return the total's error."""
    errors = {kind: ours[kind] / log[kind] - 1 for kind in log}
    total = sum(ours.values()) / sum(log.values()) - 1
    parts = "  ".join(f"{kind} {error:+.2%}" for kind, error in errors.items())
    print(f"\n{name:50} {parts}  total {total:+.2%}", end="")  # noqa: T201 - for `make perf`
    return total
