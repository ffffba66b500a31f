"""The rule of sentence ends once more, without a pattern."""


def plain_sentences(text):
    """Character by character: a sentence goes on over its last marks and what closes behind them."""
    sentences, sentence, ended = [], "", False
    for char in text:
        mark, closes = char in "。！？!?…", char in "”’」』）)】》\"'"
        if char == "\n" or (ended and not mark and not closes) or (mark and ended == "closed"):
            sentences.append(sentence)
            sentence, ended = "" if char == "\n" else char, "mark" if mark else False
            continue
        sentence += char
        ended = "mark" if mark else "closed" if ended and closes else False
    return [sentence for sentence in [*sentences, sentence] if sentence]
