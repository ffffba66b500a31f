"""The services that run a network: classifier, labeler, reader, generator and filler of masks."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, create_model

from nlptasks.applications.seq2seq.decoding import SEARCHES
from nlptasks.serve.contracts import Asked, Service, Strict, Types, Verb, answer, body, listed, one_of
from nlptasks.serve.settings import ServeOptions
from nlptasks.serve.shapes import FILLER, QUESTION, FewSizes, FewWindows, is_exported, shapes_to_warm


def classification(classifier: Any, options: ServeOptions) -> Service:
    """Serves a classifier: `classify`."""
    types = Types(options)
    item = listed(types.text, min_length=2, max_length=2) if classifier.pair else types.text
    request = body("ClassifyRequest", texts=(types.some(item), ...))
    label = one_of(classifier.labels)
    one = answer("Classified", label=label | None, labels=listed(label), scores=dict[str, float])
    filler = [FILLER, FILLER] if classifier.pair else FILLER
    compute = FewSizes(classifier.predict, filler, classifier.seq_length, exported=is_exported(classifier))

    def ask(wanted: Any) -> Asked:
        def shown(found: Sequence[Any]) -> dict[str, Any]:
            return {"results": [{"label": o.label, "labels": list(o.labels), "scores": o.scores} for o in found]}

        return Asked("classify", wanted.texts, compute, shown)

    def sized(length: int, count: int) -> dict[str, Any]:
        text = FILLER * length
        return {"texts": [[text, FILLER] if classifier.pair else text] * count}

    warm = [
        sized(length, count)
        for length, count in shapes_to_warm(classifier.seq_length, options.max_items, is_exported(classifier))
    ]
    response = answer("ClassifyAnswer", results=list[one])  # type: ignore[valid-type]
    about = "The label of each text (or pair of texts), and the score of every label."
    settings = {"labels": classifier.labels, "pair": classifier.pair, "multi_label": classifier.multi_label}
    return Service(classifier.task, {"classify": Verb(about, request, response, ask, warm=warm)}, settings)


def labeling(labeler: Any, options: ServeOptions) -> Service:
    """Serves a labeler: `label`."""
    types = Types(options)
    request = body("LabelRequest", texts=(types.texts, ...))
    entity = answer("Entity", start=int, end=int, type=one_of(labeler.types), text=str)
    one = answer("Labeled", entities=list[entity])  # type: ignore[valid-type]
    compute = FewSizes(labeler.predict, FILLER, labeler.seq_length, True, is_exported(labeler))

    def ask(wanted: Any) -> Asked:
        def shown(found: Sequence[Any]) -> dict[str, Any]:
            return {"results": [{"entities": [dataclasses.asdict(e) for e in entities]} for entities in found]}

        return Asked("label", wanted.texts, compute, shown)

    warm = [
        {"texts": [FILLER * length] * count}
        for length, count in shapes_to_warm(labeler.seq_length, options.max_items, is_exported(labeler))
    ]
    about = "The entities of each text; offsets count characters (code points)."
    response = answer("LabelAnswer", results=list[one])  # type: ignore[valid-type]
    return Service(labeler.task, {"label": Verb(about, request, response, ask, warm=warm)}, {"types": labeler.types})


def reading(reader: Any, options: ServeOptions) -> Service:
    """Serves a reader: `answer`, and `attention`, which also says what the answer looked at."""
    from nlptasks.applications.reading.picture import answer_attention

    types = Types(options)
    span = reader.method == "span"
    modes = one_of(("extractive",) if span else ("extractive", "generative"))
    beams: tuple[Any, Any] = (Annotated[int, Field(ge=1, le=8 if reader.method == "seq2seq" else 1)], 1)
    asked: dict[str, Any] = {"question": (types.text, ...), "passages": (types.texts, ...)}
    request = body("AnswerRequest", **asked, mode=(modes, "extractive"), beam_size=beams)
    evidence = {"passage": int, "window": int, "probability": float, "start": int | None, "end": int | None}
    found_type = answer(
        "Answer",
        text=str,
        score=float,
        evidence=list[answer("Evidence", **evidence)],  # type: ignore[misc]
    )
    shaded = answer("ShadedEvidence", **evidence, attention=list[float])
    attention_type = answer("Attention", text=str, score=float, evidence=list[shaded])  # type: ignore[valid-type]

    def ask(wanted: Any) -> Asked:
        compute = FewWindows(reader, functools.partial(reader.predict, mode=wanted.mode, beam_size=wanted.beam_size))
        items = [(wanted.question, wanted.passages)]
        return Asked(("answer", wanted.mode, wanted.beam_size), items, compute, lambda f: dataclasses.asdict(f[0]))

    def ask_attention(wanted: Any) -> Asked:
        def compute(items: Sequence[Any]) -> Sequence[Any]:
            answers = reader.predict(items)
            return [(a, answer_attention(reader, q, p, a)) for (q, p), a in zip(items, answers, strict=True)]

        def shown(results: Sequence[Any]) -> dict[str, Any]:
            [(found, weights)] = results
            values = dataclasses.asdict(found)
            for one, shades in zip(values["evidence"], weights, strict=True):
                one["attention"] = [round(float(weight), 6) for weight in shades]
            return values

        return Asked("attention", [(wanted.question, wanted.passages)], compute, shown)

    if span:  # the passage of each width, beside a question of two characters
        sizes = shapes_to_warm(reader.lengths.window_length, options.max_items)
        warm = [{"question": QUESTION, "passages": [FILLER * max(1, n - 5)] * count} for n, count in sizes]
    else:
        warm = [{"question": QUESTION, "passages": [FILLER * n] * count} for n in (20, 200) for count in (1, 2, 4, 8)]
    warm = [one for one in warm if len(one["passages"]) <= options.max_items]
    verbs = {
        "answer": Verb(
            "The answer to a question out of passages, which vote on it.", request, found_type, ask, warm=warm
        ),
        "attention": Verb(
            "The answer, and for each passage that voted how much the answer looked at each of its characters.",
            body("AttentionRequest", **asked),
            attention_type,
            ask_attention,
        ),
    }
    settings = {"method": reader.method, "mask": "bidirectional" if reader.method != "seq2seq" else "unilm"}
    return Service(reader.task, verbs, settings)


def generation(writer: Any, options: ServeOptions) -> Service:
    """Serves a conditional generator: `generate`, at once or as a stream of events."""
    types, conditions = Types(options), writer.conditions
    if conditions.conditioning == "none":
        condition: Any = create_model("NoCondition", __base__=Strict)
        default: Any = Field(default_factory=dict)
    elif conditions.labels:
        columns: dict[str, Any] = {name: (one_of(values) | None, None) for name, values in conditions.labels.items()}
        condition, default = create_model("Condition", __base__=Strict, **columns), Field(default_factory=dict)
    else:
        size = conditions.vector_size
        condition, default = Annotated[list[float], Field(min_length=size, max_length=size)] | None, None
    request = body(
        "GenerateRequest",
        condition=(condition, default),
        prompt=(types.any_text, ""),
        count=(Annotated[int, Field(ge=1, le=options.max_items)], 1),
        max_length=(Annotated[int, Field(ge=1, le=options.max_tokens)], min(64, options.max_tokens)),
        temperature=(Annotated[float, Field(gt=0, le=10)], 1.0),
        top_k=(Annotated[int, Field(ge=1)] | None, None),
        top_p=(Annotated[float, Field(gt=0, le=1)] | None, None),
        seed=(Annotated[int, Field(ge=0, lt=2**31)], 0),
        guidance=(Annotated[float, Field(ge=0, le=20)], 1.0),
        repetition_penalty=(Annotated[float, Field(gt=0, le=10)], 1.0),
        stream=(bool, False),
    )
    written = answer("Written", **_WRITTEN)

    def under(wanted: Any) -> Any:
        given = wanted.condition
        if given is None or isinstance(given, dict):
            return {}
        return given if isinstance(given, list) else given.model_dump(exclude_none=True)

    def sampling(wanted: Any) -> dict[str, Any]:
        return wanted.model_dump(exclude={"condition", "count", "stream"})

    def ask(wanted: Any) -> Asked:
        def compute(items: Sequence[Any]) -> Sequence[Any]:
            return writer.generate_batch([under(item) for item in items], items[0].count, **sampling(items[0]))

        # a text depends on its row in the batch, so that joined requests would not be what they are alone
        return Asked(object(), [wanted], compute, lambda found: {"texts": [dataclasses.asdict(t) for t in found[0]]})

    def stream(wanted: Any) -> Callable[[], Iterator[tuple[str, Mapping[str, Any]]]] | None:
        if not wanted.stream:
            return None
        return lambda: _events(lambda: writer.stream(under(wanted), **sampling(wanted)))

    about = "Texts under a condition. With `stream`, events: `part` {kept, new, num_tokens}, then `done` with the text."
    warm = [{"max_length": 64}, {"max_length": 64, "stream": True}]
    verb = Verb(about, request, answer("GenerateAnswer", texts=list[written]), ask, stream, warm)  # type: ignore[valid-type]
    settings = {
        "labels": conditions.labels,
        "vector_size": conditions.vector_size,
        "guided": conditions.size is not None,
    }
    return Service(writer.task, {"generate": verb}, settings)


_WRITTEN: dict[str, Any] = {"text": str, "log_probability": float | None, "num_tokens": int, "complete": bool}


def _events(parts: Callable[[], Iterable[Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The events of a text that is being written; writing begins when the first of them is asked for."""
    for part in parts():
        if part.done:
            yield "done", {"text": part.text, "num_tokens": part.num_tokens, "complete": part.complete}
        else:
            yield "part", {"kept": part.kept, "new": part.text[part.kept :], "num_tokens": part.num_tokens}


