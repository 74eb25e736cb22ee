"""One look for every figure: size, palette, and SVG that follows the page's light or dark colours.

The hues are Okabe and Ito's (2008, "Color universal design"), which people with any common colour-vision deficiency
can tell apart, each as dark (by day) or light (by night) as text on the page's paper has to be: a contrast of 4.5 at
least (WCAG 2.2, AA). Figures name their inks by CSS variables; pictures made of points are masks that an ink fills.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from bitspike.reports.checked import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

INK, MUTED, RULE = "#24272b", "#62676d", "#d8d5cd"
BLUE, VERMILION, GREEN, ORANGE = "#0072b2", "#b84f00", "#00795a", "#8f6000"
SKY, PURPLE, GREY, PAPER = "#27788a", "#a34d7f", "#6f7277", "#fdfcf9"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK, GREY)
DASHES = ("-", "--", ":", "-.")
VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", BLUE: "blue", VERMILION: "vermilion", GREEN: "green"}
VARIABLES |= {ORANGE: "orange", SKY: "sky", PURPLE: "purple", GREY: "grey", PAPER: "paper"}
LIGHT = {"raised": "#f6f4ee", **{name: ink for ink, name in VARIABLES.items()}}
DARK = {
    "paper": "#16181b", "raised": "#1f2226", "ink": "#e4e2dc", "muted": "#a0a4a9", "rule": "#383c41", "grey": "#9599a0",
    "blue": "#4aa8e0", "vermilion": "#f0824a", "green": "#35c39a", "orange": "#f0b53c", "sky": "#86cbf2",
    "purple": "#dd9cc0",
}  # fmt: skip
PRINT = {**LIGHT, "paper": "#ffffff", "raised": "#ffffff", "ink": "#000000", "rule": "#cccccc"}
PANEL = (4.4, 3.0)  # inches
RC: Any = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    **{f"{axis}tick.color": GREY for axis in "xy"},
    **{f"{axis}tick.labelcolor": MUTED for axis in "xy"},
    **{f"{axis}tick.labelsize": 8.5 for axis in "xy"},
    **{f"{axis}tick.major.width": 0.7 for axis in "xy"},
    **{f"{axis}tick.major.size": 3 for axis in "xy"},
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.5,
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under the house style, leaving matplotlib's own settings as they were."""

    @wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context(RC), warnings.catch_warnings():
            # Values that are all equal leave an axis without a length of its own: it is given one.
            warnings.filterwarnings("ignore", message="Attempting to set identical")
            return draw(*args, **kwargs)

    return wrapped


_PLACES: ContextVar[Iterator[Any] | None] = ContextVar("places", default=None)


def blank(width: float, height: float) -> Figure:
    """A figure to draw on, in inches: one of its own, or the next place in the one that `side_by_side` makes."""
    from matplotlib.figure import Figure

    places = _PLACES.get()
    return Figure(figsize=(width, height), layout="constrained") if places is None else next(places)


def side_by_side(draw: Callable[[], Sequence[Figure]]) -> Figure:
    """The figures that `draw` makes as one."""
    drawn = draw()
    if len(drawn) == 1:
        return drawn[0]
    sizes = [figure.get_size_inches() for figure in drawn]
    whole = blank(sum(width for width, _ in sizes), max(height for _, height in sizes))
    places: Any = whole.subfigures(1, len(drawn), width_ratios=[width for width, _ in sizes])
    token = _PLACES.set(iter(places))
    try:
        draw()
    finally:
        _PLACES.reset(token)
    return tell(whole, ". ".join(str(figure.get_label()) for figure in drawn))


def panel(width: float = PANEL[0], height: float = PANEL[1]) -> tuple[Figure, Axes]:
    """A figure of one set of axes, in inches, with light horizontal rules."""
    figure = blank(width, height)
    axes = figure.add_subplot()
    axes.grid(axis="y")
    return figure, axes


