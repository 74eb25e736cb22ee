"""Pictures of a run: one self-contained page per run, and one that draws several runs over one another."""

from bitspike.report.comparison import compare
from bitspike.report.page import report

__all__ = ["compare", "report"]
