"""`python3 -m nas` is `nas`."""

import sys

from nas.cli import main

if __name__ == "__main__":
    sys.exit(main())