def writing(writer: Any, options: ServeOptions) -> Service:
    """Serves a sequence-to-sequence model: `generate`, at once or as a stream of events."""
    types, usual = Types(options), writer.lengths.target_length
    most = min(options.max_tokens, usual)
    request = body(
        "WriteRequest",
        source=(types.text, ...),
        search=(one_of(SEARCHES), SEARCHES[0]),
        count=(Annotated[int, Field(ge=1, le=8)], 1),
        beam_size=(Annotated[int, Field(ge=1, le=8)], 4),
        length_penalty=(Annotated[float, Field(ge=0, le=10)], 1.0),
        temperature=(Annotated[float, Field(gt=0, le=10)], 1.0),
        top_k=(Annotated[int, Field(ge=1)] | None, None),
        top_p=(Annotated[float, Field(gt=0, le=1)] | None, None),
        seed=(Annotated[int, Field(ge=0, lt=2**31)], 0),
        prompt=(types.any_text, ""),
        max_length=(Annotated[int, Field(ge=1, le=most)] | None, None),
        min_length=(Annotated[int, Field(ge=1, le=most)], 1),
        length=(Annotated[int, Field(ge=1, le=most)] | None, None),
        length_strength=(Annotated[float, Field(ge=0, le=100)], 1.0),
        only_source=(bool, False),
        only_characters=(types.text | None, None),
        extract=(bool, False),
        copy_bonus=(Annotated[float, Field(ge=-100, le=100)], 0.0),
        whole_words=(bool, False),
        no_repeat=(Annotated[int, Field(ge=1, le=most)] | None, None),
        repetition_penalty=(Annotated[float, Field(gt=0, le=10)], 1.0),
        stream=(bool, False),
    )
    written = answer("WrittenText", **_WRITTEN)

    def how(wanted: Any) -> dict[str, Any]:
        given: dict[str, Any] = wanted.model_dump(exclude={"source", "stream"})
        if wanted.max_length is None and most < usual:
            prompt = writer.tokenizer.encode(wanted.prompt).token_ids if wanted.prompt else ()
            given["max_length"] = max(1, min(most, usual - len(prompt)))
        return given

    def ask(wanted: Any) -> Asked:
        settings = how(wanted)
        key = object() if wanted.search == "sampling" else tuple(settings.items())  # a draw depends on its row

        def compute(items: Sequence[str]) -> Sequence[Any]:
            return writer.generate_batch(items, **settings)

        return Asked(key, [wanted.source], compute, lambda found: {"texts": [dataclasses.asdict(t) for t in found[0]]})

    def stream(wanted: Any) -> Callable[[], Iterator[tuple[str, Mapping[str, Any]]]] | None:
        if not wanted.stream:
            return None
        return lambda: _events(lambda: writer.stream(wanted.source, **how(wanted)))

    about = "Texts for a text. With `stream`, events: `part` {kept, new, num_tokens}, then `done` with the text."
    warm = [{"source": FILLER * 20}, {"source": FILLER * 20, "stream": True}]
    verb = Verb(about, request, answer("WriteAnswer", texts=list[written]), ask, stream, warm)  # type: ignore[valid-type]
    return Service(writer.task, {"generate": verb}, dataclasses.asdict(writer.lengths))


