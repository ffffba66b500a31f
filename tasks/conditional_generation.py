"""Conditional generation: train, score and use a model that writes texts under labels or vectors.

    python tasks/conditional_generation.py train --train reviews.tsv --columns category,sentiment,text \\
        --label-columns category sentiment --label-names sentiment:0=negative,1=positive --checkpoint none --output DIR
    python tasks/conditional_generation.py generate --model DIR --condition sentiment=positive --count 5 --top-p 0.95
    python tasks/conditional_generation.py evaluate --model DIR --data test.tsv

The same as `nlptasks conditional`, see nlptasks/applications/conditional/commands.py.
"""

import sys

from nlptasks.command import script

main = script("conditional")

if __name__ == "__main__":
    sys.exit(main())
