"""The Juju model: what is deployed, related, configured and said, in SQLite."""
