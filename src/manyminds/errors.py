"""The one exception a user's mistake may raise."""


class UserError(Exception):
    """Bad input, told in one sentence: what is wrong, where (file, line, key), and what would be right.

    The command line prints the sentence without a traceback and exits with code 2. From Python it is an
    ordinary exception whose text is that sentence.
    """
