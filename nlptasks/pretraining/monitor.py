"""What a run says while it goes on: one line, `log.csv`, TensorBoard events and a picture of the curves."""

import csv
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nlptasks.errors import told
from nlptasks.files import write_text
from nlptasks.train.curve import Line, draw_panels

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

LOG, CURVE = "log.csv", "curve.png"
STEP = "step {step}/{steps}  loss {loss:.4f}  accuracy {accuracy:.2%}  {tokens_per_second:,.0f} tokens/s  MFU {mfu:.1%}"
STEP_SKIPPED = (
    "step {step}/{steps}  loss {loss:.4f}  accuracy {accuracy:.2%}  {tokens_per_second:,.0f} tokens/s  MFU {mfu:.1%}  "
    "skipped {skipped}"
)
HELD_OUT = "step {step}/{steps}  held out: perplexity {perplexity:.2f}  accuracy {accuracy:.2%}"
COLUMNS = (
    "step",
    "loss",
    "accuracy",
    "gradient_norm",
    "learning_rate",
    "tokens_per_second",
    "mfu",
    "skipped",
    "seconds",
    "valid_loss",
    "valid_perplexity",
    "valid_accuracy",
)


class Monitor:
    """Collects the metrics of steps and writes a row now and then.

    Args:
        directory: of the run; None writes no file (processes other than the first).
        num_steps: of the whole run.
        log_every: steps of a row.
        flops: of a step, over all devices.
        peak_flops: of all devices, a second.
        say: where lines go.
        first_step, seconds, skipped, pending: where a resumed run stands.
        tensorboard: also write events.

    Attributes:
        pending: metrics of the steps since the last row; a checkpoint keeps them.
    """

    def __init__(
        self,
        directory: Path | None,
        num_steps: int,
        log_every: int,
        flops: float,
        peak_flops: float,
        say: Callable[[str], None],
        first_step: int = 0,
        seconds: float = 0.0,
        skipped: int = 0,
        pending: Sequence[Mapping[str, float]] = (),
        tensorboard: bool = False,
    ):
        self.directory, self.num_steps, self.log_every = directory, num_steps, log_every
        self.flops, self.peak_flops, self.say = flops, peak_flops, say
        self.skipped, self._former_seconds, self._started = skipped, seconds, time.monotonic()
        self.rows = [] if directory is None else _rows_until(directory / LOG, first_step)
        self.pending = list(pending)
        self.restart_clock()
        self._events = _event_writer(directory, first_step) if tensorboard and directory is not None else None
        if directory is not None:
            _write_rows(directory / LOG, self.rows)

    @property
    def seconds(self) -> float:
        """Of the run so far, earlier sessions included."""
        return self._former_seconds + time.monotonic() - self._started

    def restart_clock(self) -> None:
        """Rates are over the steps from now on: what was done before (compiling, validating) is left out."""
        self._since, self._steps, self._tokens = time.monotonic(), 0, 0.0

    def add(self, step: int, metrics: Mapping[str, float], learning_rate: float) -> None:
        """Takes the metrics of step `step` (counted from 1); writes a row when one is due."""
        self.pending.append(metrics)
        self._steps, self._tokens = self._steps + 1, self._tokens + metrics["tokens"]
        if step % self.log_every and step != self.num_steps:
            return
        elapsed = max(time.monotonic() - self._since, 1e-9)

        def mean(name: str) -> float:
            good = [m for m in self.pending if not m["bad"]]
            return sum(m[name] * m["targets"] for m in good) / max(1.0, sum(m["targets"] for m in good))

        row = {
            "step": step,
            "loss": mean("loss"),
            "accuracy": mean("accuracy"),
            "gradient_norm": mean("gradient_norm"),
            "learning_rate": learning_rate,
            "tokens_per_second": self._tokens / elapsed,
            "mfu": self._steps * self.flops / elapsed / self.peak_flops,
            "skipped": self.skipped,
            "seconds": self.seconds,
        }
        self._write(row)
        self.say(told(STEP_SKIPPED if self.skipped else STEP, steps=self.num_steps, **row))
        self.pending = []
        self.restart_clock()

    def add_validation(self, step: int, loss: float, accuracy: float) -> None:
        """Takes the scores of held-out rows after step `step`."""
        perplexity = math.exp(min(loss, 700.0))
        self._write(
            {"step": step, "valid_loss": loss, "valid_perplexity": perplexity, "valid_accuracy": accuracy}
            | {"seconds": self.seconds, "skipped": self.skipped}
        )
        self.say(told(HELD_OUT, step=step, steps=self.num_steps, perplexity=perplexity, accuracy=accuracy))
        self.restart_clock()

    def close(self) -> None:
        """Draws the curves and finishes the event file."""
        if self._events is not None:
            self._events.close()
        if self.directory is not None and self.rows:
            draw_curves(self.rows, self.directory / CURVE)

    def _write(self, row: Mapping[str, float]) -> None:
        if self.directory is None:
            return
        self.rows.append(row)
        with open(self.directory / LOG, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(_rounded(row))
        if self._events is not None:
            for name, value in row.items():
                if name != "step" and math.isfinite(value):
                    self._events.add_scalar(name, value, row["step"])


def _rounded(row: Mapping[str, float]) -> dict[str, int | str]:
    return {n: value if isinstance(value, int) else f"{value:.8g}" for n, value in row.items()}


def _write_rows(path: Path, rows: Iterable[Mapping[str, float]]) -> None:
    lines = [",".join(COLUMNS)]
    for row in map(_rounded, rows):
        lines.append(",".join(str(row.get(name, "")) for name in COLUMNS))
    write_text(path, "\n".join(lines) + "\n")


def _rows_until(path: Path, step: int) -> list[Mapping[str, float]]:
    """The rows of a former session up to a step; a line that a kill cut off is left out."""
    if not path.is_file() or not step:
        return []
    rows: list[Mapping[str, float]] = []
    with open(path, encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            try:
                row = {n: float(value) for n, value in line.items() if value and n}
                row |= {n: int(row[n]) for n in ("step", "skipped") if n in row}
            except ValueError:
                continue
            if row.get("step", step + 1) <= step and len(row) > 3:
                rows.append(row)
    return rows


def _event_writer(directory: Path, first_step: int) -> "SummaryWriter":
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(directory / "tensorboard"), purge_step=first_step + 1 if first_step else None)


def draw_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws loss and accuracy by step, in training and on held-out rows, as a PNG."""

    def points(column: str, style: str) -> Line:
        found = [(row["step"], row[column]) for row in rows if column in row]
        return [step for step, _ in found], [value for _, value in found], style

    panels = {
        title: {"training": points(name, "-"), "held out": points(f"valid_{name}", "o-")}
        for title, name in (("nats per target", "loss"), ("targets found", "accuracy"))
    }
    draw_panels(panels, "step", path)
