"""The name by which programs in the cluster call the gateway.

It is that of the Service that leads only to units that serve, which the certificate has to have.
Units of a revision before that Service show a certificate without the name. So after a refresh
clients are given Juju's name until every unit has said that it shows one with it.
"""

from __future__ import annotations

from charmed_mlops import ClusterResources, ServiceCharm

_KEY = "serving-name"
"""With peers: of the application, whether clients are given it; of a unit, whether it shows it."""


class InnerName:
    """Decides between the two names of the application in the cluster."""

    def __init__(self, charm: ServiceCharm, cluster: ClusterResources):
        self._charm = charm
        self._cluster = cluster

    def current(self, chain: str) -> str:
        """The name that clients are given, where there is a broker; what the leader says counts.

        Args:
            chain: PEM of the certificate in use.
        """
        charm = self._charm
        if not charm.unit.is_leader():
            return charm.juju_address
        given = charm.peers.get(_KEY)
        if given is None and not self._cluster.requested:
            # a first deploy: no unit has another certificate, nobody can be served before
            given = True
            charm.peers.set(_KEY, given)
        return charm.address if given and self._has(chain) else charm.juju_address

    def withdraw(self) -> None:
        """To be called without a broker: the Service went with it, and is to be made anew."""
        if self._charm.unit.is_leader() and self._charm.peers.get(_KEY):
            self._charm.peers.set(_KEY, False)

    def shown(self, chain: str) -> bool:
        """To be called when the objects are applied and this unit shows the certificate.

        Returns:
            Whether `current` has become another by it. That another unit shows the name wakes
            nobody: the leader's next event will do.
        """
        peers = self._charm.peers
        if peers.get(_KEY):
            return False
        has = self._has(chain)
        peers.tell(_KEY, has)
        if not (self._charm.unit.is_leader() and has and all(peers.told(_KEY))):
            return False
        peers.set(_KEY, True)
        return True

    def _has(self, chain: str) -> bool:
        from cryptography import x509  # here: most hooks of followers need none

        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return False
        return self._charm.address in names.get_values_for_type(x509.DNSName)
