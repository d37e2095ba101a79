"""Whether what a pull from the hub needs is free: for the download here, for the import there."""

from pathlib import Path

from orchestrator.errors import DiskFull
from orchestrator.pull.hub_plan import HubPlan
from orchestrator.runtime import disk
from orchestrator.store import Store
from orchestrator.units import MIB, gib

_SPARE_BYTES = 32 * MIB  # a disk filled to the last byte hurts others


def store_needs(plan: HubPlan, store: Store | None) -> int:
    """Return what the server's store must still have free: what it was given before counts."""
    if store is None:
        return plan.store_bytes
    large = (file for file in plan.files if (file.digest or "").startswith("sha256:"))
    there = sum(f.size_bytes for f in large if store.blob(f.digest or "").exists())
    return max(0, plan.store_bytes - there)


def check(plan: HubPlan, folder: Path, missing_bytes: int, store: Path | None, need: int) -> None:
    """Raise DiskFull where the download or the import cannot end; on one disk both count.

    `store` None: it is not on a disk of this machine that we see.
    """
    if store is None:
        _require(plan, folder, missing_bytes, f"{gib(missing_bytes)} to download")
        return
    one = disk.existing(folder).stat().st_dev == disk.existing(store).stat().st_dev
    if one:
        said = f"{gib(missing_bytes)} to download and {gib(need)} to import at {store}"
        _require(plan, folder, missing_bytes + need, said)
        return
    _require(plan, folder, missing_bytes, f"{gib(missing_bytes)} to download")
    _require(plan, store, need, f"{gib(need)} to import", hint=None)


def _require(
    plan: HubPlan,
    folder: Path,
    needed_bytes: int,
    said: str,
    *,
    hint: str | None = "free space there, or set DEPLOY_HOME to a folder on another disk",
) -> None:
    free = disk.free_bytes(folder)
    if not needed_bytes or free is None or free >= needed_bytes + _SPARE_BYTES:
        return
    raise DiskFull(
        f"{plan.name} needs {gib(needed_bytes)} at {folder} ({said}); {gib(free)} is free",
        hint=hint,
        needed_bytes=needed_bytes,
        free_bytes=free,
    )
