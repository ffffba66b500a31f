"""Every public name of bert4keras' six modules is here with its arguments, or stands in a table with its reason."""

import ast
import importlib
import inspect
import json
from pathlib import Path

import pytest

from nlptasks.bert4keras import names
from nlptasks.bert4keras.running import MODULES

pytestmark = pytest.mark.once

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "bert4keras_names.json").read_text(encoding="utf-8"))
OTHER_ARGUMENTS = {
    "layers.Embedding": "Keras 3's Embedding has no input_length and no activity_regularizer",
    "layers.GlobalAveragePooling1D": "Keras 3's default is the one of its config, channels_last",
    "layers.BatchConcat.compute_output_shape": "Keras infers it",
    "layers.BatchSplit.compute_output_shape": "Keras infers it",
    "layers.Concatenate1D.compute_output_shape": "Keras infers it",
    "layers.GatedAttentionUnit.compute_output_shape": "Keras infers it",
    "layers.Loss.compute_output_shape": "the shapes of its inputs, in compute_output_spec",
    "layers.MultiHeadAttention.compute_output_shape": "Keras infers it",
    "optimizers.AdaFactorV1.get_updates": "Keras 3's optimizers have update_step",
}


def arguments(signature):
    """Names and defaults of the arguments that stand in a recorded signature."""
    found = ast.parse(f"def f{signature}: pass").body[0].args
    names = [argument.arg for argument in found.args if argument.arg != "self"]
    defaults = [ast.unparse(value) for value in found.defaults]
    return names, dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))


def differences(signature, function):
    wanted, defaults = arguments(signature)
    ours = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    if [p.name for p in ours][: len(wanted)] != wanted:
        return [f"arguments {wanted}"]
    return [f"default of {p.name}" for p in ours if p.name in defaults and repr(p.default) != defaults[p.name]]


def walked():
    for module, entries in GOLDEN.items():
        loaded = importlib.import_module(f"nlptasks.bert4keras.{module}")
        for name, entry in entries.items():
            yield f"{module}.{name}", loaded, name, entry


def test_every_name_of_bert4keras_is_here_with_its_arguments():
    problems, count = {}, 0
    for path, loaded, name, entry in walked():
        count += 1
        if not hasattr(loaded, name):
            problems[path] = "missing"
        elif "signature" in entry:
            value = getattr(loaded, name)
            problems[path] = differences(entry["signature"], value.__init__ if entry["kind"] == "class" else value)
    assert count > 150
    assert {path: found for path, found in problems.items() if found and path not in OTHER_ARGUMENTS} == {}


def test_every_method_of_bert4keras_classes_is_here_with_its_arguments():
    problems = {}
    for path, loaded, name, entry in walked():
        for member, signature in entry.get("members", {}).items():
            owner = getattr(loaded, name)
            if not hasattr(owner, member):
                problems[f"{path}.{member}"] = "missing"
            elif signature.startswith("(") and callable(getattr(owner, member)):
                problems[f"{path}.{member}"] = differences(signature, getattr(owner, member))
    assert len(problems) > 100
    assert {path: found for path, found in problems.items() if found and path not in OTHER_ARGUMENTS} == {}


def test_the_tables_of_the_check_are_of_names_that_are_recorded():
    own = {module: {n for n, e in entries.items() if "from" not in e} for module, entries in GOLDEN.items()}
    for module in MODULES:
        listed = set(names.NAMES[module].split())
        assert own[module] - listed == set(), module
    for path in [*names.OTHER, *names.MISSING]:
        module, _, name = path.partition(".")
        assert module == "K" or name in names.NAMES[module].split(), path


K_NAMES = [
    "abs",
    "all",
    "any",
    "arange",
    "argmax",
    "argmin",
    "batch_dot",
    "batch_get_value",
    "batch_set_value",
    "binary_crossentropy",
    "cast",
    "categorical_crossentropy",
    "clip",
    "concatenate",
    "constant",
    "cumsum",
    "dot",
    "dtype",
    "epsilon",
    "equal",
    "eval",
    "exp",
    "expand_dims",
    "flatten",
    "floatx",
    "function",
    "gather",
    "get_value",
    "gradients",
    "greater",
    "in_train_phase",
    "int_shape",
    "is_tensor",
    "l2_normalize",
    "less",
    "log",
    "logsumexp",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "ndim",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "permute_dimensions",
    "pow",
    "prod",
    "random_binomial",
    "random_normal",
    "random_uniform",
    "relu",
    "repeat_elements",
    "reshape",
    "rnn",
    "set_value",
    "shape",
    "sigmoid",
    "softmax",
    "sparse_categorical_crossentropy",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "stop_gradient",
    "sum",
    "switch",
    "tanh",
    "tile",
    "transpose",
    "update",
    "update_add",
    "variable",
    "where",
    "zeros",
    "zeros_like",
]


def test_the_functions_of_keras_backend_are_ours():
    backend = importlib.import_module("nlptasks.bert4keras.keras.backend")
    assert [name for name in K_NAMES if name not in vars(backend)] == []  # keras.ops has other arguments for some
    with pytest.raises(ValueError, match=r"K\.get_session belongs to the sessions"):
        _ = backend.get_session
