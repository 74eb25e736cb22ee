"""`python -m bitspike`."""

from bitspike.cli import main

main()
