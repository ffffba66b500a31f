"""One message, with the names that Python uses and with those of the command line."""

from multiprocessing import Pipe

from nlptasks.errors import DivergedError, UserError, flag_of


def test_python_shows_fields_and_the_command_flags():
    error = UserError("{field:seq_length} must be at least {least}. Received: {value!r}.", least=1, value=-3)
    assert isinstance(error, ValueError)
    assert str(error) == "seq_length must be at least 1. Received: -3."
    assert error.render(flag_of) == "--seq-length must be at least 1. Received: -3."


def test_values_may_hold_braces():
    assert str(UserError("{path}: no such file.", path="{field:a}.txt")) == "{field:a}.txt: no such file."


def test_errors_come_whole_out_of_another_process():
    error = UserError("{key!r} is no key; name it with {field:text_column}.", key={"a": 1})
    here, there = Pipe()
    there.send(error)
    again = here.recv()
    assert (type(again), str(again), again.render(flag_of)) == (UserError, str(error), error.render(flag_of))
    there.send(DivergedError("step {step}", step=3))
    assert isinstance(here.recv(), FloatingPointError)
