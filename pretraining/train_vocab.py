"""Makes a WordPiece vocabulary from a corpus: special tokens first, and each Chinese character is a token.

    python pretraining/train_vocab.py --input corpus/*.txt --output runs/vocab.txt --vocab-size 21128

The same as `nlptasks pretraining vocab`, see README.md in this folder.
"""

import sys

from nlptasks.command import script

main = script("pretraining", "vocab")

if __name__ == "__main__":
    sys.exit(main())
