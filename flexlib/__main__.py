"""``python -m flexlib``: the command line."""

import sys

from flexlib.cli import main

sys.exit(main())
