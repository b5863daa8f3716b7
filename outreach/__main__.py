"""`python -m outreach`: the same as the command `outreach`."""

import sys

from outreach.cli import main

sys.exit(main())
