"""The one exception whose text a user reads."""


class EngineError(Exception):
    """A condition that a user can change; `str()` is one line that names how."""
