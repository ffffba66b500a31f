"""Latent text: train a sentence autoencoder; encode, reconstruct, interpolate and sample texts with it.

    python tasks/latent_text.py train --train texts.txt --output runs/latent --checkpoint none
    python tasks/latent_text.py evaluate --model runs/latent --data held_out.txt
    python tasks/latent_text.py sample --model runs/latent --count 5

The same as `nlptasks latent`, see nlptasks/applications/latent/commands.py.
"""

import sys

from nlptasks.command import script

main = script("latent")

if __name__ == "__main__":
    sys.exit(main())
