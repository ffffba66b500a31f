"""Make tokenizer.npz: what bert4keras' pure-Python tokenizer gives on lines composed here.

Run in an environment with bert4keras 0.11.5 (Python 3.11, tensorflow-cpu 2.12):

    TF_KERAS=1 python tests/golden/make_tokenizer_golden.py

The file holds digests, not lines: the test composes vocabulary and lines again with the functions below. They draw
from `random.Random.random` alone, whose values do not change between Python versions, and from fixed ranges of code
points, so they need no Unicode tables. A digest of all that was composed tells when they have drifted.
"""

import hashlib
import random
import zlib
from pathlib import Path

import numpy as np


def words(text):
    """The words of a string."""
    return text.split()


SEED = 20240617
NUM_LINES = 12600
SAMPLE_EVERY = 25  # every so many lines all ids are kept, so that a failure can be read
NUM_PAIRS = 600

CHINESE = words(
    "今天 明天 昨晚 我们 他 她的老师 那位工程师 一只小猫 这座城市 新建的图书馆 山脚下的村庄 学校 火车站 "
    "博物馆 河边 "
    "正在 已经 也许 大概 喜欢 研究 写下 打开 忘记 修好 画完 听说 搬到 等待 走过 种了 三本书 一场雨 旧照片 桂花树 "
    "晚饭 一首诗 数学题 自行车 灯塔 望远镜 海边的风 春天 秋夜 长江 草原 茶叶 豆腐 饺子 算法 模型 词典 语言 句子"
)
TRADITIONAL = words(
    "臺灣 圖書館 學習 語言 龍鳳 憂鬱 體驗 雙週 發現 頭髮 乾燥 後來 裡面 麵包 電腦 網路 軟體 鐵路 歷史 讀書會"
)
LATIN = words(
    "the of and model Keras Python tensor Attention LAYER network training Zebra quickly unaffable playing runs river "
    "station library don't it's we'll state-of-the-art e-mail U.S. GPU TPU BERT iPhone13 covid19 x86_64 AT&T naïve "
    "café résumé Ångström Straße İstanbul jalapeño Łódź Đà Nẵng œuvre ﬁne ﬂow Dvořák coöperate Ünïcödé"
)
NUMBERS = words(
    "0 7 12 365 2024 3.14 1,000,000 50% -1 +86 100℃ 1/2 2:1 12:30 2020-01-01 v1.2.3 ½ ² ①② Ⅳ １２３ 〇 二〇二四年 "
    "3×4 1e-5 $5.50 ￥99 #1 0x1F"
)
ADDRESSES = words(
    "http://a.b/c www.example.com bob@mail.example.org C:\\temp\\x.txt /usr/lib/x 192.168.0.1 a_b-c.d [MASK] [CLS]"
)
PUNCTUATION = (
    list("，。！？；：、“”‘’（）《》【】…—·～「」『』")
    + list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    + ["...", "——", "！！", "?!"]
)
EMOJI = [
    "😀", "👍🏽", "👨\u200d👩\u200d👧", "❤\ufe0f", "🇨🇳", "☀", "✓", "♥", "🀄", "🤖🤖",
    "1\ufe0f\u20e3", "→", "★", "©", "™",
]  # fmt: skip
CONTROL = [
    "\x00", "\x01", "\x07", "\x1b", "\x7f", "\x85", "\xad", "\u200b", "\u200d", "\u200e", "\u2060",
    "\ufeff", "\ufffd", "\u202e",
]  # fmt: skip
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\xa0", "\u1680", "\u2003", "\u2009", "\u2028", "\u2029", "\u202f", "\u3000"]
MARKS = ["\u0301", "\u0308", "\u0327", "\u0323\u0307", "\u0307\u0323", "\u3099", "\u20dd", "\u0345", "\u093e", "\u302e"]
GREEK = words("ΟΔΟΣ ΣΟΦΟΣ ΑΣ Σ λόγος ΆΛΦΑ Ὀδυσσεύς ΑΣ.Α ΣΣ αΣ-Σ")
# Code points assigned long ago, or never; none whose properties changed lately.
RANGES = {
    "latin": (0x00A1, 0x024F),
    "greek": (0x0391, 0x03FF),
    "cyrillic": (0x0400, 0x052F),
    "hebrew": (0x05D0, 0x05EA),
    "arabic": (0x0620, 0x06FF),
    "devanagari": (0x0900, 0x0965),
    "thai": (0x0E01, 0x0E3A),
    "jamo": (0x1100, 0x11FF),
    "latin more": (0x1E00, 0x1EFF),
    "greek more": (0x1F00, 0x1F15),
    "general punctuation": (0x2000, 0x2064),
    "letterlike": (0x2100, 0x214F),
    "symbols": (0x2190, 0x27BF),
    "kangxi": (0x2F00, 0x2FD5),
    "cjk symbols": (0x3000, 0x303F),
    "kana": (0x3041, 0x3096),
    "katakana": (0x30A1, 0x30FE),
    "enclosed": (0x3200, 0x32FE),
    "extension a": (0x3400, 0x4DB5),
    "hangul": (0xAC00, 0xD7A3),
    "surrogates": (0xD800, 0xDFFF),
    "private": (0xE000, 0xF8FF),
    "compatibility": (0xF900, 0xFA6D),
    "vertical": (0xFE10, 0xFE6B),
    "full width": (0xFF01, 0xFFEE),
    "linear b": (0x10000, 0x1004D),
    "mathematical": (0x1D400, 0x1D7CB),
    "emoji": (0x1F300, 0x1F64F),
    "extension b": (0x20000, 0x2A6D6),
    "extension cd": (0x2A700, 0x2B81D),
    "extension e": (0x2B820, 0x2CEA1),
    "compatibility more": (0x2F800, 0x2FA1D),
    "private more": (0xF0000, 0xF00FF),
}


