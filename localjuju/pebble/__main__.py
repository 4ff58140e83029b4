"""`python -m localjuju.pebble run …`."""

import sys

from localjuju.pebble.daemon import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
