"""What a model is made with beside its weights: template, parameters, licence."""

from typing import Any

from orchestrator.families import Family


def dress(family: Family | None, licence: str | None) -> dict[str, Any]:
    """Return the fields of a create; a family that is not known leaves them to the server."""
    fields: dict[str, Any] = {}
    if family is not None:
        fields |= {"template": family.template, "parameters": dict(family.parameters)}
    if licence:
        fields["license"] = licence
    return fields


def note(family: Family | None, guessed: str | None) -> tuple[str, ...]:
    """Return what is to be said of a template that is not ours; `guessed` names it, if known."""
    if family is not None:
        return ()
    what = f"{guessed!r}" if guessed else "if any, by likeness"
    return (f"the model's family is not known: its chat template is the server's guess, {what}",)
