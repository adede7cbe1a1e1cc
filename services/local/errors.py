"""What goes wrong with the stack, said so that the person at the terminal can act on it."""


class StackError(Exception):
    """The stack cannot start, stop or go on; the message is shown as it is."""
