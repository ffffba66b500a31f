"""Which rows a step reads, and the Grain iterator that reads them ahead.

Everything follows from (seed, step): a row's place in the shuffled epoch, what is masked in it, and the objective of a
step. So the data of a run do not depend on the number of processes, devices or workers, and a resumed run reads on
where it stopped.

Legend: A parts of a step (gradient accumulation), B rows of a part in this process, T width, M targets.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import grain
import numpy as np
from absl import flags
from grain.experimental import index_shuffle

from nlptasks.errors import UserError
from nlptasks.pretraining.objectives import Example, Objective
from nlptasks.pretraining.shards import Row, ShardSet

_HELD_OUT, _OBJECTIVE = 0x6E6C70, 0x746173  # streams of random numbers that have nothing to do with each other
_ROUNDS = 4  # of the shuffle; what Grain itself takes


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The batches of a run, by step: a source of random access for Grain.

    Args:
        rows: all rows, those held out included.
        objectives: the ways to make examples; each step takes one of them.
        shares: how often each of them is taken; they sum to 1.
        batch_size: rows of a step over all processes.
        num_steps: steps of the run.
        accumulate: A.
        seed: decides order, masks and objectives.
        num_held_out: rows that are for validation and never read here.
        process_index, process_count: which part of every step's rows this process reads.

    Raises:
        ValueError: a batch that does not divide into A parts for all processes, or too few rows.
    """

    rows: ShardSet | Sequence[Row]
    objectives: Sequence[Objective]
    shares: Sequence[float]
    batch_size: int
    num_steps: int
    accumulate: int = 1
    seed: int = 0
    num_held_out: int = 0
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % (self.accumulate * self.process_count):
            raise UserError(
                "{field:batch_size} must be a multiple of {field:accumulate} x processes, so that all parts are equal. "
                "Received: {rows}, {parts} x {processes}.",
                rows=self.batch_size,
                parts=self.accumulate,
                processes=self.process_count,
            )
        if not 0 <= self.num_held_out < len(self.rows):
            raise UserError(
                "{field:valid_rows} must leave rows to train on. Received: {held_out} of {rows} rows; a tenth is "
                "{field:valid_rows} {tenth}.",
                held_out=self.num_held_out,
                rows=len(self.rows),
                tenth=len(self.rows) // 10,
            )

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, step: int) -> Example:
        """The arrays of this process for a step, each `(A, B, ...)`."""
        step = step.__index__()
        objective = self.objectives[self.objective_number(step)]
        part = self.batch_size // self.accumulate
        mine = part // self.process_count
        first = step * self.batch_size + self.process_index * mine
        numbers = [first + a * part + i for a in range(self.accumulate) for i in range(mine)]
        stacked = stack([objective.example(*self._drawn(number)) for number in numbers])
        return {name: array.reshape(self.accumulate, mine, *array.shape[1:]) for name, array in stacked.items()}

    def __repr__(self) -> str:
        return f"Batches(rows={self.rows!r}, steps={self.num_steps}, batch_size={self.batch_size}, seed={self.seed})"

    def objective_number(self, step: int) -> int:
        """The index of the objective that a step has."""
        if len(self.objectives) == 1:
            return 0
        return int(np.random.default_rng((self.seed, _OBJECTIVE, step)).choice(len(self.shares), p=self.shares))

    def row_number(self, number: int) -> tuple[int, int]:
        """Epoch and row of the example with this number, counted from the run's start."""
        total, count = len(self.rows), len(self.rows) - self.num_held_out
        epoch, place = divmod(number, count)
        (seed,) = np.random.SeedSequence((self.seed, epoch)).generate_state(1)
        place = index_shuffle(place, max_index=count - 1, seed=int(seed), rounds=_ROUNDS)
        return epoch, _apart(place + self.num_held_out, total)

    def _drawn(self, number: int) -> tuple[Row, np.random.Generator]:
        """The row of an example, and the random numbers that it is made with."""
        epoch, row = self.row_number(number)
        return self.rows[row], np.random.default_rng((self.seed, epoch, row))


def held_out_batches(
    rows: ShardSet | Sequence[Row], objective: Objective, count: int, batch_size: int, seed: int = 0
) -> Iterator[Example]:
    """The held-out rows, always masked the same way, as arrays `(B, ...)`; rows of weight 0 fill up the last batch."""
    examples = []
    for place in range(count):
        number = _apart(place, len(rows))
        examples.append(objective.example(rows[number], np.random.default_rng((seed, _HELD_OUT, number))))
        if len(examples) == batch_size or place == count - 1:
            batch = stack(examples)
            missing = batch_size - len(examples)
            yield {n: np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) for n, array in batch.items()}
            examples = []


def _apart(place: int, total: int) -> int:
    """The row at a place of an order that no option changes; its first places are held out."""
    return index_shuffle(place, max_index=total - 1, seed=_HELD_OUT, rounds=_ROUNDS)


def stack(examples: Sequence[Mapping[str, np.ndarray]]) -> Example:
    """Examples of one objective as one, with a first axis."""
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def read_ahead(
    batches: Batches, num_workers: int = 0, num_threads: int = 2, buffer: int = 8, first: int = 0
) -> grain.DatasetIterator:
    """Grain's iterator over the batches, made ahead of their use; `get_state` and `set_state` say where it stands.

    Args:
        num_workers: processes that make batches; 0: threads of this one.
        num_threads: threads in each of them.
        buffer: batches ahead.
        first: the step to begin with; a state is that of an iterator with the same one and as many workers.
    """
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=buffer)
    dataset = grain.MapDataset.source(batches).slice(slice(first, None)).to_iter_dataset(options)
    if num_workers:
        if not flags.FLAGS.is_parsed():  # Grain's workers read flags that only programs built on absl parse
            flags.FLAGS.mark_as_parsed()
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=num_workers))
    return iter(dataset)


def unigram_baseline(
    rows: ShardSet | Sequence[Row], objective: Objective, num_held_out: int, sample: int = 2000
) -> dict[str, float]:
    """Scores on the held-out rows' targets of a guess that knows only how often tokens occur: `perplexity`, `accuracy`.

    Frequencies are counted (plus one) over at most `sample` rows that are not held out.
    """
    vocab_size = max(objective.vocab.values()) + 1
    places = range(num_held_out, min(len(rows), num_held_out + sample))
    counts = np.ones(vocab_size)
    for place in places:
        counts += np.bincount(rows[_apart(place, len(rows))].token_ids, minlength=vocab_size)
    counts[objective.unpredicted_ids] = 1
    log_p, best = np.log(counts / counts.sum()), int(counts.argmax())
    loss = hits = weight = 0.0
    for batch in held_out_batches(rows, objective, num_held_out, 64):
        weights, ids = batch["target_weights"], batch["target_ids"]
        loss -= float((log_p[ids] * weights).sum())
        hits += float(((ids == best) * weights).sum())
        weight += float(weights.sum())
    weight = max(weight, 1.0)
    return {"perplexity": float(np.exp(loss / weight)), "accuracy": hits / weight}
