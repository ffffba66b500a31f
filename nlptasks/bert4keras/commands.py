"""Scripts of bert4keras: what of them is the same here.

    nlptasks bert4keras check SCRIPT
    python -m nlptasks.bert4keras SCRIPT     # runs it

The script is read, not run.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nlptasks.bert4keras.check import SAME, check_source, summary
from nlptasks.errors import UserError
from nlptasks.files import read_bytes


@dataclass(kw_only=True)
class Check:
    """List the names of bert4keras that a script uses: the same here, of another meaning, or not available.

    A line for each name that is not the same: place, name, state, and what to write instead.
    """

    script: Annotated[Path, tyro.conf.Positional]
    """the script; it is read, not run"""
    all: bool = False
    """list the names that are the same, too"""
    json: bool = False
    """print one JSON object: the names, with place, state and advice"""

    def run(self) -> None:
        """Prints what is found."""
        try:
            findings = check_source(read_bytes(self.script), str(self.script))
        except SyntaxError as error:
            raise UserError(
                "{path}:{line}: no Python 3: {why}.", path=str(self.script), line=error.lineno or 1, why=error.msg
            ) from None
        if self.json:
            rows = [finding._asdict() for finding in findings]
            print(json.dumps({"script": str(self.script), "names": rows}, ensure_ascii=False))
            return
        for line, name, state, advice in findings:
            if self.all or state != SAME:
                print("\t".join([f"{self.script}:{line}", name, state, advice]).rstrip())
        print(summary(findings))


COMMANDS = {"check": Check}
