"""Processes of a run end together, with the reason of the one that failed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlptasks.pretraining import together
from nlptasks.pretraining.together import accepted, joined, listening, own_address

pytestmark = pytest.mark.once
SCRIPT = """
import json, os, sys, time
from nlptasks.pretraining.together import Place, accepted, ending_together, joined, listening

index, file = int(sys.argv[1]), sys.argv[2]
if index == 0:
    server, place = listening("localhost")
    with open(file + ".half", "w") as half:
        half.write(json.dumps(place))
    os.rename(file + ".half", file)
    connected = accepted(server, place, 3)
else:
    while not os.path.exists(file):
        time.sleep(0.01)
    connected = joined(Place(*json.load(open(file))), index, 3)
with ending_together(connected):
    print("working", flush=True)
    if sys.stdin.readline() == "fail\\n":
        raise ValueError("the disk\\n is full")
print("done", flush=True)
"""


def run(folder, first):
    """Starts three processes, lets `first` happen to them, and gives status and standard error of each."""
    command = [sys.executable, "-c", SCRIPT]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen([*command, str(index), str(folder / "place")], env=environment, **pipes) for index in range(3)
    ]
    try:
        assert [process.stdout.readline() for process in processes] == ["working\n"] * 3
        first(processes)
        until = time.monotonic() + 30
        statuses = [process.wait(max(0.1, until - time.monotonic())) for process in processes]
        return statuses, [process.stderr.read() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def say(process, line):
    process.stdin.write(line + "\n")
    process.stdin.flush()


def told(errors, process, reason):
    message = f"error: process {process} of 3 failed: {reason}; this one stops, too."
    return [message in error for error in errors]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_process_that_fails_ends_the_others_with_its_reason(tmp_path, failing):
    statuses, errors = run(tmp_path, lambda processes: say(processes[failing], "fail"))
    assert statuses == [1 if index == failing else 2 for index in range(3)]
    assert told(errors, failing, "the disk is full") == [index != failing for index in range(3)]
    assert "ValueError: the disk" in errors[failing]


@pytest.mark.parametrize("killed", [0, 2])
def test_a_process_that_is_killed_is_missed_at_once(tmp_path, killed):
    statuses, errors = run(tmp_path, lambda processes: os.kill(processes[killed].pid, signal.SIGKILL))
    assert statuses == [-9 if index == killed else 2 for index in range(3)]
    words = "it ended without a word (killed, or its machine was lost)"
    assert told(errors, killed, words) == [index != killed for index in range(3)]


def test_processes_that_are_done_end_nobody(tmp_path):
    def all_in_turn(processes):
        say(processes[2], "go")
        assert processes[2].wait(20) == 0
        time.sleep(0.3)
        assert processes[0].poll() is processes[1].poll() is None
        for process in processes[:2]:
            say(process, "go")

    statuses, errors = run(tmp_path, all_in_turn)
    assert (statuses, errors) == ([0, 0, 0], ["", "", ""])


def test_a_stranger_is_not_listened_to_and_a_process_that_does_not_come_is_named(monkeypatch, capfd):
    monkeypatch.setattr(together, "_SECONDS", 0.05)
    server, place = listening("localhost")
    with socket.create_connection((place.host, place.port)) as stranger:
        stranger.sendall(b"0123 1\n")
        assert accepted(server, place, 2).links == {}
    assert f"processes 1 did not reach localhost:{place.port}: a failure of theirs" in capfd.readouterr().err


def test_the_address_of_this_machine_is_one():
    assert socket.inet_aton(own_address())


def test_a_process_that_cannot_reach_the_first_says_so_and_goes_on(capfd):
    server, place = listening("localhost")
    server.close()
    assert joined(place, 1, 2) is None
    assert f"process 1 cannot reach localhost:{place.port}" in capfd.readouterr().err
