"""``python -m instructloop``: the command, for launchers that start modules (torchrun)."""

import sys

from instructloop.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
