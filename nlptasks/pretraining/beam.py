"""The same shards by an Apache Beam pipeline, where one machine is not enough.

Every worker must see the corpus and the folder of shards under the same paths (a shared or mounted file system).
"""

from collections.abc import Sequence

from nlptasks.backend.packages import require_packages
from nlptasks.pretraining.making import ShardMaker


def make_with_beam(maker: ShardMaker, numbers: Sequence[int], runner: str, options: Sequence[str] = ()) -> None:
    """Make shards by a Beam runner, and wait until they are there; `maker.finish()` then writes `meta.json`.

    Args:
        maker: makes a shard; it is sent to the workers.
        numbers: of the shards to make.
        runner: DirectRunner, DataflowRunner, SparkRunner, FlinkRunner, ...
        options: further options of Beam's, `name=value` each.

    Raises:
        MissingPackageError: Beam is not installed.
    """
    require_packages("apache_beam")
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    flags = [f"--runner={runner}", *(f"--{option.lstrip('-')}" for option in options)]
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        _ = pipeline | "Shards" >> beam.Create(list(numbers)) | "Spread" >> beam.Reshuffle() | "Make" >> beam.Map(maker)
