"""Chinese word segmentation by a fully convolutional network: train, score and use a segmenter of several standards.

    python tasks/word_segmentation.py train --train A.txt B.txt --standard cnc weibo --output runs/segmenter
    python tasks/word_segmentation.py evaluate --model runs/segmenter --gold test.txt --standard cnc
    python tasks/word_segmentation.py segment --model runs/segmenter --text 今天天气很好。

The same as `nlptasks segmentation`, see nlptasks/applications/segmentation/commands.py.
"""

import sys

from nlptasks.command import script

main = script("segmentation")

if __name__ == "__main__":
    sys.exit(main())
