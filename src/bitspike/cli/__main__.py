"""`python -m bitspike.cli`."""

from bitspike.cli import main

main()
