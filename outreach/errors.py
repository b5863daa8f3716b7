"""The one error tree. An error's docstring is its default message; `hint` says how to mend it."""


class OutreachError(Exception):
    """Something went wrong."""

    #: Process exit code of the command line: 1 failed, 2 usage or configuration, 3 refused, 4 in doubt.
    exit_code = 1

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or (self.__doc__ or "").strip()
        self.hint = hint
        super().__init__(self.message if hint is None else f"{self.message}\n  {hint}")


class UsageError(OutreachError):
    """The command was given something it cannot use."""

    exit_code = 2


class ConfigurationError(OutreachError):
    """The environment or the configuration does not allow this."""

    exit_code = 2


class NotFound(OutreachError):
    """There is nothing of that name."""

    exit_code = 2


class InvalidDefinition(OutreachError):
    """The sequence file has problems."""

    exit_code = 2


class RefusedByGate(OutreachError):
    """The gate refused or deferred this."""

    exit_code = 3


class InDoubt(OutreachError):
    """The provider may have accepted it: do not run this again."""

    exit_code = 4


class ConflictError(OutreachError):
    """The row changed under us more often than we retry."""


class NeedsNewerWorker(OutreachError):
    """A row was written by a newer release; this one leaves it alone."""
