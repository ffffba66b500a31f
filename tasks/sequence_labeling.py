"""Sequence labeling: train, score and use a model that finds the entities of texts.

    python tasks/sequence_labeling.py train --train A.jsonl --valid B.jsonl --checkpoint DIR --output runs/ner
    python tasks/sequence_labeling.py evaluate --model runs/ner --data test.jsonl
    python tasks/sequence_labeling.py predict --model runs/ner --texts 第一句 第二句

The same as `nlptasks labeling`, see nlptasks/applications/labeling/commands.py.
"""

import sys

from nlptasks.command import script

main = script("labeling")

if __name__ == "__main__":
    sys.exit(main())
