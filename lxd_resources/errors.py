"""What goes wrong between this program and LXD."""


class LxdError(Exception):
    """What went wrong, in one line without secrets, and what to do."""


class UnreachableError(LxdError):
    """No connection to the machine."""


class SilentError(UnreachableError):
    """The machine answers, no LXD on it does."""


class AnotherMachineError(LxdError):
    """The machine that answers is not the one whose key is pinned."""


class MissingError(LxdError):
    """No such entity."""


class RetryError(Exception):
    """Whether the request was done is not known, or it came at the wrong time: read the entity, then decide."""
