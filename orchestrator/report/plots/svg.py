"""A figure of matplotlib as SVG: scalable, named, the same for the same figure.

In a page its colours are the page's variables, and its ids are its own.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from orchestrator.errors import one_line
from orchestrator.report.plots.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 400.0, 236.0
_POINTS_AN_INCH = 72
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "deploy",
    "timezone": "UTC",
    "text.parse_math": False,
    "font.size": 10.5,
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["promised"],
    "axes.labelcolor": LIGHT["dim"],
    "axes.labelsize": 10,
    "axes.titlesize": 11.5,
    "axes.titlecolor": LIGHT["ink"],
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.8,
    "xtick.color": LIGHT["promised"],
    "ytick.color": LIGHT["promised"],
    "xtick.labelcolor": LIGHT["dim"],
    "ytick.labelcolor": LIGHT["dim"],
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.1,
    "legend.handletextpad": 0.5,
    "figure.subplot.left": 0.13,
    "figure.subplot.right": 0.975,
}
_NAMES = {colour: name for name, colour in LIGHT.items()}
_COLOUR = re.compile(r"(?<=: )#[0-9a-f]{6}")
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_STYLE_SHEET = re.compile(r"\s*<defs>\s*<style type=\"text/css\">.*?</style>\s*</defs>", re.DOTALL)
_AUTOMATIC_ID = re.compile(r' id="[A-Za-z0-9.]+_\d+"')
_ID = re.compile(r' id="([^"]+)"')
_USED = re.compile(r'(xlink:href="#|url\(#)([^")]+)')
_ROOT = re.compile(r"<svg [^>]*>")
_EMPTY_LINE = re.compile(r"\n\s*(?=\n)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A plot. `name` is fit for a file and for ids; `text` says in words what it shows."""

    name: str
    title: str
    text: str
    body: str
    width: float
    height: float

    @property
    def inline(self) -> str:
        """The element for a page: scaled by it, in its colours."""
        body = _COLOUR.sub(lambda found: f"var(--{_NAMES[found[0]]})", self.body)
        return f"{self._root('')}{self._described()}{body}"

    @property
    def standalone(self) -> str:
        """A file of its own, on a white ground."""
        names = (
            'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{self.width:g}" height="{self.height:g}" '
        )
        ground = f'<rect width="100%" height="100%" fill="{LIGHT["paper"]}"/>'
        head = '<?xml version="1.0" encoding="utf-8"?>\n'
        return f"{head}{self._root(names)}{self._described()}{ground}{self.body}\n"

    def _root(self, more: str) -> str:
        size = f"0 0 {self.width:g} {self.height:g}"
        title = escape(one_line(self.title))
        return (
            f'<svg {more}viewBox="{size}" role="img" aria-label="{title}" '
            'style="stroke-linejoin: round; stroke-linecap: butt">'
        )

    def _described(self) -> str:
        title, text = escape(one_line(self.title)), escape(one_line(self.text))
        return f"<title>{title}</title><desc>{text}</desc>"


@contextmanager
def drawing_style() -> Iterator[None]:
    """Draw in our style, whatever a matplotlibrc of the user or of this folder says."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def blank(height: float = HEIGHT) -> "Figure":
    """Return an empty figure of the width of all plots, without a ground; sizes in points."""
    from matplotlib.figure import Figure

    size = (WIDTH / _POINTS_AN_INCH, height / _POINTS_AN_INCH)
    figure = Figure(figsize=size, dpi=_POINTS_AN_INCH)
    figure.patch.set_visible(False)
    return figure


def axes(figure: "Figure", title: str, label: str, *, bottom: float = 0.27) -> "Axes":
    """Return the only axes of a figure; `label` is that of x, `bottom` the room below it."""
    figure.subplots_adjust(top=0.87, bottom=bottom)
    found = figure.add_subplot()
    found.patch.set_visible(False)
    found.set_title(title)
    found.set_xlabel(label)
    return found


def legend(figure: "Figure", axes: "Axes", columns: int = 4) -> None:
    """Put the legend of the axes below the plot, at the left."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="lower left", ncols=columns, borderpad=0, bbox_to_anchor=(0.02, 0.02)
    )


def drawing(figure: "Figure", *, name: str, title: str, text: str) -> Drawing:
    """Return the figure as SVG. What is drawn must be in colours of the palette."""
    written = StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    whole = written.getvalue()
    root = _ROOT.search(whole)
    body = whole[root.end() :] if root else whole
    for pattern in (_METADATA, _STYLE_SHEET, _AUTOMATIC_ID):
        body = pattern.sub("", body)
    body = _EMPTY_LINE.sub("", _renamed(body, name)).strip()
    width, height = figure.get_size_inches() * _POINTS_AN_INCH
    return Drawing(
        name=name, title=title, text=text, body=body, width=float(width), height=float(height)
    )


def _renamed(body: str, name: str) -> str:
    """Return the body with ids that no other plot has; what nothing refers to is a class."""
    used = {found[1] for found in _USED.findall(body)}

    def named(found: "re.Match[str]") -> str:
        return f' id="{name}-{found[1]}"' if found[1] in used else f' class="{found[1]}"'

    return _USED.sub(rf"\g<1>{name}-\g<2>", _ID.sub(named, body))
