"""BERT-of-Theseus: compress a fine-tuned classifier, labeler or reader into one with fewer layers.

    python tasks/theseus_compression.py train --task classification --train A.jsonl --valid B.jsonl \
        --checkpoint DIR --successor-layers 6 --output runs/small
    python tasks/theseus_compression.py train --task labeling --train A.jsonl --valid B.jsonl \
        --predecessor runs/ner --successor-layers 3 --output runs/small_ner

The same as `nlptasks compression`, see nlptasks/applications/compression/commands.py.
"""

import sys

from nlptasks.command import script

main = script("compression")

if __name__ == "__main__":
    sys.exit(main())
