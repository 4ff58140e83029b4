"""What runs here for an image reference: a tree made once, laid over the host's programs."""

from localjuju.images.catalogue import Catalogue, Entry
from localjuju.images.image import Image

__all__ = ["Catalogue", "Entry", "Image"]
