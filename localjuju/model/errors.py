"""What can be wrong with a request, with the code that the API sends along."""

from __future__ import annotations

from localkube.host.errors import EngineError


class ModelError(EngineError):
    """A request that cannot be done; `str()` is one line."""

    code = "invalid"


class NotFound(ModelError):  # noqa: N818  (a condition, as Juju calls it)
    """What the request names is not in the model."""

    code = "not-found"


class NotSupported(ModelError):  # noqa: N818
    """Juju has it, localjuju has not."""

    code = "not-supported"

    def __init__(self, what: str):
        super().__init__(f"{what}: not supported by localjuju")
