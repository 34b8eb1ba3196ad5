"""`python -m loadkit.cli` is `loadkit`."""

import sys

from loadkit.cli import main

sys.exit(main())
