"""Any application over files of any size, by Apache Beam: on the cores of this machine, or on a cluster.

    nlptasks batch --model runs/classifier --input 'texts/part-*.jsonl.gz' --output out --workers 8
    nlptasks batch --model segmenter --input big.txt --output out --arguments '{"standard": "msr"}'

A line is an object of JSON (in a .txt file: a text). Each file gives one of the same name, whole or not at all; the
same command goes on with what is missing. docs/batch.md has the fields of every application, and clusters.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlptasks.backend.packages import KERAS, require_packages
from nlptasks.batch import job as jobs
from nlptasks.batch import places
from nlptasks.batch.job import Job
from nlptasks.batch.pipeline import LOCAL, flags, run
from nlptasks.batch.rows import LIGHT, require_settings
from nlptasks.bundled import bundled_models
from nlptasks.console import progress_bar, say
from nlptasks.encodings import require_encoding
from nlptasks.errors import UserError
from nlptasks.opening import is_exported, task_of
from nlptasks.train.options import Options, TextFiles, require_at_least


@dataclass(kw_only=True)
class Batch(Options, TextFiles):
    """Compute an application over files, a line at a time."""

    model: str
    """the directory of a model, or the name of one that comes with the package"""
    input: tuple[str, ...]
    """files or patterns (in quotes): JSON lines, or .txt with a text a line; plain or gzip"""
    output: str
    """folder to write: a file for each file of the input, bad/ with the lines set aside, and batch.json at the end"""
    arguments: str = "{}"
    """an object of JSON with what the application takes beside its texts, for example {"standard": "msr"}"""
    keep: tuple[str, ...] = ("id",)
    """fields of the input that are copied to the output"""
    batch_size: int = 256
    """number of lines that are computed together"""
    max_line_kib: int = 1024
    """the longest line, in KiB; longer ones are set aside"""
    runner: str = LOCAL
    """local, or a runner of Apache Beam: SparkRunner, FlinkRunner, DataflowRunner, PortableRunner, ..."""
    workers: int = 1
    """local: number of processes; each has the model, and computes on one core"""
    beam_option: tuple[str, ...] = ()
    """further options for Beam, each as name=value"""
    json: bool = False
    """print the counts as a JSON object on the last line of the output"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "batch_size", "max_line_kib", "workers")
        require_encoding(self.encoding)
        self.given()
        if not self.input:
            raise UserError("{field:input} takes at least one file or pattern.")
        if self.runner != LOCAL and self.workers != 1:
            raise UserError("{field:workers} is for the local runner; {field:beam_option} has those of the others.")

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return ("apache_beam",)

    def given(self) -> dict[str, Any]:
        """The arguments of the application.

        Raises:
            UserError: `arguments` is no object of JSON.
        """
        try:
            values = json.loads(self.arguments)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise UserError("{field:arguments} takes an object of JSON. Received: {value!r}.", value=self.arguments)
        return values

    def job(self) -> Job:
        """The job.

        Raises:
            UserError: there is no such model, or no such input.
        """
        known = bundled_models()
        if not places.is_remote(self.model) and self.model not in known and not Path(self.model).is_dir():
            raise UserError(
                "{field:model} {path} is no directory; give one that a training run has written, or the name of a "
                "model that comes with the package ({known}).",
                path=self.model,
                known=", ".join(known),
            )
        files = tuple(places.find(self.input))
        jobs.require_names(files)
        if not places.is_remote(self.model):
            task = task_of(known.get(self.model, Path(self.model)))
            if task not in LIGHT and not is_exported(self.model):
                require_packages(*KERAS)
            require_settings(task, self.given())
        model = self.model if places.is_remote(self.model) or self.model in known else str(Path(self.model).resolve())
        output = self.output if places.is_remote(self.output) else str(Path(self.output).resolve())
        shape = {"encoding": self.encoding, "batch_size": self.batch_size, "max_line": self.max_line_kib << 10}
        return Job(model, output, files, self.given(), self.keep, **shape)  # type: ignore[arg-type] # as their names say

    def run(self) -> None:
        """Computes the shards that are missing, and prints the counts."""
        job = self.job()
        words = flags(self.runner, self.workers, self.beam_option)
        total, todo = len(job.files), list[int]()
        if jobs.begin(job):
            with jobs.alone(job):
                todo = jobs.missing(job)
                if len(todo) < total:
                    there = total - len(todo)
                    say(THERE, output=job.output, done=there, total=total)
                if todo:
                    self._compute(job, todo, words)
        counts = jobs.finish(job)
        say(COUNTED, output=job.output, rows=counts["rows"], bad=counts["bad"])
        if self.json:
            shown = {name: counts[name] for name in ("rows", "bad")} | {"shards": total, "computed": len(todo)}
            print(json.dumps(shown))

    def _compute(self, job: Job, todo: list[int], words: list[str]) -> None:
        if self.runner != LOCAL:
            run(job, todo, words)
            return
        from nlptasks.batch.watched import run_watched

        done = len(job.files) - len(todo)
        for _ in progress_bar(run_watched(job, todo, words, ONE_CORE), "shards", len(job.files), done):
            pass


THERE = "{output}: {done} of {total} shards are there already"
COUNTED = "{output}: {rows} lines computed, {bad} set aside"
ONE_CORE = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""a worker computes on one core: the same numbers to the last bit, however many there are"""
COMMANDS = Batch
