"""Sequence to sequence: train, score and use a model that writes a text for a text.

    python tasks/seq2seq.py train --train titles.jsonl --source-column abst --target-column title --output runs/titles
    python tasks/seq2seq.py evaluate --model runs/titles --data test.jsonl --search beam --lead 20
    python tasks/seq2seq.py generate --model runs/titles --texts 文章 --search beam

The same as `nlptasks seq2seq`, see nlptasks/applications/seq2seq/commands.py.
"""

import sys

from nlptasks.command import script

main = script("seq2seq")

if __name__ == "__main__":
    sys.exit(main())
