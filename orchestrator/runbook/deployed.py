"""What a runbook is about: the deployment that the profile's alias serves, and its server."""

from typing import Any

from orchestrator.errors import NothingDeployed, ServerUnreachable
from orchestrator.ledger import Ledger
from orchestrator.order import Order
from orchestrator.runtime import server_host
from orchestrator.survey import Survey, survey


def deployed(order: Order) -> dict[str, Any]:
    """Return the current deployment, as the ledger has it. Raises NothingDeployed."""
    host, alias = server_host(order.environ), order.profile.alias
    found = Ledger(order.home.ledger).current(host, f"{alias}:latest")
    if found is None:
        raise NothingDeployed(f"nothing is deployed as {alias} at {host}")
    return found


def answering(order: Order) -> Survey:
    """Return the survey of the server. Raises ServerUnreachable: to start one is the watchdog's."""
    seen = survey(order.home, order.environ, parallel=order.profile.parallel)
    if not seen.answers:
        raise ServerUnreachable(f"no Ollama server answers at {seen.server.host}")
    return seen
