"""What circulates and what is so: `deploy explain TOPIC` and docs/claims.md, from one source."""

from difflib import get_close_matches

from orchestrator.catalog import Catalog
from orchestrator.explain.topics import context, hardware, models, practice, sizes
from orchestrator.explain.topics.figures import Figures
from orchestrator.explain.topics.topic import Claim, Topic

__all__ = ["Claim", "Topic", "all_topics", "find", "nearest"]


def all_topics() -> tuple[Topic, ...]:
    """Return every topic, in the order of the page, with figures of the bundled catalogue."""
    figures = Figures(Catalog.bundled())
    rooms = (models, sizes, context, hardware, practice)
    return tuple(topic for room in rooms for topic in room.topics(figures))


def find(name: str) -> Topic | None:
    """Return the topic of that name; case and spaces for hyphens do not matter."""
    wanted = name.strip().lower().replace(" ", "-")
    return next((t for t in all_topics() if t.name == wanted), None)


def nearest(name: str) -> str | None:
    """Return the topic whose name is most like it; None: none is."""
    names = [t.name for t in all_topics()]
    return next(iter(get_close_matches(name.lower(), names, 1, 0.5)), None)
