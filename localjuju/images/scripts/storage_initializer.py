"""Downloads models: the contract of KServe's storage-initializer image, by its own library.

initializer-entrypoint SOURCE DESTINATION [SOURCE DESTINATION …]
"""

import sys

from kserve_storage import Storage  # pyright: ignore[reportMissingImports] - the image's own

arguments = sys.argv[1:]
if not arguments or len(arguments) % 2:
    sys.exit("usage: initializer-entrypoint SOURCE DESTINATION [SOURCE DESTINATION ...]")
Storage.download_files(arguments[0::2], arguments[1::2])
