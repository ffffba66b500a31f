"""The deliberate breaks fit the sources as they are now."""

import pytest

from tests.breaks import BREAKS, QUICK, QUICK_AT_LEAST, ROOT, broken


def test_every_break_changes_its_source_and_names_tests_that_exist():
    assert len(BREAKS) >= QUICK_AT_LEAST + 5
    assert len({fault.name for fault in BREAKS}) == len(BREAKS)
    for fault in BREAKS:
        source = (ROOT / fault.file).read_text(encoding="utf-8")
        compile(broken(source, fault), fault.file, "exec")
        for test in fault.tests:
            path, _, name = test.partition("::")
            assert f"def {name}" in (ROOT / path).read_text(encoding="utf-8"), test


def test_a_break_whose_text_is_gone_or_ambiguous_is_refused():
    fault = BREAKS[0]
    for source in ("", fault.old * 2):
        with pytest.raises(ValueError, match="expected once"):
            broken(source, fault)


def test_make_quick_runs_what_the_breaks_are_held_against():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for backend, tests in QUICK.items():
        assert any(f"KERAS_BACKEND={backend}" in line and tests[0] in line for line in makefile.splitlines())