class Composer:
    """Draws lines of a dozen kinds from one seed."""

    def __init__(self, seed):
        self._random = random.Random(seed).random

    def below(self, limit):
        return int(self._random() * limit)

    def pick(self, items):
        return items[self.below(len(items))]

    def char(self, name):
        first, last = RANGES[name]
        return chr(first + self.below(last - first + 1))

    def han(self):
        return chr(0x4E00 + int(self._random() ** 2 * (0x9FA5 - 0x4E00 + 1)))

    def run(self, make, shortest, longest):
        return "".join(make() for _ in range(shortest + self.below(longest - shortest + 1)))

    def chinese(self):
        words = [self.pick(CHINESE if self.below(6) else TRADITIONAL) for _ in range(3 + self.below(9))]
        for _ in range(1 + self.below(3)):
            words.insert(1 + self.below(len(words)), self.pick(PUNCTUATION[:12]))
        return "".join(words) + self.pick("。！？…")

    def mixed(self):
        pools = (CHINESE, TRADITIONAL, LATIN, NUMBERS, ADDRESSES, PUNCTUATION, EMOJI, GREEK)
        return self.run(lambda: self.pick(self.pick(pools)) + self.pick(["", "", " "]), 3, 14)

    def english(self):
        return self.run(
            lambda: (
                self.pick(self.pick((LATIN, LATIN, NUMBERS, ADDRESSES)))
                + self.pick([" ", " ", ", ", ". ", "! (", ") "])
            ),
            3,
            14,
        )

    def characters(self):
        return self.run(self.han, 5, 40)

    def one_script(self):
        name = self.pick(list(RANGES))
        return self.run(lambda: self.char(name) + self.pick(["", "", "", " ", "A", "字"]), 3, 20)

    def soup(self):
        return self.run(lambda: self.char(self.pick(list(RANGES))), 3, 24)

    def accents(self):
        return self.run(
            lambda: (
                self.pick(LATIN + GREEK + ["か", "ह", "中", "I", "ı"])
                + self.pick([*MARKS, "", ""])
                + self.pick(["", " "])
            ),
            2,
            10,
        )

    def controls(self):
        pools = (CONTROL, SPACES, CHINESE, LATIN, GREEK, MARKS)
        return self.run(lambda: self.pick(self.pick(pools)), 3, 16)

    def emoji(self):
        return self.run(lambda: self.pick(self.pick((EMOJI, EMOJI, CHINESE, LATIN, SPACES))), 3, 14)

    def full_width(self):
        return self.run(
            lambda: self.pick(self.pick((CHINESE, NUMBERS))) + self.run(lambda: self.char("full width"), 1, 5), 2, 8
        )

    def long_word(self):
        length = self.pick([90, 99, 100, 101, 150, 198, 199, 200, 201, 202, 260])
        letters = self.pick(["ab", "0123456789", "aé", "я", "aİ", "a\u200b", "k", "한"])
        word = "".join(self.pick(letters) for _ in range(length))
        return self.pick(["", "前", "x "]) + word + self.pick(["", "后", ". y"])

    def ascii(self):
        return self.run(lambda: chr(self.below(128)), 5, 60)


def compose_lines(count=NUM_LINES, seed=SEED):
    """The lines, always the same ones."""
    composer = Composer(seed)
    kinds = [
        composer.chinese, composer.chinese, composer.mixed, composer.mixed, composer.english, composer.characters,
        composer.one_script, composer.soup, composer.accents, composer.controls, composer.emoji, composer.full_width,
        composer.ascii, composer.mixed,
    ]  # fmt: skip
    special = ["", " ", "\x00", "[PAD][UNK][CLS][SEP][MASK]", "##a", "##", "a##b", "\ud83d\ude00", "Σ\x00Α", "ς"]
    lines = list(special)
    while len(lines) < count:
        lines.append(composer.long_word() if len(lines) % 97 == 0 else kinds[len(lines) % len(kinds)]())
    return lines


