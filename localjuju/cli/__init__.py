"""The `juju` executable of the local engine: commands, texts and JSON as Juju has them."""
