"""Unit agents: they choose, run and commit the hooks of each unit."""
