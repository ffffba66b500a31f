"""The examples of docs/keras.md run, and find what the page says."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "keras.md"


@pytest.mark.once
def test_the_examples_of_the_page_run_and_find_what_it_says():
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["history"].history["loss"][-1] < names["history"].history["loss"][0]
    np.testing.assert_allclose(names["rates"], [0.7, 3.0], rtol=0.01)
    np.testing.assert_allclose(names["shares"], [1.1, 0.4, 0.3, 0.8], rtol=0.01)
    errors = names["errors"]
    assert all(after < before for before, after in pairwise(errors))
    assert names["joint_error"] < errors[0]
