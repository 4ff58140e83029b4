"""Which Juju this is compatible with; protocol.md cites the sources of that version."""

AGENT_VERSION = "3.6.27"
CLIENT_VERSION = f"{AGENT_VERSION}-ubuntu-amd64"
