"""What runs here for an image reference: trees that are made once, as layers of an OCI image."""

from localjuju.images.catalogue import Catalogue, Entry

__all__ = ["Catalogue", "Entry"]
