"""The page in the browser; the same as `rescale demo`, and takes the same options."""

import sys

from rescale.cli import main

sys.argv[1:1] = ["demo"]
main()
