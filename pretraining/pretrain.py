"""Pretrains BERT on shards made by make_shards.py, on a CPU, one GPU, many GPUs or a TPU.

    python pretraining/pretrain.py --shards runs/shards --output runs/bert --config tiny --num-steps 1000

The same as `nlptasks pretraining train`, see README.md in this folder.
"""

import sys

from nlptasks.command import script

main = script("pretraining", "train")

if __name__ == "__main__":
    sys.exit(main())
