"""Every page of given runs as a person sees it: light and dark, wide and on a phone, and printed, as PNG and PDF.

    python docs/page_gallery.py OUT RUN [RUN ...]
    python docs/page_gallery.py OUT runs/*/report.html runs/compare.html

Needs Chromium (`apt-get install chromium`, or its path in $CHROMIUM). It prints each page's width on a phone, which is
to be 390: what is wider scrolls within itself.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHED_OFF = ("gpu", "quic", "background-networking", "component-update", "sync")
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars", "--virtual-time-budget=4000"]
FLAGS += [f"--disable-{name}" for name in SWITCHED_OFF]
WIDTHS = (1400, 390)
# A page as a frame of its own: windows are not as narrow as telephones.
FRAME = """<!doctype html><body style="margin:0"><iframe id="f"
 style="border:0;display:block;width:{width}px;height:{height}px" srcdoc="{page}"></iframe>
<p id="size" hidden></p><script>
document.getElementById("f").onload = (e) => {{
  const root = e.target.contentDocument.documentElement;
  document.getElementById("size").textContent = root.scrollWidth + "x" + root.scrollHeight;
}};
</script>"""


def browser() -> str:
    """Chromium's path; ends the script where there is none."""
    found = os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
    return found or sys.exit("no Chromium: apt-get install chromium, or give its path in $CHROMIUM")


def run(chromium: str, *arguments: str) -> str:
    """What Chromium prints; under a fresh profile, which goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="gallery-") as profile:
        command = [chromium, *FLAGS, f"--user-data-dir={profile}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout


def in_ink(page: str, dark: bool) -> str:
    """The page as by day or by night, whatever the machine prefers."""
    when = "@media screen and (prefers-color-scheme: dark)"
    return page.replace(when, "@media screen" if dark else "@media not all")


def framed(chromium: str, page: str, folder: Path, width: int) -> tuple[Path, int, int]:
    """The page in a frame of `width`, as high as it is; with the width and height it takes."""
    path = folder / "frame.html"
    height = 800
    # Twice: a page may be of another height once its frame is.
    for _ in range(2):
        path.write_text(FRAME.format(width=width, height=height, page=html.escape(page)), encoding="utf-8")
        size = re.search(r'id="size"[^>]*>(\d+)x(\d+)<', run(chromium, "--dump-dom", path.as_uri()))
        if size is None:
            sys.exit("Chromium gave no size of the page")
        wide, height = int(size[1]), int(size[2])
    return path, wide, height


def main(out: Path, places: list[Path]) -> None:
    """Write NAME-INK-WIDTH.png and NAME.pdf of each page into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    chromium = browser()
    for place in places:
        source = place / "report.html" if place.is_dir() else place
        name = source.parent.name if source.name == "report.html" else source.stem
        page = source.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory(prefix="gallery-") as folder:
            for width in WIDTHS:
                for ink in ("light", "dark"):
                    frame, wide, height = framed(chromium, in_ink(page, ink == "dark"), Path(folder), width)
                    shot = out / f"{name}-{ink}-{width}.png"
                    run(chromium, f"--window-size={max(width, 500)},{height}", f"--screenshot={shot}", frame.as_uri())
                    if ink == "light":
                        print(f"{name}: {wide} wide in {width}, {height} high", flush=True)
        run(chromium, "--no-pdf-header-footer", f"--print-to-pdf={out / f'{name}.pdf'}", source.resolve().as_uri())


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]])
