"""`python -m sqp`."""

import sys

from sqp.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
