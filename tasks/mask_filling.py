"""Filling masks: the most probable tokens at the masks of a text, with their probabilities.

    python tasks/mask_filling.py "今天天气[MASK]好"
    python tasks/mask_filling.py --model DIR --top 3 --json < texts.txt

The same as `nlptasks filling`, see nlptasks/applications/filling/commands.py.
"""

import sys

from nlptasks.command import script

main = script("filling", "fill")

if __name__ == "__main__":
    sys.exit(main())
