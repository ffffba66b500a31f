"""One encoder for several tasks, trained together."""

from dataclasses import dataclass

from nlptasks.applications.multitask.training import MultiTaskOptions, train_tasks
from nlptasks.applications.results import say_ready
from nlptasks.train.options import TextFiles


@dataclass(kw_only=True)
class Train(MultiTaskOptions, TextFiles):
    """Train several tasks on one encoder; each one becomes a model in a folder of its name.

    The epoch with the best mean of the scores of all tasks is kept: accuracy, or F1 of entities.
    """

    def run(self) -> None:
        """Reads the files and trains."""
        learned = train_tasks(self)
        for name in self.files("task"):
            say_ready(self.output / name, "evaluate and predict", learned)


COMMANDS = {"train": Train}
