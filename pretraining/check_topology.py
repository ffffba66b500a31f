"""Compiles the training step of pretrain.py for TPUs that you do not have: does it fit, what do the devices exchange?

    python pretraining/check_topology.py --config base --batch-per-device 32 --seq-length 512 --topology v5e:2x4

The same as `nlptasks pretraining topology`, see README.md in this folder.
"""

import sys

from nlptasks.command import script

main = script("pretraining", "topology")

if __name__ == "__main__":
    sys.exit(main())
