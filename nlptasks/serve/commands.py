"""Serve models over HTTP, with a page to try them: joined batches, streams, metrics, and OpenAI's embeddings.

    nlptasks serve --model segmenter similarity
    nlptasks serve --model reader=runs/reader opinions=runs/classifier --port 8080

The server listens on the loopback unless --host says otherwise. docs/serving.md describes paths, limits and operation.
"""

from dataclasses import dataclass

from nlptasks.bundled import bundled_models
from nlptasks.console import say
from nlptasks.serve.settings import ServeOptions, require_model


@dataclass(kw_only=True)
class Serve(ServeOptions):
    """Serve models over HTTP, with a page to try them, until Ctrl-C."""

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return ("fastapi", "uvicorn", "prometheus_client")

    def run(self) -> None:
        """Serves."""
        bundled = bundled_models()
        for name, directory in self.directories().items():  # a missing one shows before anything is loaded
            require_model(name, directory, bundled)
        from nlptasks.serve.server import serve

        say("http://{host}:{port}/ as soon as the models are loaded; Ctrl-C stops", host=self.host, port=self.port)
        serve(self)


COMMANDS = Serve
