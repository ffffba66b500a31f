"""The generator of reviews: reproducible, each text once, and the labels stand in the text."""

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

DATA = Path(__file__).parents[2] / "data"
SCRIPT = DATA / "make_reviews.py"


def _load_script():
    spec = importlib.util.spec_from_file_location("make_reviews", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = _load_script()


def test_the_sample_is_what_its_command_makes(tmp_path):
    output = tmp_path / "r.tsv"
    command = [sys.executable, SCRIPT, "--count", "400", "--seed", "1", "--output", output]
    subprocess.run(command, check=True)
    assert output.read_bytes() == (DATA / "reviews_sample.tsv").read_bytes()


def test_each_text_stands_once_and_shows_its_labels():
    rows = script.reviews(3000, 5)
    assert len({text for _, _, text in rows}) == 3000
    assert min(Counter((category, sentiment) for category, sentiment, _ in rows).values()) > 300
    for category, sentiment, text in rows:
        things, *sayings = script.CATEGORIES[category]
        assert sum(thing in text for thing in things) >= 2
        assert any(saying in text for saying in sayings[sentiment])
        assert not any(saying in text for saying in sayings[1 - sentiment])


def test_more_reviews_than_there_are_is_one_line():
    command = [sys.executable, SCRIPT, "--count", "99999999", "--output", "/dev/null"]
    command[3] = "60000"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "different reviews were found; ask for fewer than 60000" in done.stderr.splitlines()[-1]
