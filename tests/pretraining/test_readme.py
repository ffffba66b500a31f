"""The commands and links of pretraining/README.md exist."""

import re

import pytest

from tests.test_house_rules import ROOT, check_command, commands_in

README = ROOT / "pretraining" / "README.md"


def test_commands_name_files_and_options_that_exist(monkeypatch):
    commands = commands_in(README.read_text(encoding="utf-8"))
    assert {"pretraining/train_vocab.py", "pretraining/make_shards.py"} <= {command.split()[1] for command in commands}
    for command in commands:
        try:
            check_command(command, monkeypatch)
        except SystemExit:
            pytest.fail(f"the script does not know the options of: {command}")


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
