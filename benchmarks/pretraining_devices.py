"""The loss curve of pretraining on 1, 2, 4 and 8 devices, with weights cut in two, and in two processes.

    python benchmarks/pretraining_devices.py --output benchmarks/pretraining_devices.md

100 steps of a small model on invented documents, float32, with dropout; the devices are virtual ones of the CPU. The
largest difference of a step's loss from that on one device.
"""

import argparse
import csv
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from pretraining_faults import prepare, training
from record import surroundings

LAYOUTS = (
    ("1 device", 1, 1, "data=1"),
    ("2 devices", 1, 2, "data=2"),
    ("4 devices", 1, 4, "data=4"),
    ("8 devices", 1, 8, "data=8"),
    ("8 devices, weights cut in two", 1, 8, "data=4,model=2"),
    ("2 processes of 2 devices", 2, 2, "data=4"),
)
STEPS = 100


def losses(output: Path) -> list[float]:
    """Of each step of a run."""
    with open(output / "log.csv", encoding="utf-8", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def run(work: Path, number: int, processes: int, devices: int, mesh: str) -> list[float]:
    """Starts all processes of a layout and returns its curve."""
    output = work / f"run_{number}"
    command = [*training(work, output), "--mesh", mesh, "--num-steps", str(STEPS), "--log-every", "1"]
    command += ["--save-every", str(STEPS)]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        command += ["--coordinator", address, "--num-processes", str(processes), "--process-id"]
    started = [
        subprocess.Popen(
            [*command, *([str(i)] if processes > 1 else [])],
            env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    for process in started:
        _, said = process.communicate()
        if process.returncode:
            sys.exit(said)
    return losses(output)


def main() -> None:
    """Runs every layout and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the record to write")
    parser.add_argument("--work", type=Path, default=Path("runs/devices"), help="folder for the runs; emptied")
    options = parser.parse_args()
    work = options.work.absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    prepare(work)
    lines, reference = [], None
    for number, (name, processes, devices, mesh) in enumerate(LAYOUTS):
        curve = run(work, number, processes, devices, mesh)
        reference = reference or curve
        far = max(abs(a - b) for a, b in zip(curve, reference, strict=True))
        lines.append(f"| {name} | `{mesh}` | {curve[0]:.5f} | {curve[-1]:.5f} | {far:.1e} |")
        print(lines[-1], file=sys.stderr)
    head = [
        "# The loss curve on several devices",
        "",
        f"`python benchmarks/pretraining_devices.py --output benchmarks/{options.output.name}`",
        "",
        surroundings("keras", "jax", "grain"),
        "",
        f"{STEPS} steps, float32, dropout 0.1; devices are virtual ones of the CPU.",
        "",
        "| layout | mesh | first loss | last loss | largest difference of a step |",
        "|---|---|---|---|---|",
    ]
    options.output.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
