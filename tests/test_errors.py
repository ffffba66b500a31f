"""One message, with the names that Python uses and with those of the command line."""

from nlptasks.errors import UserError, flag_of


def test_python_shows_fields_and_the_command_flags():
    error = UserError("{field:seq_length} must be at least {least}. Received: {value!r}.", least=1, value=-3)
    assert isinstance(error, ValueError)
    assert str(error) == "seq_length must be at least 1. Received: -3."
    assert error.render(flag_of) == "--seq-length must be at least 1. Received: -3."


def test_values_may_hold_braces():
    assert str(UserError("{path}: no such file.", path="{field:a}.txt")) == "{field:a}.txt: no such file."
