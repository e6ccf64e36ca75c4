"""The one error that a user can mend."""


class InputError(ValueError):
    """A bad file, record or flag.

    The message is one line: it names the file, the record or the flag, and says what to do. The
    command line prints it without a traceback and exits with 1.
    """
