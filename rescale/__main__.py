"""`python -m rescale` is the command line."""

from rescale.cli import main

main()
