"""The `outreach` command. What runs for weeks carries no command-line library; what answers a person loads it when asked."""

import sys
from collections.abc import Sequence

#: Processes whose few options are read by argparse, so that no worker carries typer about.
_PROCESSES = ("worker", "scheduler", "web")


def run(words: Sequence[str]) -> int:
    """Run one command line; its exit code. For scripts and tests."""
    from outreach.cli.root import run as run_root

    return run_root(words)


def main() -> int:
    """Entry point."""
    words = sys.argv[1:]
    if words and words[0] in _PROCESSES and "--help" not in words:
        from outreach.cli.processes import run_process

        return run_process(words)
    return run(words)
