"""bert4keras' names on today's Keras: a script runs as it is, or after its imports are changed.

    python -m nlptasks.bert4keras SCRIPT [ARGS]

runs a script that imports `bert4keras` and `keras`. By hand, replace `from bert4keras.` by `from nlptasks.bert4keras.`
and `from keras` by `from nlptasks.bert4keras.keras`. Keras itself is not changed: what behaves as in Keras 2 lives in
subclasses of that namespace. docs/from_bert4keras.md lists what is the same and what is not.

This package imports the rest of the library, which never imports it.
"""

__version__ = "0.11.5"
"""the version of bert4keras whose names these are"""
