"""Runs one script through `python -m nlptasks.bert4keras` with `fit` bounded by a callback.

python bounded.py SCRIPT   # the script's bytes are not touched

`fit` stops after STEPS batches of each of EPOCHS epochs. A server is asked one question and stopped.
"""

import os
import runpy
import sys
import threading
import time
import urllib.request

import keras

from nlptasks.bert4keras.keras.models import Model
from nlptasks.bert4keras.serving import WebServing

STEPS, EPOCHS = int(os.environ.get("STEPS", 1)), int(os.environ.get("EPOCHS", 1))


class Bounded(keras.callbacks.Callback):
    """Ends the training after so many epochs."""

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        if epoch + 1 >= EPOCHS:
            self.model.stop_training = True


def bounded(fit):
    def run(self, *args, **kwargs):
        if kwargs.get("steps_per_epoch"):
            kwargs["steps_per_epoch"] = min(kwargs["steps_per_epoch"], STEPS)
        if kwargs.get("validation_steps"):
            kwargs["validation_steps"] = min(kwargs["validation_steps"], STEPS)
        kwargs["callbacks"] = [*(kwargs.get("callbacks") or []), Bounded()]
        return fit(self, *args, **kwargs)

    return run


def asked_once(start):
    def run(self):
        server = self.make_server()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        time.sleep(0.5)
        for _, path in self.pages:
            url = f"http://127.0.0.1:{self.port}{path}?text=a&n=3&k=2"
            with urllib.request.urlopen(url) as answer:
                print("served:", answer.read().decode())
        server.shutdown()

    return run


Model.fit = bounded(Model.fit)
WebServing.start = asked_once(WebServing.start)
keras.applications.mobilenet_v2  # noqa: B018 - imported before the names change
sys.argv = ["nlptasks.bert4keras", *sys.argv[1:]]
runpy.run_module("nlptasks.bert4keras", run_name="__main__", alter_sys=False)
