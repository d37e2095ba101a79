"""Profiles: what a person wants, from a TOML file < environment < flags; who set what is kept."""

from orchestrator.profile.document import Mistake, mistakes, parse
from orchestrator.profile.keys import PlacementWish
from orchestrator.profile.profile import Profile

__all__ = ["Mistake", "PlacementWish", "Profile", "mistakes", "parse"]
