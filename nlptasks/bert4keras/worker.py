"""What a process imports that a running script started anew: the script once more, under the old names, not as main."""

import os
import sys

from nlptasks.bert4keras.running import SCRIPT, Script, install

if __name__ == "__mp_main__":  # `multiprocessing` imports the main module so
    install()
    Script(os.environ[SCRIPT]).exec_module(sys.modules[__name__])
