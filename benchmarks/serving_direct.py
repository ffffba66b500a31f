"""How long a classifier takes for so many texts of a length at once, without a server: what joining requests can gain.

python benchmarks/serving_direct.py --model runs/classifier
"""

import argparse
import statistics
import time
from pathlib import Path

import nlptasks
from nlptasks import backend
from nlptasks.applications.examples import padded_to

LENGTHS, COUNTS, REPEATS = (8, 20, 36), (1, 2, 4, 8, 16), 15


def main() -> None:
    """Prints a line for each length and number of texts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="run directory of a classifier")
    classifier = nlptasks.load(parser.parse_args().model)
    with backend.one_program():
        for length in LENGTHS:
            for count in COUNTS:
                texts = ["好" * length] * count
                seconds = []
                for _ in range(3 + REPEATS):  # the first ones compile
                    start = time.perf_counter()
                    with padded_to(8):
                        classifier.predict(texts)
                    seconds.append(time.perf_counter() - start)
                ms = 1000 * statistics.median(seconds[3:])
                print(f"{count} texts of {length} characters: {ms:.1f} ms, {ms / count:.1f} a text", flush=True)


if __name__ == "__main__":
    main()
