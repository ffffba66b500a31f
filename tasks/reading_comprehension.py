"""Reading comprehension by sequence to sequence: train, score and use a reader of several passages a question.

    python tasks/reading_comprehension.py train --train A.json --valid B.json --checkpoint DIR --output runs/reader
    python tasks/reading_comprehension.py evaluate --model runs/reader --data test.json
    python tasks/reading_comprehension.py answer --model runs/reader --question 问题 --passage 篇章一 篇章二

The same as `nlptasks reading`, see nlptasks/applications/reading/commands.py.
"""

import sys

from nlptasks.command import script

main = script("reading")

if __name__ == "__main__":
    sys.exit(main())
