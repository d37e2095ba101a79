"""The colours of a page and its plots, light and dark. Pure.

Plots are drawn in the light colours; in the page each is replaced by its variable. So no two may be
the same within LIGHT. The pairs keep a contrast of 4.5 for text and 3 for marks.
"""

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1c2127",
    "dim": "#59626c",
    "line": "#d5dae0",
    "tint": "#f4f6f8",
    "link": "#0a5ea8",
    "measured": "#0a62a9",
    "promised": "#97a1ac",
    "good": "#176f3d",
    "bad": "#b3261e",
    "warn": "#8f5600",
    "weights": "#2f6db3",
    "kv": "#c77700",
    "compute": "#2d8a5b",
    "overhead": "#8a5aae",
    "free": "#e4e8ed",
}
DARK = {
    "paper": "#12161b",
    "ink": "#e4e8ed",
    "dim": "#a3adb8",
    "line": "#333b45",
    "tint": "#1a2027",
    "link": "#7ab8f5",
    "measured": "#6db3f2",
    "promised": "#76818d",
    "good": "#62c98d",
    "bad": "#ff8a80",
    "warn": "#f0b45a",
    "weights": "#5b9be0",
    "kv": "#e3a043",
    "compute": "#55b886",
    "overhead": "#b48ad8",
    "free": "#2a313a",
}


def variables(colours: dict[str, str]) -> str:
    """Return them as custom properties of CSS."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
