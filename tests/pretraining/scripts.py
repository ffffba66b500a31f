"""Runs a script of the folder pretraining/ in this process."""

from tests.tasks.scripts import ROOT, call, load_file

__all__ = ["call", "load_script"]


def load_script(name):
    """The module of `pretraining/{name}.py`."""
    return load_file(ROOT / "pretraining" / f"{name}.py")
