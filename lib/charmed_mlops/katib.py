"""What Katib's controller and its web page share."""

from __future__ import annotations

from charmed_mlops.interfaces.service import Address


def environment(namespace: str, db_manager: Address) -> dict[str, str]:
    """Where Katib runs and where its database manager answers.

    Katib puts the manager's name together as IP.NAMESPACE:PORT.

    Args:
        namespace: the model's.
        db_manager: as its application published it.
    """
    name, _, where = db_manager.host.removesuffix(".svc.cluster.local").partition(".")
    return {
        "KATIB_CORE_NAMESPACE": namespace,
        "KATIB_DB_MANAGER_SERVICE_NAMESPACE": where or namespace,
        "KATIB_DB_MANAGER_SERVICE_IP": name,
        "KATIB_DB_MANAGER_SERVICE_PORT": str(db_manager.port),
    }