def compose_pairs(lines):
    """(first line, second line, max_length) with lengths on both sides of what fits."""
    composer = Composer(SEED + 1)
    return [(composer.pick(lines), composer.pick(lines), 3 + composer.below(60)) for _ in range(NUM_PAIRS)]


def compose_vocab():
    """A vocabulary with gaps, so that unknown characters and unknown words occur."""
    tokens = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [chr(code) for code in range(33, 127) if not chr(code).isupper() and chr(code) not in "q~"]
    tokens += ["##" + char for char in "abcdefghijklmnoprstuvwxy0123456789"]
    tokens += words(
        "the ##the mod ##el ker ##as py ##th ##on python tens ##or run ##ning un ##aff ##able ##ing 20 ##24"
    )
    tokens += words("ab ##ab naive cafe strasse istanbul ##ss ##ed ##ly attention 10 ##00 ##000 ii iii")
    tokens += [chr(code) for code in range(0x4E00, 0x9FA6) if code % 7]
    tokens += ["##" + chr(code) for code in range(0x4E00, 0x4E20)]
    for first, last, step, inside in (
        (0xA1, 0x17F, 2, True), (0x3B1, 0x3C9, 1, True), (0x430, 0x45F, 1, True), (0x5D0, 0x5EA, 1, True),
        (0x620, 0x64A, 1, True), (0x904, 0x939, 1, True), (0xE01, 0xE30, 1, True), (0x1100, 0x11FF, 1, True),
        (0x2010, 0x2027, 1, False), (0x2190, 0x2200, 3, False), (0x2600, 0x27BF, 2, True), (0x3001, 0x301F, 1, False),
        (0x3041, 0x3096, 1, True), (0x30A1, 0x30FE, 1, True), (0x3400, 0x3600, 3, False), (0xE000, 0xE400, 3, True),
        (0xFF01, 0xFF65, 1, True), (0x1D400, 0x1D7CB, 2, True), (0x1F300, 0x1F64F, 2, True),
        (0x20000, 0x20400, 3, False),
        (0x2B820, 0x2BA00, 3, False), (0xF0000, 0xF00FF, 2, True),
    ):  # fmt: skip
        for code in range(first, last + 1, step):
            tokens += [chr(code), "##" + chr(code)] if inside else [chr(code)]
    return {token: token_id for token_id, token in enumerate(dict.fromkeys(tokens))}


def digest_of_composed():
    """Digest of vocabulary and lines, to notice drift."""
    text = "\n".join([*compose_vocab(), *compose_lines()])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def line_digest(values):
    """Eight bytes for a row of integers."""
    digest = hashlib.blake2b(np.asarray(values, "<i4").tobytes(), digest_size=8).digest()
    return np.frombuffer(digest, "<u8")[0]


def offsets_digest(values):
    """Four bytes for rows of offsets."""
    return zlib.crc32(np.asarray(values, "<i4").tobytes())


def main():
    import bert4keras
    from bert4keras.tokenizers import Tokenizer

    tokenizer = Tokenizer(compose_vocab(), do_lower_case=True)
    cased = Tokenizer(compose_vocab(), do_lower_case=False)
    lines = compose_lines()
    ids = [tokenizer.encode(line)[0] for line in lines]
    offsets = []
    for line in lines:
        mapping = tokenizer.rematch(line, tokenizer.tokenize(line)) if "İ" not in line else []
        offsets.append(offsets_digest([(part[0], part[-1] + 1) if part else (0, 0) for part in mapping]))
    sample = ids[::SAMPLE_EVERY]
    pairs = [tokenizer.encode(first, second, maxlen=length) for first, second, length in compose_pairs(lines)]
    path = Path(__file__).with_name("tokenizer.npz")
    np.savez_compressed(
        path,
        composed=digest_of_composed(),
        source=f"bert4keras {bert4keras.__version__}",
        ids=np.array([line_digest(row) for row in ids]),
        cased_ids=np.array([line_digest(cased.encode(line)[0]) for line in lines]),
        offsets=np.array(offsets, "<u4"),
        sample=np.concatenate(sample).astype("<u2"),
        sample_lengths=np.array([len(row) for row in sample], "<u2"),
        pair_ids=np.array([line_digest(row) for row, _ in pairs]),
        pair_segments=np.array([line_digest(row) for _, row in pairs]),
    )
    unknown = sum(row.count(2) for row in ids)
    total = sum(map(len, ids))
    print(f"{path}: {len(lines)} lines, {total} tokens, {unknown} unknown, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
