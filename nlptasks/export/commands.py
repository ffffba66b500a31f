"""Export a model: graphs for onnxruntime that start at once and run without Keras, a SavedModel, or a .keras file.

    nlptasks export --model runs/classifier --output exported
    nlptasks export --model runs/reader --output exported --quantize int8
    nlptasks classification predict --model exported --texts 第一句 第二句

What is written stands in a new folder, whole or not at all. docs/export.md says what is in it and how fast it is.
"""

from dataclasses import dataclass
from pathlib import Path

from nlptasks.console import say
from nlptasks.errors import UserError
from nlptasks.opening import is_exported, load
from nlptasks.train.options import OnKeras, Options, require_one_of
from nlptasks.train.record import require_new_folder

FORMATS = ("onnx", "saved_model", "keras")
QUANTIZATIONS = ("int8",)


@dataclass(kw_only=True)
class Export(Options, OnKeras):
    """Write a model for another runtime."""

    model: str
    """the run directory of a model, or the name of one that comes with the package"""
    output: Path
    """folder to write, new or empty"""
    format: str = "onnx"
    """onnx: graphs that this package's commands run without Keras; saved_model: for TensorFlow Serving; keras: one file
    for keras.models.load_model"""
    quantize: str | None = None
    """int8: the matrix products of an ONNX graph compute in 8 bits; default: float32"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, format=FORMATS, quantize=QUANTIZATIONS)
        if self.quantize is not None and self.format != "onnx":
            raise UserError(
                "{field:quantize} goes with {field:format} onnx. Received: {field:format} {value}.", value=self.format
            )

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        more = {"saved_model": ("tensorflow",), "onnx": ("onnxruntime",)}
        return (*super().packages(), "onnx", *more.get(self.format, ()))

    def run(self) -> None:
        """Opens the model and writes it."""
        require_new_folder(self.output)
        if is_exported(self.model):
            raise UserError("{field:model} {path}: is exported already; give the run directory.", path=self.model)
        application = load(self.model)
        if self.format == "onnx":
            from nlptasks.export.writing import write_onnx

            files = write_onnx(application, self.output, self.quantize)
        else:
            from nlptasks.export.keras_models import write_keras, write_saved_model

            files = (write_keras if self.format == "keras" else write_saved_model)(application, self.output)
        say("{output}: {files}", output=self.output, files=", ".join(files))


COMMANDS = Export
