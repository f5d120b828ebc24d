"""`python -m edgeport`: the command, where its script is not on the path."""

import sys

from edgeport.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
