"""Small random checkpoints and data files in the formats that bert4keras' examples read, under the paths they name.

python toys.py FOLDER   # FOLDER/kg/bert/..., FOLDER/thuctc/...; the examples look for them below /root

Needs tensorflow and numpy; for SentencePiece models the package sentencepiece, for pictures opencv.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np

SPECIAL = ["[PAD]", *(f"[unused{i}]" for i in range(1, 6)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
HAN = "春天来了山上的花都开红色和白一片很好看孩子们在河边唱歌"
HAN += "老师说今晚有雨请大家早点回语言模型这本书写得不错我喜欢它房间太小服务差"
SENTENCES = [
    "春天来了，山上的花都开了。",
    "孩子们在河边唱歌。",
    "老师说今晚有雨，请大家早点回。",
    "这本书写得不错，我很喜欢。",
]
ENGLISH = ["a", "red", "dog", "cat", "on", "the", "grass", "welcome", "to", "be", "##i", "##jing", "##s", "i"]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 12,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
}
BERTS = (
    "chinese_L-12_H-768_A-12",
    "chinese_wwm_L-12_H-768_A-12",
    "chinese_roberta_wwm_ext_L-12_H-768_A-12",
    "chinese_simbert_L-12_H-768_A-12",
    "uncased_L-12_H-768_A-12",
    "uer/mixed_corpus_bert_base_model",
)
rng = np.random.default_rng(7)


def vocabulary() -> list[str]:
    """Some 560 tokens, so that ids that examples name (511) exist."""
    marks = list("，。！？；：、,.!?;:()+-*/=%")
    tokens = [*SPECIAL, *marks, *"0123456789abcdefghijklmnopqrstuvwxyz", *ENGLISH, *dict.fromkeys(HAN)]
    tokens = list(dict.fromkeys(tokens))
    more = (chr(c) for c in range(0x4E00, 0x9FFF) if chr(c) not in HAN)
    while len(tokens) < 560:
        tokens.append(next(more))
    return tokens


def normal(*shape: int) -> np.ndarray:
    return rng.normal(0, 0.05, shape).astype("float32")


def dense(name: str, rows: int, columns: int) -> dict[str, np.ndarray]:
    return {f"{name}/kernel": normal(rows, columns), f"{name}/bias": normal(columns)}


def norm(name: str, size: int) -> dict[str, np.ndarray]:
    return {f"{name}/beta": normal(size), f"{name}/gamma": 1 + normal(size)}


def block(attention: str, after: str, inner: str, outer: str, last: str, size: int, ffn: int) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for part in ("query", "key", "value"):
        found |= dense(f"{attention}/self/{part}", size, size)
    found |= dense(f"{attention}/output/dense", size, size) | norm(after, size)
    return found | dense(inner, size, ffn) | dense(outer, ffn, size) | norm(last, size)


def bert(
    vocab: int, segments: int = 2, albert: bool = False, embedding: int | None = None, layers: int = 12
) -> dict[str, np.ndarray]:
    """The variables of Google's checkpoint."""
    size, ffn = SIZES["hidden_size"], SIZES["intermediate_size"]
    width = embedding or size
    found = {
        "bert/embeddings/word_embeddings": normal(vocab, width),
        "bert/embeddings/position_embeddings": normal(512, width),
        **norm("bert/embeddings/LayerNorm", width),
    }
    if segments:
        found["bert/embeddings/token_type_embeddings"] = normal(segments, width)
    if albert:
        found |= dense("bert/encoder/embedding_hidden_mapping_in", width, size)
        p = "bert/encoder/transformer/group_0/inner_group_0/"
        found |= block(
            f"{p}attention_1",
            f"{p}LayerNorm",
            f"{p}ffn_1/intermediate/dense",
            f"{p}ffn_1/intermediate/output/dense",
            f"{p}LayerNorm_1",
            size,
            ffn,
        )
    else:
        for i in range(layers):
            p = f"bert/encoder/layer_{i}/"
            found |= block(
                f"{p}attention",
                f"{p}attention/output/LayerNorm",
                f"{p}intermediate/dense",
                f"{p}output/dense",
                f"{p}output/LayerNorm",
                size,
                ffn,
            )
    found |= dense("bert/pooler/dense", size, size)
    found |= dense("cls/predictions/transform/dense", size, width) | norm("cls/predictions/transform/LayerNorm", width)
    found["cls/predictions/output_bias"] = normal(vocab)
    found["cls/seq_relationship/output_weights"], found["cls/seq_relationship/output_bias"] = normal(2, size), normal(2)
    return found


CPM_POSITIONS = 1024
"""as CPM has; the script's prompts fill more than half of them"""


def gpt2(vocab: int, layers: int) -> dict[str, np.ndarray]:
    """The variables of CPM's checkpoint, as it was made for bert4keras."""
    size, ffn = SIZES["hidden_size"], SIZES["intermediate_size"]
    found = {"gpt/embeddings/word_embeddings": normal(vocab, size), **norm("gpt/output/LayerNorm", size)}
    found["gpt/embeddings/position_embeddings"] = normal(CPM_POSITIONS, size)
    for i in range(layers):
        p = f"gpt/transformer/layer_{i}/"
        names = (f"{p}attention", f"{p}attention/input/LayerNorm", f"{p}intermediate/dense", f"{p}output/dense")
        found |= block(*names, f"{p}input/LayerNorm", size, ffn)
    return found


