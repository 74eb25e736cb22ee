"""The README's pictures from the runs that `make demo` leaves in runs/; run by `make pictures`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from bitspike.errors import BitspikeError
from bitspike.reports import examples, sections
from bitspike.reports.rundata import read_run
from bitspike.reports.style import VARIABLES

OUT = Path(__file__).parent / "pictures"


def standalone(svg: str) -> str:
    """An inline figure as a file of its own: colours written out, a white ground, the SVG name space."""
    for colour, variable in VARIABLES.items():
        svg = svg.replace(f"var(--{variable})", colour)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    if size is None:
        raise ValueError("a figure without a viewBox")
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{size[1]}" height="{size[2]}" font-family="DejaVu Sans, sans-serif" '
    )
    ground = '<rect width="100%" height="100%" fill="white"/>'
    svg = re.sub(r"^<svg ([^>]*)>", lambda match: f"{head}{match[1]}>", svg)
    return svg.replace("</title>", f"</title>{ground}", 1) + "\n"


def main() -> None:
    """Write docs/pictures/*.svg."""
    OUT.mkdir(exist_ok=True)
    run = read_run(Path("runs/digits-bayes"))
    wanted = {"reliability": sections.reliability, "raster": examples.raster, "weights": sections.weights}
    for name, draw in wanted.items():
        drawn = draw(run)
        for number, panel in enumerate(drawn.panels if drawn else [], 1):
            (OUT / f"{name}-{number}.svg").write_text(standalone(panel), encoding="utf-8")
    print(*sorted(path.name for path in OUT.iterdir()))


if __name__ == "__main__":
    try:
        main()
    except BitspikeError as error:
        sys.exit(f"{error} (`make demo` makes the runs)")
