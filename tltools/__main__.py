"""`python -m tltools`: the same verbs as the screens, for terminals and scripts."""

import sys

from tltools.cli import main

sys.exit(main())
