"""Pretraining shards from raw text: tokens with word and document starts, packed into rows, in ArrayRecord files.

    python pretraining/make_shards.py --input corpus/*.txt --vocab vocab.txt --output runs/shards --seq-length 512

The same as `nlptasks pretraining shards`, see README.md in this folder.
"""

import sys

from nlptasks.command import script

main = script("pretraining", "shards")

if __name__ == "__main__":
    sys.exit(main())
