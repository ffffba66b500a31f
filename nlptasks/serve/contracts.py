"""What an application offers over HTTP: verbs with typed requests and answers, made from the application itself."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, create_model

from nlptasks.serve.settings import ServeOptions


class Asked(NamedTuple):
    """What a request wants computed.

    Attributes:
        key: requests whose keys are equal may be computed together.
        items: what is computed.
        compute: gives a result for each item of any requests with this key.
        answer: turns the results of this request into its answer, as JSON.
    """

    key: Hashable
    items: Sequence[Any]
    compute: Callable[[Sequence[Any]], Any]
    answer: Callable[[Sequence[Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Verb:
    """Something that an application does.

    Attributes:
        about: a line for the documentation.
        request, answer: the types of the body and of what comes back.
        ask: what a request wants computed.
        stream: where not None, what a request wants written as a stream, or None if it wants none: a function that the
            model's thread calls, whose iterator yields the name and the data of each event.
        warm: bodies that prepare the usual shapes.
    """

    about: str
    request: type[BaseModel]
    answer: type[BaseModel]
    ask: Callable[[Any], Asked]
    stream: Callable[[Any], Callable[[], Iterator[tuple[str, Mapping[str, Any]]]] | None] | None = None
    warm: Sequence[Any] = ()


@dataclass(frozen=True)
class Service:
    """A model that is served.

    Attributes:
        task: the name of its task.
        verbs: what it does, by name.
        settings: what the page and other clients may want to know of it.
        embed: where it gives vectors: the vectors of texts.
    """

    task: str
    verbs: Mapping[str, Verb]
    settings: Mapping[str, Any] = field(default_factory=dict)
    embed: Callable[[Sequence[str]], Any] | None = None


class Strict(BaseModel):
    """A body: what it does not know it refuses, and so it does with NaN."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def _whole_characters(text: str) -> str:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("half of a surrogate pair is no character")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    return text


class Types:
    """The types of fields under the limits of a server.

    Attributes:
        text, texts: a text that is not blank, and some of them.
        any_text: a text that may be empty.
    """

    def __init__(self, options: ServeOptions) -> None:
        self.any_text: Any = Annotated[
            str, StringConstraints(max_length=options.max_characters), AfterValidator(_whole_characters)
        ]
        self.text: Any = Annotated[self.any_text, AfterValidator(_not_blank)]
        self.items: dict[str, Any] = {"min_length": 1, "max_length": options.max_items}
        self.texts: Any = self.some(self.text)

    def some(self, item: Any) -> Any:
        """The type of a list of at least one item, and of as many as a request may have."""
        return listed(item, **self.items)


def listed(item: Any, **limits: Any) -> Any:
    """The type of a list of items, with pydantic's `min_length` and `max_length`."""
    return Annotated[list[item], Field(**limits)]


def body(name: str, **fields: Any) -> type[BaseModel]:
    """The type of a request; each field is its type and its default, or `...`."""
    return create_model(name, __base__=Strict, **fields)


def answer(name: str, **fields: Any) -> type[BaseModel]:
    """The type of an answer."""
    typed: dict[str, Any] = {key: (kind, ...) for key, kind in fields.items()}
    return create_model(name, **typed)


def one_of(values: Sequence[str]) -> Any:
    """The type of a text that must be one of these."""
    return Literal[tuple(values)]
