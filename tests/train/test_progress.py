"""What a person sees of a run: how much time is left, and what goes into a file."""

import io
import sys

import pytest

from nlptasks.errors import fields_named, flag_of
from nlptasks.train import progress

pytestmark = pytest.mark.once


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def test_a_step_that_compiles_does_not_count_in_the_time_that_is_left():
    pace = progress.Pace()
    pace.add(60.0)
    assert pace.seconds is None
    for _ in range(3):
        pace.add(0.25)
    pace.add(40.0)  # another width, another program
    assert pace.seconds == pytest.approx(0.25)
    for _ in range(3):
        pace.add(0.75)  # steps of different widths do
    assert pace.seconds == pytest.approx(0.5)


def test_a_bar_in_a_terminal_shows_no_time_left_from_the_first_step_alone(monkeypatch):
    clock, screen = Clock(monkeypatch), Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = progress.progress_bar(range(100), "epoch 1/1")
    shown = []
    for item in bar:
        clock.now += 60.0 if item == 0 else 0.5
        if item in (1, 4):  # one and four steps are done
            shown.append(str(bar))
        if item == 4:
            break
    assert "<?, ?it/s" in shown[0]
    assert "<00:48," in shown[1]  # 96 steps of half a second
    assert "\r" in screen.getvalue()


def test_a_file_gets_a_few_lines_and_no_bars(monkeypatch):
    clock, file = Clock(monkeypatch), io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    bar = progress.progress_bar(range(200), "epoch 1/3")
    for item in bar:
        clock.now += 20.0 if item == 0 else 0.5
        bar.set_postfix_str("loss 0.5000", refresh=False)
    assert file.getvalue().splitlines() == [
        "epoch 1/3: 50 of 200 in 00:44, 01:15 left, loss 0.5000",
        "epoch 1/3: 100 of 200 in 01:09, 00:50 left, loss 0.5000",
        "epoch 1/3: 150 of 200 in 01:34, 00:25 left, loss 0.5000",
        "epoch 1/3: 200 of 200 in 01:59, loss 0.5000",
    ]


def test_a_file_gets_a_line_every_ten_minutes_of_a_long_epoch_and_one_of_a_short(monkeypatch):
    clock, file = Clock(monkeypatch), io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    for _ in progress.progress_bar(iter(range(5)), "reading"):
        clock.now += 400.0
    assert file.getvalue().splitlines() == ["reading: 2 in 13:20", "reading: 4 in 26:40", "reading: 5 in 33:20"]
    file.truncate(file.seek(0))
    assert list(progress.progress_bar([7, 8], "answering", 4, 2)) == [7, 8]
    assert file.getvalue() == "answering: 4 of 4 in 00:00\n"


def test_a_line_names_options_as_a_command_does(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with fields_named(flag_of):
        progress.say("{count} rows; {field:valid_rows} holds fewer out", count=3)
    progress.say("{count} rows; {field:valid_rows}", count=3)
    progress.say("a {brace} without values")
    assert file.getvalue() == "3 rows; --valid-rows holds fewer out\n3 rows; valid_rows\na {brace} without values\n"
