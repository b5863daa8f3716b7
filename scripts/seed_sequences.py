"""Publish sequence files (default: the starters that ship), each as `outreach sequence publish FILE` does. Safe to run again."""

import sys
from contextlib import ExitStack
from importlib import resources

from outreach.cli import run
from outreach.cli.init import starter_files

if __name__ == "__main__":
    with ExitStack() as stack:
        shipped = [str(stack.enter_context(resources.as_file(file))) for file in starter_files()]
        sys.exit(max(run(["sequence", "publish", file]) for file in sys.argv[1:] or shipped))
