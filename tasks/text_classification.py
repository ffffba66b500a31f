"""Text classification: train, score and use a classifier of texts or of pairs of texts, with one label or several.

    python tasks/text_classification.py train --train A.jsonl --valid B.jsonl --checkpoint DIR --output runs/classifier
    python tasks/text_classification.py evaluate --model runs/classifier --data test.jsonl
    python tasks/text_classification.py predict --model runs/classifier --texts 第一句 第二句

The same as `nlptasks classification`, see nlptasks/applications/classification/commands.py.
"""

import sys

from nlptasks.command import script

main = script("classification")

if __name__ == "__main__":
    sys.exit(main())