def whole_ticks(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only (epochs, time steps)."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def percent_axis(axes: Axes, which: str = "y") -> None:
    """Fractions written as percentages, with a decimal only where the ticks need one."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(lambda share, _: f"{100 * share:.6g}\u202f%".replace("-", "−"))


def variables(inks: Mapping[str, str]) -> str:
    """Inks as declarations of CSS."""
    return " ".join(f"--{name}: {ink};" for name, ink in inks.items())


def ends(axes: Axes, labels: Sequence[tuple[str, float, str]], least: float = 0.085) -> None:
    """Names of lines at their right ends, outside the axes: (name, last y, colour). They make room for each other.

    least: the distance between two of them, as a share of the axes' height. Call it when the limits are final.
    """
    if not labels:
        return
    flat = axes.transScale + axes.transLimits
    left = axes.get_xlim()[1]
    wanted = np.array([float(flat.transform((left, y))[1]) for _, y, _ in labels])
    order = np.argsort(np.nan_to_num(wanted, nan=0.5), kind="stable")
    places = np.clip(np.nan_to_num(wanted, nan=0.5)[order], 0, 1)
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + least)
    # Too high a stack comes down as a whole, and then squeezes from above.
    places -= max(0.0, places[-1] - 1)
    for k, place in zip(order, places, strict=True):
        (name, _, colour), where = labels[k], axes.transAxes
        axes.text(1.015, place, short(name, 26), color=colour, transform=where, va="center", ha="left", fontsize=8.5)


def ink_image(axes: Axes, strength: Array, colour: str, **how: Any) -> None:
    """A picture (H, W) of one ink, 0 (bare paper) to 1: drawn as a white mask, which `svg` fills with the ink."""
    paint = np.ones((*strength.shape, 4))
    paint[..., 3] = np.clip(strength, 0, 1)
    drawn = axes.imshow(paint, interpolation="none", **how)
    drawn.set_gid(f"ink-{VARIABLES[colour]}")


def tell(figure: Figure, text: str) -> Figure:
    """What a screen reader says of the figure."""
    figure.set_label(text)
    return figure


def short(text: str, most: int = 24) -> str:
    """At most `most` letters, the middle left out: names of files and classes may be of any length."""
    keep = (most - 1) // 2
    return text if len(text) <= most else f"{text[:keep]}…{text[-keep:]}"


def svg(figure: Figure, name: str) -> str:
    """The figure as an inline <svg>: ids made unique by `name`, colours as CSS variables, text as text, and a title."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({**RC, "svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        # The browser has its own fonts: a letter that matplotlib's lacks is no loss.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # A figure too crowded to lay out is still drawn.
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        # Not savefig, which draws every figure twice.
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(out, metadata=metadata)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    said = html.escape(str(figure.get_label()) or _titles(figure), quote=False)
    text = _masked(text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    # As wide as it was drawn for, at most: 8.8 inches are the page's whole width.
    wide = round(110 * figure.get_figwidth())
    head = rf'<svg \1 role="img" aria-labelledby="{name}-says" style="max-width: {wide}px">'
    text = re.sub(r'^<svg\b[^>]*?(viewBox="[^"]*")[^>]*>', head, text)
    text = text.replace(">", f'><title id="{name}-says">{said}</title>', 1)
    # Matplotlib's own word for the colour it draws with where none is set.
    for colour, variable in (*VARIABLES.items(), ("#000000", "ink")):
        text = text.replace(colour, f"var(--{variable})")
    return text.strip()


def _titles(figure: Figure) -> str:
    """The titles of a figure's axes, where nobody has said more."""
    titles = [axes.get_title(loc="left") or axes.get_ylabel() for axes in figure.axes]
    return "; ".join(title for title in titles if title) or "A figure"


def _masked(text: str) -> str:
    """Each image of an ink as a mask over a rectangle of that ink."""
    found = iter(range(text.count("<image")))

    def one(match: re.Match[str]) -> str:
        ink = re.search(r'id="ink-([a-z]+)[^"]*"', match[0])
        if ink is None:
            return match[0]
        mask = f"mask{next(found)}"
        image = match[0].replace(ink[0], "")
        return (
            f'<mask id="{mask}" maskUnits="userSpaceOnUse" x="0" y="0" width="100%" height="100%">{image}</mask>'
            f'<rect width="100%" height="100%" fill="var(--{ink[1]})" mask="url(#{mask})"/>'
        )

    return re.sub(r"<image\b[^>]*/>", one, text)
