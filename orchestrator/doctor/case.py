"""What a doctor is told: the machine as the probe read it, and what stands around it."""

from dataclasses import dataclass

from orchestrator.machine import Machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """`answers`: a server answers. Proxies carry no credentials.

    `smallest_bytes` is the smallest download of the catalogue; `writable`: whether deploy may
    write the server's store, None where there is none to see; `closed` is a folder of it that the
    server's own user may not write. `deployed` names what the alias
    serves, `findings` what breaks its promise, `torn` the names that the server cannot read.
    `ledger_fault` is a fault of deploy's own ledger, `refusal` what a server that answers refused
    to tell, `holder` who has the port of one that does not.
    """

    machine: Machine
    answers: bool
    our_proxy: str | None = None
    smallest_bytes: int = 0
    writable: bool | None = None
    closed: str | None = None
    deployed: str | None = None
    findings: tuple[str, ...] = ()
    torn: tuple[str, ...] = ()
    ledger_fault: str | None = None
    refusal: str | None = None
    holder: str | None = None
