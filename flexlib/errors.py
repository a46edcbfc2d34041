"""The exceptions that a user is meant to read."""


class FlexError(Exception):
    """A mistake or a lack that the user can mend.

    The message is one line: what is wrong, and what to do. The command line prints it without a
    traceback and exits with status 2; every other exception is a bug and keeps its traceback.
    """


class Busy(FlexError):
    """Another process is at it, and has the lock."""
