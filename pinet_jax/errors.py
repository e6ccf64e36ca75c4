"""The errors that a user can mend."""


class InputError(ValueError):
    """A bad file or record.

    The message is one line: it names the file or the record, and says what to do. The command line
    prints it without a traceback and exits with 1.
    """


class UsageError(InputError):
    """A flag or an argument that fits nothing; the command line exits with 2."""
