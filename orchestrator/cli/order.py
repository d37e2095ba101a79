"""From the words of a command line to an order."""

import os
from collections.abc import Sequence
from typing import Any

from orchestrator.catalog import Catalog
from orchestrator.cli.options import read_json, read_profile
from orchestrator.home import Home
from orchestrator.order import Order


def order_of(tags: Sequence[str], flags: dict[str, Any]) -> Order:
    """Return the order; unknown tags are refused before anything else happens."""
    values = dict(flags)
    profile = read_profile(values.pop("profile_name", None), _named(values))
    catalog = Catalog.bundled()
    if profile.catalog:
        catalog = Catalog.from_json(read_json(profile.catalog))
    order = Order(
        profile=profile,
        catalog=catalog,
        home=Home.of(os.environ),
        environ=os.environ,
        tags=tuple(tags),
    )
    _ = order.candidates
    return order


def _named(flags: dict[str, Any]) -> dict[str, Any]:
    """Name flags as the profile names them."""
    if "max_memory" in flags:
        flags["max_memory_bytes"] = flags.pop("max_memory")
    return flags
