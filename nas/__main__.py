"""`python3 -m nas` is `nas`."""

import sys

from nas.core.program import set_import_path

set_import_path()  # without the current folder, which Python puts first

from nas.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
