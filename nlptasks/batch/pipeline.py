"""The pipeline, and the runners that it is given to."""

from collections.abc import Sequence
from typing import Any

from nlptasks.batch.job import Job
from nlptasks.batch.work import Shards

LOCAL = "local"
_FN_API = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def flags(runner: str, workers: int, given: Sequence[str]) -> list[str]:
    """Beam's command line.

        flags("local", 2, [])
        flags("FlinkRunner", 2, ["flink_master=host:8081", "parallelism=16"])

    Args:
        runner: local, or a runner of Beam's.
        workers: processes of the local runner; others have options of their own.
        given: further options, `name=value` each, or `name` where it takes none.
    """
    own = [f"--runner={runner}"]
    if runner == LOCAL:
        own = [f"--runner={_FN_API}", "--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    return [*own, *(f"--{option.lstrip('-')}" for option in given)]


def pipeline(job: Job, numbers: Sequence[int], words: Sequence[str]) -> Any:
    """The pipeline that computes some shards of a job; `.run()` begins.

    Args:
        words: from `flags`.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    made = beam.Pipeline(options=PipelineOptions(list(words)))
    steps(made, job, numbers)
    return made


def steps(made: Any, job: Job, numbers: Sequence[int]) -> None:
    """Puts the steps into a pipeline: every shard is an element of its own, which goes to any worker."""
    import apache_beam as beam

    shards = made | "Shards" >> beam.Create(list(numbers)) | "Spread" >> beam.Reshuffle()
    _ = shards | "Compute" >> beam.Map(Shards(job))


def run(job: Job, numbers: Sequence[int], words: Sequence[str]) -> None:
    """Computes the shards, and waits for the end.

    Raises:
        ChildProcessError: the runner gave up.
    """
    result = pipeline(job, numbers, words).run()
    state = str(result.wait_until_finish())
    if state not in ("DONE", "UNKNOWN"):  # a template has no state
        raise ChildProcessError(f"the runner ended as {state}; the same command goes on with what is missing.")