def gpt2_ml(vocab: int, layers: int) -> dict[str, np.ndarray]:
    """The variables of GPT2-ML's checkpoint."""
    size, ffn = SIZES["hidden_size"], SIZES["intermediate_size"]
    found = {"newslm/embeddings/word_embed": normal(vocab, size), "newslm/embeddings/pos_embed": normal(512, size)}
    found |= norm("newslm/embeddings/LayerNorm_embed_norm", size)
    for i in range(layers):
        p = f"newslm/layer{i:02d}/"
        for part in ("query_layer", "key_layer", "value_layer", "context_projection_layer"):
            found |= dense(p + part, size, size)
        found |= norm(p + "LayerNorm_mlp_ln0", size) | norm(p + "LayerNorm_mlp_ln1", size)
        found |= dense(p + "intermediate", size, ffn) | dense(p + "output", ffn, size)
    return found


def mt5(vocab: int, layers: int) -> dict[str, np.ndarray]:
    """The variables of mT5's checkpoint."""
    size, ffn, heads = SIZES["hidden_size"], SIZES["intermediate_size"], SIZES["num_attention_heads"]
    found = {"shared/embedding": normal(vocab, size), "decoder/logits/kernel": normal(size, vocab)}
    for stack, parts in (("encoder", ("SelfAttention",)), ("decoder", ("SelfAttention", "EncDecAttention"))):
        found[f"{stack}/block_000/layer_000/SelfAttention/relative_attention_bias"] = normal(heads, 32)
        found[f"{stack}/rms_norm/scale"] = 1 + normal(size)
        for i in range(layers):
            p = f"{stack}/block_{i:03d}/"
            for k, part in enumerate(parts):
                found |= {f"{p}layer_{k:03d}/{part}/{name}": normal(size, size) for name in "qkvo"}
            q = f"{p}layer_{len(parts):03d}/DenseReluDense/"
            found |= {f"{q}wi_0/kernel": normal(size, ffn), f"{q}wi_1/kernel": normal(size, ffn)}
            found[f"{q}wo/kernel"] = normal(ffn, size)
            found |= {f"{p}layer_{k:03d}/rms_norm/scale": 1 + normal(size) for k in range(len(parts) + 1)}
    return found


def write_checkpoint(prefix: Path, arrays: dict[str, np.ndarray]) -> None:
    import tensorflow as tf

    prefix.parent.mkdir(parents=True, exist_ok=True)
    names = list(arrays)
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=[arrays[n] for n in names]
    )


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def lines(entries: list) -> str:
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def models(root: Path) -> None:
    tokens = vocabulary()
    for name in BERTS:
        folder = root / "kg/bert" / name
        write(folder / "vocab.txt", "\n".join(tokens) + "\n")
        layers = 12 if name == BERTS[0] else 2  # some examples name the twelfth layer of the first one
        config = SIZES | {"vocab_size": len(tokens), "num_hidden_layers": layers}
        write(folder / "bert_config.json", json.dumps(config))
        write_checkpoint(folder / "bert_model.ckpt", bert(len(tokens), layers=layers))
    folder = root / "kg/bert/albert_small_zh_google"
    write(folder / "vocab.txt", "\n".join(tokens) + "\n")
    config = SIZES | {"vocab_size": len(tokens), "embedding_size": 8, "num_hidden_layers": 2}
    write(folder / "albert_config.json", json.dumps(config))
    write_checkpoint(folder / "albert_model.ckpt", bert(len(tokens), albert=True, embedding=8))
    folder = root / "kg/bert/chinese_nezha_gpt_L-12_H-768_A-12"
    write(folder / "vocab.txt", "\n".join(tokens) + "\n")
    write(folder / "config.json", json.dumps(SIZES | {"vocab_size": len(tokens)}))
    write_checkpoint(folder / "gpt.ckpt", bert(len(tokens), segments=0))
    sizes = SIZES | {"vocab_size": len(tokens), "num_hidden_layers": 2}
    for name, file, made in (("CPM_LM_2.6B_TF", "model.ckpt", gpt2), ("gpt2_ml", "model.ckpt-100000", gpt2_ml)):
        folder = root / "kg/bert" / name
        positions = {"max_position_embeddings": CPM_POSITIONS} if made is gpt2 else {}
        write(folder / "config.json", json.dumps(sizes | positions))
        write(folder / "vocab.txt", "\n".join(tokens) + "\n")
        write_checkpoint(folder / file, made(len(tokens), 2))
    folder = root / "kg/bert/mt5/mt5_base"
    sizes |= {"vocab_size": 120, "hidden_act": ["gelu", "linear"]}
    write(folder / "mt5_base_config.json", json.dumps(sizes))
    write_checkpoint(folder / "model.ckpt-1000000", mt5(120, 2))