def filling(filler: Any, options: ServeOptions) -> Service:
    """Serves a pretrained Transformer: `fill`."""
    types, most = Types(options), 20
    request = body("FillRequest", texts=(types.texts, ...), top=(Annotated[int, Field(ge=1, le=most)], 5))
    mask = answer("Mask", start=int, end=int, candidates=list[answer("Candidate", token=str, probability=float)])  # type: ignore[misc]
    one = answer("Filled", masks=list[mask])  # type: ignore[valid-type]
    reach = filler.model.config.position_reach
    spelled = filler.tokenizer.id_to_token(filler.mask_id)
    compute = FewSizes(functools.partial(filler.predict, top=most), spelled, reach)

    def ask(wanted: Any) -> Asked:
        def shown(found: Sequence[Any]) -> dict[str, Any]:
            rows = [[dataclasses.asdict(mask) for mask in masks] for masks in found]
            for mask in (mask for masks in rows for mask in masks):
                mask["candidates"] = mask["candidates"][: wanted.top]
            return {"results": [{"masks": masks} for masks in rows]}

        return Asked("fill", wanted.texts, compute, shown)

    warm = [{"texts": [FILLER * n + spelled] * count} for n, count in shapes_to_warm(64, 8)]
    about = f"The most probable tokens for each {spelled} of a text."
    verb = Verb(about, request, answer("FillAnswer", results=list[one]), ask, warm=warm)  # type: ignore[valid-type]
    return Service("filling", {"fill": verb}, {"mask": spelled})
