"""The one exception for what a user can mend: shown as a single line, without a traceback."""


class UserError(Exception):
    """Bad input. The message says what is wrong, in which file or flag, and what to do about it."""
