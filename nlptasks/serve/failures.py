"""What a request is told when it cannot be answered: a status, a kind, one line, and nothing of the server's inside."""

from collections.abc import Sequence
from typing import Any

from nlptasks.errors import UserError

_OWN = ("nlptasks.applications", "nlptasks.generate", "nlptasks.text", "nlptasks.serve")
"""modules whose ValueErrors are written for users"""


class Refused(Exception):
    """A request that is not answered.

        raise Refused(429, "busy", "too many requests wait; try again later.", retry_after=1)

    Args:
        status: of HTTP.
        kind: one word, for programs.
        message: one line, for people.
        retry_after: seconds after which another try makes sense.
    """

    def __init__(self, status: int, kind: str, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.kind, self.message, self.retry_after = status, kind, message, retry_after

    @property
    def body(self) -> dict[str, Any]:
        """In the form that OpenAI's clients read."""
        return {"error": {"message": self.message, "type": self.kind, "param": None, "code": self.status}}

    @property
    def headers(self) -> dict[str, str]:
        """Those that this answer needs."""
        found = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return found | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


def refusal(error: BaseException) -> Refused | None:
    """What the client is told of an error; None where it is a fault of the server, which is nobody's business."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, UserError):
        return Refused(422, "invalid_request", " ".join(error.render(str).split()))
    if isinstance(error, ValueError | TypeError) and _raised_by_us(error):
        return Refused(422, "invalid_request", " ".join(str(error).split()))
    return None


def _raised_by_us(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return type(error) in (ValueError, TypeError) and module.startswith(_OWN)


def invalid(problems: Sequence[Any]) -> Refused:
    """The refusal of a body that is not what the contract says; what was sent is not repeated."""
    lines = []
    for problem in problems[:5]:
        place = ".".join(str(part) for part in problem["loc"] if part != "body")
        lines.append(f"{place}: {problem['msg']}" if place else str(problem["msg"]))
    return Refused(422, "invalid_request", "; ".join(lines).encode("utf-8", "replace").decode())
