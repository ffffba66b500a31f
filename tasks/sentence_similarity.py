"""Sentence similarity: learn vectors of sentences from groups with the same meaning, score them, search with them.

    python tasks/sentence_similarity.py train --train groups.tsv --output runs/similarity
    python tasks/sentence_similarity.py evaluate --model runs/similarity --data groups_dev.tsv
    python tasks/sentence_similarity.py index --model runs/similarity --corpus sentences.txt --output runs/index
    python tasks/sentence_similarity.py search --model runs/similarity --index runs/index --query 问题 --hybrid

The same as `nlptasks similarity`, see nlptasks/applications/similarity/commands.py.
"""

import sys

from nlptasks.command import script

main = script("similarity")

if __name__ == "__main__":
    sys.exit(main())
