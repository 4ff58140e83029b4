"""The tenants' accounts: a key for each, kept in a Juju secret and given to its namespace."""

from __future__ import annotations

from collections.abc import Iterable

import ops
from gateway import PORT, Gateway, new_keys
from records import Records

from charmed_mlops import ActionFailed, ClusterResources, Reach, ServiceCharm, pipelines
from charmed_mlops.interfaces import _common
from charmed_mlops.interfaces.s3 import Bucket, Request

_PREFIX = "tenant-"


class Tenants:
    """An account for each tenant that the broker names; none without a broker."""

    def __init__(self, charm: ServiceCharm):
        self._charm = charm
        self._cluster = ClusterResources(charm)
        self._keys: dict[str, dict[str, str]] = {}
        self._rotated: dict[str, dict[str, str]] = {}

    def rotate(self, tenant: str) -> str:
        """A new secret key for a tenant, whose namespace has it once the charm has converged.

        Returns:
            the access key, which stays.

        Raises:
            ActionFailed: there is no such tenant.
        """
        try:
            secret = self._charm.model.get_secret(label=_label(tenant))
        except ops.SecretNotFoundError:
            raise ActionFailed(f"{tenant} has no key: no profile has this namespace") from None
        keys = new_keys(_account(tenant))
        secret.set_content(keys)
        self._rotated[tenant] = keys  # Juju tells the new revision only after this hook
        return keys["access-key"]

    def serve(
        self, gateway: Gateway, records: Records, accounts: set[str], endpoint: str, region: str
    ) -> None:
        """Have the gateway know just the tenants; to be called by the leader.

        Args:
            gateway: the gateway.
            records: what has been set so far.
            accounts: all that there are; changed as they are.
            endpoint: where tenants' pods reach it.
            region: what they call its region.
        """
        self._keys = {}
        tenants = set(self._cluster.tenants if self._cluster.related else ())
        had = {each.removeprefix(_PREFIX) for each in accounts if each.startswith(_PREFIX)}
        for tenant in sorted(tenants if self._cluster.gone_known else tenants | had):
            keys = self._rotated.get(tenant) or self._charm.app_secret(
                _label(tenant), lambda at=tenant: new_keys(_account(at))
            )
            access, secret = keys["access-key"], keys["secret-key"]
            records.keep_account(gateway, access, secret, exists=access in accounts)
            accounts.add(access)
            at = Bucket(endpoint, "", region, access, secret)
            self._keys[tenant] = {"accesskey": access, "secretkey": secret, **at.environment()}
        for tenant in sorted(had - set(self._keys)):
            gateway.remove_account(_account(tenant))
            records.forget_account(_account(tenant))
            accounts.discard(_account(tenant))
            _common.forget_secret(self._charm, _label(tenant))
            if not self._cluster.related:  # else the next request leaves it out
                self._cluster.forget(pipelines.ARTIFACT_SECRET, tenant)

    def folders(self, requests: Iterable[Request]) -> dict[str, dict[str, str]]:
        """Bucket to account to the folder that it may use there."""
        return {
            request.bucket: {
                _account(tenant): f"{request.tenants}/{tenant}" for tenant in self._keys
            }
            for request in requests
            if request.tenants
        }

    def publish(self) -> None:
        """Put each tenant's key into its namespace.

        Raises:
            Blocked: the broker refuses it.
            Waiting: the broker has not done it yet.
        """
        if self._cluster.related:
            self._cluster.apply(
                Reach(pods=(PORT,)), name=pipelines.ARTIFACT_SECRET, keys=self._keys
            )


def _account(tenant: str) -> str:
    return f"{_PREFIX}{tenant}"


def _label(tenant: str) -> str:
    return f"tenant.{tenant}.keys"
