"""`python -m nlptasks.bert4keras SCRIPT [ARGS]` runs a script of bert4keras."""

import sys

from nlptasks.bert4keras.running import run
from nlptasks.errors import UserError

USAGE = "usage: python -m nlptasks.bert4keras SCRIPT [ARGS]"


def main() -> int:
    """Runs the script of the command line; returns the exit status."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        (sys.stdout if words else sys.stderr).write(f"{USAGE}\n")
        return 0 if words else 2
    try:
        run(words[0], words[1:])
    except FileNotFoundError as error:
        if error.filename != words[0]:
            raise
        sys.stderr.write(f"error: {words[0]}: no such script. {USAGE}\n")
        return 2
    except UserError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
