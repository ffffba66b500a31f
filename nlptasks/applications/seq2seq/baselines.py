"""What a title or a summary is worth that nobody wrote: the beginning of the source, its first sentence, all of it."""

from collections.abc import Sequence

from nlptasks.text.sentences import split_sentences


def baselines_of(sources: Sequence[str], lead: int) -> dict[str, list[str]]:
    """The texts of each baseline by its name.

    baselines_of(["天气很好。出去走走。"], 4)["lead"]  # ['天气很好']

    Args:
        lead: characters of the beginning.
    """
    return {
        "lead": [source.strip()[:lead] for source in sources],
        "first_sentence": [next(iter(split_sentences(source.strip())), "") for source in sources],
        "copy": list(sources),
    }
