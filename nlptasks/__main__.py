"""`python -m nlptasks` is the command `nlptasks`."""

import sys

from nlptasks.command import main

if __name__ == "__main__":
    sys.exit(main())
