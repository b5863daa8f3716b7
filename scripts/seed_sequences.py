"""Publish sequence files (default: all of sequences/), each as `outreach sequence publish FILE` does. Safe to run again."""

import sys
from pathlib import Path

from outreach.cli import run

if __name__ == "__main__":
    shipped = sorted((Path(__file__).parent.parent / "sequences").glob("*.yaml"))
    sys.exit(max(run(["sequence", "publish", str(file)]) for file in sys.argv[1:] or shipped))
