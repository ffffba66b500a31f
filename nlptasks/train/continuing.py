"""A finished run that is given more epochs. Imports no backend.

With a constant learning rate it ends as one run of so many epochs. A rate that falls does so over a whole run: the
further epochs then need a schedule of their own, and `options.json` keeps what was before (`CONTINUED`).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlptasks.errors import UserError
from nlptasks.train.options import TrainingOptions

CONTINUED = "continued"
"""entry of `options.json`: the schedule of each part of a run that came before the present one, and where it ended"""
SCHEDULE = ("epochs", "learning_rate", "warmup_share", "decay")
LOG, SCORES = "log.json", "scores.json"


def extended(options: TrainingOptions, former: Mapping[str, Any], rate_given: bool) -> bool:
    """Whether a run that goes on is given more epochs, and a schedule of their own or none.

    Args:
        options: settled; `options.parts` receives the part that ends, where the further epochs have a new schedule.
        former: the record of the run.
        rate_given: whether the user names the learning rate.

    Raises:
        UserError: the run cannot be given more epochs so.
    """
    was, now = former.get("epochs"), getattr(options, "epochs", None)
    if was is None or now is None or was == now:
        return False
    if now < was:
        raise UserError(
            "{output}: the run was started with {was} epochs, now {now}; a run can be given more {field:epochs}, not "
            "fewer.",
            output=options.output,
            was=was,
            now=now,
        )
    if getattr(options, "practice_share", 0.0):
        raise UserError(
            "{output}: {field:practice_share} is a share of all epochs, so more {field:epochs} would change those that "
            "are done; start anew in another {field:output}.",
            output=options.output,
        )
    if getattr(options, "sample_pairing", False):
        raise UserError(
            "{output}: {field:sample_pairing} rests in the last of all epochs, so more {field:epochs} would change "
            "those that are done; start anew in another {field:output}.",
            output=options.output,
        )
    same = all(former.get(name) == getattr(options, name) for name in SCHEDULE[1:])
    done = _epochs_done(options.output)
    ended = (options.output / SCORES).is_file() and getattr(options, "patience", None) is not None
    if same and not options.decay:
        if ended and done < was:
            raise UserError(
                "{output}: {field:patience} ended the run after {done} epochs, and would end it again at once; give "
                "the further epochs a {field:learning_rate} of their own.",
                output=options.output,
                done=done,
            )
        return True
    if not rate_given and (former.get("decay") or not options.decay):
        raise UserError(
            "{output}: the learning rate fell to 0 over the {was} epochs of the run, so more {field:epochs} need a "
            "schedule of their own: give {field:learning_rate}, and {field:decay} if it is to fall again.",
            output=options.output,
            was=was,
        )
    if done != was and not ended:
        raise UserError(
            "{output}: {done} of {was} epochs are done; resume with {field:epochs} {was} first, then give more under a "
            "new schedule.",
            output=options.output,
            done=done,
            was=was,
        )
    part = {name: former.get(name) for name in SCHEDULE} | {"epochs": done}
    options.parts = (*options.parts, part)
    return True


def _epochs_done(output: Path) -> int:
    try:
        return len(json.loads((output / LOG).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return 0


def first_epoch(parts: Sequence[Mapping[str, Any]]) -> int:
    """The epoch with which the present schedule begins."""
    return int(parts[-1]["epochs"]) if parts else 0
