"""How a command ends that does not end well: one message with what to do, and the exit code. Never a traceback."""

import sys


def end_with(error: Exception, *, quote: bool = True) -> int:
    """Say the error on stderr; the process's exit code. The one place where everything ends: said, never swallowed.

    `quote`: may the words of an error that nobody expected be shown? They may quote a row, and a process's stderr is its log.
    """
    from outreach.errors import OutreachError
    from outreach.models.outage import explain_outage

    known = error if isinstance(error, OutreachError) else explain_outage(error)
    if known is not None:
        sys.stderr.write(f"error: {known}\n")
        return known.exit_code
    first = f": {str(error).partition(chr(10))[0]}" if quote else ""
    sys.stderr.write(f"error: {type(error).__name__}{first} (--traceback shows where)\n")
    return 1
