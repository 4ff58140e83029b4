"""Relation interfaces: what the two sides write, and how to read it."""