def sentence_pieces(root: Path) -> None:
    import io

    import sentencepiece

    text = [random.choice(SENTENCES) + random.choice(SENTENCES) for _ in range(300)]
    for path in (root / "kg/bert/CPM_LM_2.6B_TF/chinese_vocab.model", root / "kg/bert/mt5/sentencepiece_cn.model"):
        made = io.BytesIO()
        options = {"vocab_size": 90, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "hard_vocab_limit": False}
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(text), model_writer=made, **options)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.getvalue())
    write(root / "kg/bert/mt5/sentencepiece_cn_keep_tokens.json", json.dumps(list(range(60))))


def data(root: Path, examples: Path) -> None:
    pairs = "".join(f"{random.choice(SENTENCES)}\t{i % 2}\n" for i in range(40))
    for part in ("train", "valid", "test"):
        write(examples / f"datasets/sentiment/sentiment.{part}.data", pairs)
        triples = "".join(f"{random.choice(SENTENCES)}\t{random.choice(SENTENCES)}\t{i % 2}\n" for i in range(40))
        write(examples / f"datasets/lcqmc/lcqmc.{part}.data", triples)
    labels = [{"id": i, "sentence": random.choice(SENTENCES), "label": str(i % 119)} for i in range(119)]
    for part in ("train", "dev", "test"):
        write(root / f"CLUE-master/baselines/CLUEdataset/iflytek/{part}.json", lines(labels))
    for i in range(40):
        write(root / f"thuctc/THUCNews/a/{i}.txt", f"{SENTENCES[i % 4][:4]}\n{SENTENCES[(i + 1) % 4]}")
        write(root / f"金庸/a/{i}.txt", "".join(SENTENCES), "gbk")
    for part in ("train", "val", "test"):
        write(root / f"csl/{part}.tsv", "".join(f"{s[:4]}\t{s}\n" for s in SENTENCES * 5))
    tags = {2: "B-LOC", 3: "I-LOC"}
    rows = ("\n".join(f"{c} {tags.get(i, 'O')}" for i, c in enumerate(s)) for s in SENTENCES * 6)
    tagged = "\n\n".join(rows)
    for part in ("train", "dev", "test"):
        write(root / f"ner/china-people-daily-ner-corpus/example.{part}", tagged + "\n\n")
    words = "春天 来 了 山 上 的 花 都 开 了\n孩子们 在 河边 唱歌\n这 本 书 写 得 不错\n" * 20
    write(root / "icwb2-data/training/pku_training.utf8", words)
    spo = {"text": "春天来了山上的花都开了", "spo_list": [{"subject": "春天", "predicate": "在", "object": "山上"}]}
    write(root / "kg/datasets/train_data.json", lines([spo] * 130))
    write(root / "kg/datasets/dev_data.json", lines([spo] * 3))
    write(root / "kg/datasets/all_50_schemas", lines([{"predicate": "在"}, {"predicate": "有"}]))
    questions = [
        {"id": f"Q{i}", "question": "谁在唱歌？", "passages": [{"passage": SENTENCES[1], "answer": "孩子们"}]}
        for i in range(12)
    ]
    write(root / "qa_datasets/WebQA.json", json.dumps(questions, ensure_ascii=False))
    write(root / "qa_datasets/SogouQA.json", json.dumps(questions, ensure_ascii=False))
    sums = [{"original_text": f"{i}加2是多少", "equation": f"x={i}+2", "ans": str(i + 2)} for i in range(40)]
    for part in ("train", "valid", "test"):
        write(root / f"ape210k/{part}.ape.json", lines(sums))
    write(root / "qipu.json", lines([{"fen": None, "iccs": "h2e2h9g7h0g2i9h9", "items": {}}] * 40))
    pictures(root)


def pictures(root: Path) -> None:
    try:
        import cv2
    except ImportError:
        return
    images = [{"id": i, "file_name": f"{i}.jpg", "coco_url": "none"} for i in range(4)]
    captions = [{"image_id": i, "caption": "a red dog on the grass"} for i in range(4)]
    for part in ("train", "val"):
        write(
            root / f"caption/coco/annotations/captions_{part}2014.json",
            json.dumps({"images": images, "annotations": captions}),
        )
        for image in images:
            path = root / f"caption/coco/{part}2014/{image['file_name']}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 255, (40, 60, 3)).astype("uint8"))


def image_model(root: Path) -> None:
    """MobileNetV2's weights where Keras keeps what it has downloaded, random."""
    import keras

    from nlptasks.bert4keras.keras.models import Model

    path = root / ".keras/models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = keras.applications.MobileNetV2(include_top=False, pooling="avg", weights=None)
    Model(plain.inputs, plain.outputs).save_weights(path)


if __name__ == "__main__":
    random.seed(7)
    target = Path(sys.argv[1])
    models(target)
    data(target, target / "examples")
    image_model(target)
    try:
        sentence_pieces(target)
    except ImportError:
        sys.stderr.write("sentencepiece is not installed: no SentencePiece models\n")
