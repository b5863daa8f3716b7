"""How a command ends that does not end well: one message with what to do, and the exit code. Never a traceback."""

import sys


def end_with(error: Exception) -> int:
    """Say the error on stderr; the process's exit code. The one place where everything ends: said, never swallowed."""
    from outreach.errors import OutreachError
    from outreach.models.outage import explain_outage

    known = error if isinstance(error, OutreachError) else explain_outage(error)
    if known is not None:
        sys.stderr.write(f"error: {known}\n")
        return known.exit_code
    first = str(error).partition("\n")[0]
    sys.stderr.write(f"error: {type(error).__name__}: {first} (--traceback shows where)\n")
    return 1
