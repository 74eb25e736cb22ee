"""Pictures of a run: one self-contained page per run, and one that draws several runs over one another."""

from bitspike.reports.comparison import compare
from bitspike.reports.page import report

__all__ = ["compare", "report"]
