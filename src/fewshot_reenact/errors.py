"""What can go wrong for a user, and the exit code of the command line that goes with it.

Every message is one line: what is wrong, where, and what to do about it. The command line prints it without a
traceback; the Python API raises it.
"""


class ReenactError(Exception):
    """Base class of every error that a user can cause and mend."""

    exit_code = 1


class UsageError(ReenactError):
    """An option that makes no sense, or an output that cannot be written there (exists, no such folder, disk full)."""

    exit_code = 2


class InputError(ReenactError):
    """A picture, video or motion file that cannot be used: missing, damaged, without a face."""

    exit_code = 3


class ModelError(ReenactError):
    """Weights that are missing, damaged or made for other networks."""

    exit_code = 4
