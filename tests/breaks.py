"""Breaks the library on purpose, one fault at a time, and shows that a test fails for each.

    python tests/breaks.py                  every break
    python tests/breaks.py mask viterbi     those with one of these words in their names
    python tests/breaks.py --quick-only     only whether `make quick` fails

Each fault is put into a copy of the working tree. First the tests that are named for it run, then those of
`make quick`, on the backend of the break. Prints a line a break; the status is 1 when one is caught by nothing, or
fewer than QUICK_AT_LEAST by `make quick`. Not a part of `make test`: each break runs tests of its own.
`test_breaks.py` holds that the texts to replace still stand in the sources once.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
QUICK_AT_LEAST = 20
QUICK = {
    "tensorflow": ("@tests/quick.txt",),
    "jax": ("@tests/quick_jax.txt",),
}
"""what `make quick` runs on each backend"""


class Break(NamedTuple):
    """A fault: in `file`, the text `old`, which stands there once, becomes `new`; `tests` are to notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    backend: str = "tensorflow"


BREAKS = (
    # masks, padding, attention
    Break(
        "mask: padding is seen",
        "nlptasks/core/masks.py",
        "real_BS = ops.not_equal(token_ids_BS, pad_id)",
        "real_BS = ops.not_equal(token_ids_BS, -1)",
        ("tests/core/test_masks.py",),
    ),
    Break(
        "terms: a word may end inside a term",
        "nlptasks/applications/segmentation/terms.py",
        "scores[at, E] -= WHOLE",
        "scores[at, E] -= 0",
        ("tests/applications/segmentation/test_terms.py",),
    ),
    Break(
        "terms: a greeting stands behind the terms of its text",
        "nlptasks/applications/segmentation/terms.py",
        "zip(*sorted(spans), strict=True)",
        "zip(*spans, strict=True)",
        ("tests/applications/segmentation/test_terms.py",),
    ),
    Break(
        "files: weights keep the permissions that their writer gave them",
        "nlptasks/files.py",
        "os.chmod(temporary, mode)",
        "pass",
        ("tests/test_files.py",),
    ),
    Break(
        "encoding: blocks of text are not turned into UTF-8",
        "nlptasks/files.py",
        "yield block if utf8 else text.encode()",
        "yield block",
        ("tests/test_input.py",),
    ),
    Break(
        "filling: the scores at the place before a mask are taken",
        "nlptasks/text/masked.py",
        "positions.append(len(ids))",
        "positions.append(len(ids) - 1)",
        ("tests/applications/filling/test_filler.py",),
    ),
    Break(
        "checkpoint: a run recorded without one starts from the bundled model",
        "nlptasks/applications/options.py",
        'found.get("checkpoint") or SCRATCH',
        'found.get("checkpoint") or MINI',
        ("tests/applications/test_options.py",),
    ),
    Break(
        "serving: an answer goes to another request",
        "nlptasks/serve/batching.py",
        "            at += len(job.items)",
        "            at += 1",
        ("tests/serve/test_batching.py",),
    ),
    Break(
        "serving: one request fails for another",
        "nlptasks/serve/batching.py",
        "await self._compute([job])",
        "job.future.set_exception(error)",
        ("tests/serve/test_batching.py",),
    ),
    Break(
        "serving: any key will do",
        "nlptasks/serve/guard.py",
        "if not right:",
        "if not given:",
        ("tests/serve/test_security.py",),
    ),
    Break(
        "serving: a result of a group goes to another text",
        "nlptasks/serve/shapes.py",
        "for i, result in zip(chosen, found, strict=False):",
        "for i, result in zip(sorted(chosen), found, strict=False):",
        ("tests/serve/test_app.py",),
    ),
    Break(
        "batch: a half file gets its name",
        "nlptasks/batch/places.py",
        "        os.replace(half, path)\n    finally:",
        "    finally:\n        os.replace(half, path)",
        ("tests/batch/test_batch.py",),
    ),
    Break(
        "batch: a shard is taken for finished because its file is there",
        "nlptasks/batch/job.py",
        "if name + DONE in noted and name in there",
        "if name in there",
        ("tests/batch/test_batch.py",),
    ),
    Break(
        "pretraining: a process hears of no other one's end",
        "nlptasks/pretraining/together.py",
        "        self.end(number, None)",
        "        return",
        ("tests/pretraining/test_together.py",),
    ),
    Break(
        "positions: RoBERTa's are counted from 0",
        "nlptasks/core/positions.py",
        "ops.cumsum(real_BT, axis=1) * real_BT + pad_id",
        "ops.cumsum(real_BT, axis=1) * real_BT",
        ("tests/checkpoints/test_roberta.py",),
    ),
    Break(
        "reading by masked tokens: rows are padded with token 0",
        "nlptasks/applications/reading/samples.py",
        "mask_id, size, pad_id)",
        "mask_id, size)",
        ("tests/applications/test_tokenizer_kinds.py",),
    ),
    Break(
        "mask: a causal position sees the next one",
        "nlptasks/core/masks.py",
        "(position_S[None, :] <= position_S[:, None])[None]",
        "(position_S[None, :] <= position_S[:, None] + 1)[None]",
        ("tests/core/test_masks.py",),
    ),
    Break(
        "mask: a source of unilm sees the target",
        "nlptasks/core/masks.py",
        "running_BS[:, None, :] <= running_BS[:, :, None]",
        "running_BS[:, None, :] <= running_BS[:, :, None] + 1",
        ("tests/core/test_masks.py",),
    ),
    Break(
        "mask: documents of a row see those behind them",
        "nlptasks/core/masks.py",
        "ops.equal(document_ids_BS[:, None, :], document_ids_BS[:, :, None])",
        "ops.greater_equal(document_ids_BS[:, None, :], document_ids_BS[:, :, None])",
        ("tests/pretraining/test_step.py",),
        "jax",
    ),
    Break(
        "padding: on the left",
        "nlptasks/text/batches.py",
        "array[i, : len(row)] = row",
        "array[i, width - len(row) :] = row",
        ("tests/applications/reading/test_reading_golden.py",),
    ),
    Break(
        "attention: scaled by the whole hidden size",
        "nlptasks/core/attention.py",
        "query_BTNH * self.key_size**-0.5 if",
        "query_BTNH * self.hidden_size**-0.5 if",
        ("tests/core/test_transformer.py",),
    ),
    Break(
        "attention: rotary positions turn one way only",
        "nlptasks/core/positions.py",
        "first * cosine - second * sine",
        "first * cosine + second * sine",
        ("tests/core/test_attention.py",),
    ),
    Break(
        "attention: gated scores are as sharp for few positions as for many",
        "nlptasks/core/gated.py",
        'ops.cast(score_BNTS, "float32") * sharper_B1T1',
        'ops.cast(score_BNTS, "float32")',
        ("tests/checkpoints/test_writers_parity.py",),
    ),
    Break(
        "seq2seq: the decoder of a T5 reads the token that it is to write",
        "nlptasks/applications/seq2seq/networks.py",
        "[start, target_ids[:, :-1]]",
        "[target_ids[:, :0], target_ids]",
        ("tests/applications/seq2seq/test_t5.py",),
    ),
    Break(
        "attention: relative positions are mirrored",
        "nlptasks/core/positions.py",
        "key_ids_BS[:, None, :] - query_ids_BT[:, :, None], -farthest",
        "query_ids_BT[:, :, None] - key_ids_BS[:, None, :], -farthest",
        ("tests/core/test_attention.py",),
    ),
    # loaders
    Break(
        "loader of Google's checkpoints: gamma and beta of norms change places",
        "nlptasks/checkpoints/google.py",
        '(r"/LayerNorm/gamma$", "/LayerNorm/weight"),\n    (r"/LayerNorm/beta$", "/LayerNorm/bias"),',
        '(r"/LayerNorm/gamma$", "/LayerNorm/bias"),\n    (r"/LayerNorm/beta$", "/LayerNorm/weight"),',
        ("tests/checkpoints/test_bert4keras_parity.py",),
    ),
    Break(
        "loader of bert4keras' weights: queries and keys change places",
        "nlptasks/checkpoints/bert4keras.py",
        '("self.query", "self.key", "self.value", "output.dense")',
        '("self.key", "self.query", "self.value", "output.dense")',
        ("tests/checkpoints/test_bert4keras_parity.py",),
    ),
    Break(
        "loader of Hugging Face's directories: matrices stay as they are stored",
        "nlptasks/checkpoints/weights.py",
        "value = _oriented(np.asarray(arrays[slot.name]), transposed and slot.transposed)",
        "value = _oriented(np.asarray(arrays[slot.name]), not transposed and slot.transposed)",
        ("tests/checkpoints/test_huggingface.py",),
    ),
    Break(
        "loader of Hugging Face's directories: old names of norms",
        "nlptasks/checkpoints/families.py",
        're.sub(r"LayerNorm\\.gamma$", "LayerNorm.weight", _PREFIX.sub("", name))',
        '_PREFIX.sub("", name)',
        ("tests/checkpoints/test_huggingface.py",),
    ),
    Break(
        "loader of Hugging Face's directories: the first shard only",
        "nlptasks/checkpoints/huggingface.py",
        "for name in sorted(set(shards.values()))]",
        "for name in sorted(set(shards.values()))[:1]]",
        ("tests/checkpoints/test_huggingface.py",),
    ),
    Break(
        "loader of ALBERT: a matrix of the block under another name",
        "nlptasks/checkpoints/families.py",
        '("encoder.layer.0.output.dense.", _ALBERT_LAYER + "ffn_output.")',
        '("encoder.layer.0.output.dense.", _ALBERT_LAYER + "ffn_inner.")',
        ("tests/checkpoints/test_families.py",),
    ),
    Break(
        "loader of ELECTRA: the head of the generator under another name",
        "nlptasks/checkpoints/families.py",
        '("cls.predictions.transform.", "generator_predictions."),',
        "",
        ("tests/checkpoints/test_families.py",),
    ),
    Break(
        "loader: missing weights are no error",
        "nlptasks/checkpoints/weights.py",
        'problems = [("missing", missing), ("left over", left)',
        'problems = [("left over", left)',
        ("tests/checkpoints/test_strict_loading.py",),
    ),
    Break(
        "loader: the first tokens are kept instead of those that were asked for",
        "nlptasks/checkpoints/weights.py",
        "value = value[np.asarray(keep_tokens)]",
        "value = value[: len(keep_tokens)]",
        ("tests/checkpoints/test_strict_loading.py",),
    ),
    Break(
        "loader of runs: the head is not restored",
        "nlptasks/applications/storage.py",
        "weight.assign(of_head[name])",
        "weight.assign(0 * of_head[name])",
        ("tests/applications/classification/test_classifier.py::test_a_saved_classifier_is_the_same",),
    ),
    # scorers
    Break(
        "scorer of labels: F1",
        "nlptasks/metrics/classification.py",
        '"f1": 200.0 * right / (found + wanted)',
        '"f1": 100.0 * right / (found + wanted)',
        ("tests/metrics/test_classification.py",),
    ),
    Break(
        "scorer of entities: every gold entity is right",
        "nlptasks/metrics/entities.py",
        "for _, _, kind in one & other)",
        "for _, _, kind in one)",
        ("tests/metrics/test_entities.py",),
    ),
    Break(
        "scorer of reading: CMRC2018's run of tokens may have gaps",
        "nlptasks/metrics/reading.py",
        "row[j] + 1 if token == other else 0",
        "row[j] + 1 if token == other else row[j]",
        ("tests/metrics/test_reading.py",),
    ),
    Break(
        "scorer of reading: SogouQA's accuracy",
        "nlptasks/metrics/reading.py",
        "exact = predicted in golds or _sogou_parts",
        "exact = predicted in golds and _sogou_parts",
        ("tests/metrics/test_reading.py",),
    ),
    Break(
        "scorer of segmentation: recall of unknown words",
        "nlptasks/metrics/segmentation.py",
        "oov_correct += right",
        "oov_correct += 1",
        ("tests/metrics/test_segmentation.py",),
    ),
    Break(
        "scorer of retrieval: a sentence finds itself",
        "nlptasks/metrics/similarity.py",
        "scores[rows, start + rows] = -np.inf",
        "scores[rows, start + rows] = np.inf",
        ("tests/metrics/test_similarity.py",),
    ),
    Break(
        "scorer of pairs: ties",
        "nlptasks/metrics/similarity.py",
        "return (ends - (counts - 1) / 2)[inverse]",
        "return ends[inverse]",
        ("tests/metrics/test_similarity.py",),
    ),
    Break(
        "scorer of generation: diversity",
        "nlptasks/metrics/generation.py",
        "return len(set(found)) / len(found) if found else 0.0",
        "return len(set(found)) / len(texts) if found else 0.0",
        ("tests/metrics/test_generation.py",),
    ),
    # training
    Break(
        "resume: the optimizer starts anew",
        "nlptasks/train/state.py",
        "variable.assign(file.get_tensor(there))",
        'name.startswith("optimizer.") or variable.assign(file.get_tensor(there))',
        ("tests/train/test_loop.py",),
    ),
    Break(
        "resume: the batches that were done are trained on again",
        "nlptasks/train/loop.py",
        "shown.progress_bar(batches[progress.batch :], description",
        "shown.progress_bar(batches, description",
        ("tests/train/test_loop.py",),
    ),
    Break(
        "resume: other options pass",
        "nlptasks/train/record.py",
        "if was.get(name) != now.get(name):",
        "if was.get(name) != was.get(name):",
        ("tests/train/test_record.py",),
    ),
    Break(
        "resume: an option of version 0.1 is not known under its new name",
        "nlptasks/train/options.py",
        "{cls.RENAMED.get(name, name): value",
        "{name: value",
        ("tests/test_old_runs.py::test_an_option_is_that_of_the_run_under_either_name",),
    ),
    Break(
        "resume: an option that a record lacks counts as nothing",
        "nlptasks/train/record.py",
        "was = defaults | was | _plain(",
        "was = was | _plain(",
        ("tests/test_old_runs.py::test_an_option_younger_than_a_run_counts_as_its_default",),
    ),
    Break(
        "training: the last epoch is kept for the best",
        "nlptasks/train/loop.py",
        'run.keep == "best" and run.kept(progress.history) is progress.history[-1]:',
        'run.keep == "best":',
        ("tests/train/test_loop.py",),
    ),
    Break(
        "training: of epochs with the same score, the first is kept",
        "nlptasks/train/choosing.py",
        "by_loss = equal_scores == LOWEST_LOSS",
        "by_loss = False",
        ("tests/train/test_choosing.py",),
    ),
    Break(
        "resume: a run of version 0.1 takes another rule for epochs with the same score",
        "nlptasks/train/record.py",
        "record.pop(EQUAL_SCORES, FIRST)",
        "record.pop(EQUAL_SCORES, options.equal_scores)",
        ("tests/train/test_loop.py",),
    ),
    Break(
        "training: batches of different sizes count alike when they are accumulated",
        "nlptasks/train/loop.py",
        "step(group, weights / max(weights.sum(), 1.0))",
        "step(group, np.full(len(group), 1 / len(group)))",
        ("tests/train/test_experiment.py",),
    ),
    Break(
        "training: averages stay in the model",
        "nlptasks/train/averages.py",
        "        _assign(model, own)",
        "        pass",
        ("tests/train/test_experiment.py",),
    ),
    Break(
        "training: a weight of any sign in the loss of several labels",
        "nlptasks/train/losses.py",
        "positive = ops.log(ops.maximum(y_true, _TINY)) - score",
        "positive = ops.log(ops.maximum(y_true, _TINY)) + score",
        ("tests/train/test_losses.py",),
    ),
    Break(
        "training: the margin has the other sign",
        "nlptasks/train/group_losses.py",
        'if kind == "am":\n        return cosine - margin',
        'if kind == "am":\n        return cosine + margin',
        ("tests/train/test_group_losses.py",),
    ),
    Break(
        "TensorFlow: an accumulated batch counts whole",
        "nlptasks/backend/tensorflow.py",
        "loss = share * loss_function(batch)",
        "loss = loss_function(batch)",
        ("tests/train/test_experiment.py",),
    ),
    Break(
        "JAX: an accumulated batch counts whole",
        "nlptasks/backend/jax.py",
        "loss = share * loss_function(batch)",
        "loss = loss_function(batch)",
        ("tests/train/test_experiment.py",),
        "jax",
    ),
    Break(
        "the perturbed weight moves against its gradient",
        "nlptasks/backend/programs.py",
        "value + distance * gradient",
        "value - distance * gradient",
        ("tests/train/test_experiment.py",),
        "jax",
    ),
    Break(
        "JAX: a branch forgets the random state",
        "nlptasks/backend/jax.py",
        "    assign_all(random_state, after)\n    return result",
        "    return result",
        ("tests/backend/test_programs.py",),
        "jax",
    ),
    # text
    Break(
        "tokenizer: the first separator belongs to the second text",
        "nlptasks/text/encoding.py",
        "segment_ids[second_start:] = template",
        "segment_ids[second_start - 1 :] = template",
        ("tests/text/test_tokenizer.py",),
    ),
    Break(
        "tokenizer: no character is rare",
        "nlptasks/text/wordpiece.py",
        "return not text.isascii() and _RARE_CHARACTER.search(text) is not None",
        "return False",
        ("tests/text/test_tokenizer.py",),
    ),
    Break(
        "tokenizer: of equally long texts the second one loses its token",
        "nlptasks/text/encoding.py",
        "return first - (excess + 1) // 2, second - excess // 2",
        "return first - excess // 2, second - (excess + 1) // 2",
        ("tests/text/test_tokenizer.py",),
    ),
    Break(
        "search by words: the length of a text does not count",
        "nlptasks/text/lexical.py",
        "room = K1 * (1 - B + B * self.lengths[texts] / mean)",
        "room = K1",
        ("tests/text/test_lexical.py",),
    ),
    # decoding
    Break(
        "decoding: the newest token is not seen",
        "nlptasks/generate/cached.py",
        "ops.arange(capacity)[None] <= time",
        "ops.arange(capacity)[None] < time",
        ("tests/generate/test_cached.py",),
    ),
    Break(
        "decoding: beams that change places keep their caches",
        "nlptasks/generate/cached.py",
        'return state | {"generated": generated}\n\n\ndef cache_bytes',
        "return state\n\n\ndef cache_bytes",
        ("tests/generate/test_cached.py",),
    ),
    Break(
        "decoding: the end token is a part of the answer",
        "nlptasks/generate/search.py",
        "tokens_A[: length - int(ended)]",
        "tokens_A[:length]",
        ("tests/generate/test_search.py",),
    ),
    Break(
        "decoding: what has ended goes on scoring",
        "nlptasks/generate/search.py",
        "self.scores + ops.where(self.ended, 0.0, gains_QK)",
        "self.scores + gains_QK",
        ("tests/generate/test_search.py",),
    ),
    Break(
        "decoding: the token that reaches top_p is left out",
        "nlptasks/generate/sampling.py",
        "values_QKC = ops.where(reached_QKC - values_QKC < top_p, values_QKC, 0.0)",
        "values_QKC = ops.where(reached_QKC < top_p, values_QKC, 0.0)",
        ("tests/generate/test_sampling.py",),
    ),
    Break(
        "decoding: repetition is rewarded",
        "nlptasks/generate/constraints.py",
        "ops.where(scores_QKV < 0, scores_QKV * self.penalty",
        "ops.where(scores_QKV > 0, scores_QKV * self.penalty",
        ("tests/generate/test_constraints.py",),
    ),
    Break(
        "decoding: an extractive answer stands still in its text",
        "nlptasks/generate/constraints.py",
        "ops.pad(hit_RKS[..., :-1], ((0, 0), (0, 0), (1, 0)))",
        "ops.pad(hit_RKS[..., :-1], ((0, 0), (0, 0), (0, 1)))",
        ("tests/generate/test_constraints.py",),
    ),
    Break(
        "chosen positions look where others may",
        "nlptasks/core/blocks.py",
        "at_positions(mask_BTS, positions_BM)",
        "mask_BTS[:, : positions_BM.shape[1]]",
        ("tests/core/test_transformer.py",),
    ),
    # applications
    Break(
        "Theseus: rate 0 is the successor",
        "nlptasks/applications/compression/theseus.py",
        "seed=self.seed_generator) < rate",
        "seed=self.seed_generator) >= rate",
        ("tests/applications/compression/test_theseus.py",),
    ),
    Break(
        "Theseus: the predecessor is trained",
        "nlptasks/applications/compression/theseus.py",
        "self.predecessor.trainable = False",
        "self.predecessor.trainable = True",
        ("tests/applications/compression/test_theseus.py",),
    ),
    Break(
        "CRF: the last tag's score is left out",
        "nlptasks/applications/labeling/crf.py",
        "ops.logsumexp(state_BK + last_K, axis=1)",
        "ops.logsumexp(state_BK, axis=1)",
        ("tests/applications/labeling/test_crf.py",),
    ),
    Break(
        "pointer: no entity of one token",
        "nlptasks/applications/labeling/pointer.py",
        "position_T[:, None] <= position_T[None, :]",
        "position_T[:, None] < position_T[None, :]",
        ("tests/applications/labeling/test_pointer.py",),
    ),
    Break(
        "viterbi: no word of more than one character ends",
        "nlptasks/applications/segmentation/viterbi.py",
        "        if e > s:\n",
        "        if e > s + 1e9:\n",
        ("tests/applications/segmentation/test_viterbi.py",),
    ),
    Break(
        "viterbi: many pieces forget what was better",
        "nlptasks/applications/segmentation/viterbi.py",
        "np.subtract(best_2L[GOES_ON], best_2L[OVER]",
        "np.subtract(of_over_2N[GOES_ON, here], best_2L[OVER]",
        ("tests/applications/segmentation/test_viterbi.py",),
    ),
    Break(
        "segmenter: a single line has the biases of another standard",
        "nlptasks/applications/segmentation/runtime.py",
        "h_NC = _neighbors(x_RC, matrices[standard_id])",
        "h_NC = _neighbors(x_RC, matrices[0])",
        ("tests/applications/segmentation/test_segmentation_network.py",),
    ),
    Break(
        "dictionary: a frequency of 0 favours a word",
        "nlptasks/applications/segmentation/dictionary.py",
        'not found["frequency"].strip("0") else',
        'not found["frequency"] else',
        ("tests/applications/segmentation/test_dictionary.py",),
    ),
    Break(
        "segmenter: a term inside a unit ends in an error",
        "nlptasks/applications/segmentation/terms.py",
        "if words is not None and len(starts):",
        "if words is not None:",
        ("tests/applications/segmentation/test_terms.py",),
    ),
    Break(
        "segmenter: a file lacks the line end between two files",
        "nlptasks/applications/segmentation/commands.py",
        'not last.endswith(b"\\n")',
        "False",
        ("tests/commands/test_segmentation.py",),
    ),
    Break(
        "index: Ctrl-C leaves vectors that nobody knows of",
        "nlptasks/applications/similarity/vectors.py",
        "vectors.remove(there)",
        "pass",
        ("tests/applications/similarity/test_index.py",),
    ),
    Break(
        "training: weights that are no numbers are saved",
        "nlptasks/train/loop.py",
        "if not np.isfinite(ops.convert_to_numpy(ops.stack(sums))).all():",
        "if False:",
        ("tests/train/test_loop.py",),
    ),
    Break(
        "training: JAX does not scale the loss",
        "nlptasks/backend/jax.py",
        "return scale * loss, (loss",
        "return loss, (loss",
        ("tests/train/toolbox/test_extend.py::test_a_scaled_loss_makes_the_step_of_a_plain_one",),
        "jax",
    ),
    Break(
        "seq2seq: the score of a beam is divided by its length",
        "nlptasks/applications/seq2seq/writing.py",
        "score *= (len(tokens) + found.finished) ** decoding.length_penalty",
        "score *= 1",
        ("tests/applications/seq2seq/test_seq2seq.py",),
    ),
    Break(
        "seq2seq: a stream draws every source as the first",
        "nlptasks/applications/seq2seq/model.py",
        "replace(first_row=row)",
        "replace(first_row=0)",
        ("tests/applications/seq2seq/test_seq2seq.py",),
    ),
    Break(
        "index: the worst sentence first",
        "nlptasks/applications/similarity/index.py",
        "np.lexsort([positions, -scores])",
        "np.lexsort([positions, scores])",
        ("tests/applications/similarity/test_encoder.py",),
    ),
    Break(
        "reading: passages vote by their sums",
        "nlptasks/applications/reading/voting.py",
        "ops.segment_sum(ops.square(probability_RKV), owner_R",
        "ops.segment_sum(probability_RKV, owner_R",
        ("tests/applications/reading/test_reading_golden.py",),
    ),
    Break(
        "reading: the end of a long passage is in no window",
        "nlptasks/applications/reading/windows.py",
        "[*range(0, count - room, stride), count - room]",
        "[*range(0, count - room, stride)]",
        ("tests/applications/reading/test_windows.py",),
    ),
    Break(
        "reading by spans: windows compare without the logits of [CLS]",
        "nlptasks/applications/reading/span.py",
        "top_R - start_RT[:, 0] - end_RT[:, 0], top_R - partition_R",
        "top_R, top_R - partition_R",
        ("tests/applications/reading/test_span.py",),
    ),
    Break(
        "reading by spans: windows compare by their softmaxes",
        "nlptasks/applications/reading/span.py",
        "top_R - start_RT[:, 0] - end_RT[:, 0], top_R - partition_R",
        "top_R - partition_R, top_R - partition_R",
        ("tests/applications/reading/test_span.py",),
    ),
    Break(
        "reading by spans: an answer may begin in the question",
        "nlptasks/applications/reading/span.py",
        "ops.logical_and(inside_RT[:, :, None], inside_RT[:, None, :])",
        "ops.logical_or(inside_RT[:, :, None], inside_RT[:, None, :])",
        ("tests/applications/reading/test_span.py",),
    ),
    Break(
        "reading by spans: one occurrence of an answer counts",
        "nlptasks/applications/reading/span_samples.py",
        "counted[r, : len(spans)] = True",
        "counted[r, 0] = True",
        ("tests/applications/reading/test_span.py",),
    ),
    # pretraining
    Break(
        "pretraining: a whole word is not masked as one",
        "nlptasks/pretraining/objectives.py",
        "words = np.cumsum(row.word_starts | ~ordinary)",
        "words = np.arange(len(row.token_ids))",
        ("tests/pretraining/test_objectives.py",),
        "jax",
    ),
    Break(
        "pretraining: a flipped bit of a checkpoint passes",
        "nlptasks/pretraining/checkpoints.py",
        'if _digest(path) != entry["sha256"]:',
        'if _digest(path) == "":',
        ("tests/pretraining/test_checkpoints.py",),
        "jax",
    ),
    Break(
        "pretraining: starts of words are lost in the shards",
        "nlptasks/pretraining/shards.py",
        "flags & WORD_START != 0, flags",
        "flags & DOCUMENT_START != 0, flags",
        ("tests/pretraining/test_shards.py",),
        "jax",
    ),
    Break(
        "the probability of a word left out of the proposals",
        "nlptasks/rewriting/sampler.py",
        "- (filled.log_word if kind != DELETE else 0.0)",
        "- 0.0",
        ("tests/rewriting/test_sampler.py",),
    ),
    Break(
        "as many places to insert a word as words",
        "nlptasks/rewriting/moves.py",
        "return length + 1 if length < self.most else 0",
        "return max(length, 1) if length < self.most else 0",
        ("tests/rewriting/test_sampler.py",),
    ),
    Break(
        "a resumed training of vectors that draws other random words",
        "nlptasks/discovery/spherical.py",
        '        self._random.bit_generator.state = told["random"]\n',
        "",
        ("tests/discovery/test_spherical.py",),
    ),
    Break(
        "old scripts on JAX: a decoder reads the padding behind its last token",
        "nlptasks/bert4keras/widening.py",
        "(rows + missing, 1), width - 1,",
        "(rows + missing, 1), width + more - 1,",
        ("tests/bert4keras/test_widening.py",),
        "jax",
    ),
    Break(
        "old scripts on JAX: rows that only fill an array stay in the answer",
        "nlptasks/bert4keras/widening.py",
        "else found[:rows]",
        "else found",
        ("tests/bert4keras/test_widening.py",),
        "jax",
    ),
    Break(
        "a training that is over keeps its graph, and with it its weights",
        "nlptasks/backend/tensorflow.py",
        "weakref.finalize(program, _forget, names)",
        "names.clear()",
        ("tests/backend/test_programs.py",),
    ),
    Break(
        "a program takes the gradients of another thread along",
        "nlptasks/backend/tensorflow.py",
        "        with _tracing:\n",
        "        if True:\n",
        ("tests/backend/test_programs.py",),
    ),
    Break(
        "a step along the sphere that is as long in every direction",
        "nlptasks/train/toolbox/spheres.py",
        "rate * (1.0 + along / ops.maximum(length, SMALLEST)) *",
        "rate *",
        ("tests/train/toolbox/test_spheres.py",),
    ),
    Break(
        "a training on Keras that counts what only fills a batch",
        "nlptasks/discovery/spherical_keras.py",
        'self._model(batch) * batch["real"]',
        "self._model(batch)",
        ("tests/discovery/test_spherical_keras.py",),
    ),
    # flows, calibrations, latent text
    Break(
        "flow: an affine coupling forgets its volume",
        "nlptasks/generative/couplings.py",
        "return x_BD * ops.exp(log_scale_BD) + shift_BD, ops.sum(log_scale_BD, axis=-1)",
        "return x_BD * ops.exp(log_scale_BD) + shift_BD, 0 * ops.sum(log_scale_BD, axis=-1)",
        ("tests/generative/test_flows.py",),
    ),
    Break(
        "flow: roulette does not weigh what it stops",
        "nlptasks/generative/residual.py",
        '(1 - stop) ** -step_K1.astype("float64"), 0.0)',
        '(1 - stop) ** -(0 * step_K1).astype("float64"), 0.0)',
        ("tests/generative/test_flows.py",),
    ),
    Break(
        "calibration: whitening forgets the mean",
        "nlptasks/applications/similarity/calibration.py",
        '"offset": -mean_D @ kernel_DK',
        '"offset": 0 * mean_D @ kernel_DK',
        ("tests/applications/similarity/test_calibration.py",),
    ),
    Break(
        "calibration: what is scored is learnt from",
        "nlptasks/applications/similarity/calibration_commands.py",
        "texts = [sentence for sentence in given if sentence not in left_out]",
        "texts = list(given)",
        ("tests/applications/similarity/test_calibration.py",),
    ),
    Break(
        "latent: no free bits",
        "nlptasks/applications/latent/network.py",
        "return count * ops.sum(ops.maximum(kl_Z, free_bits))",
        "return count * ops.sum(ops.maximum(kl_Z, 0 * free_bits))",
        ("tests/applications/latent/test_latent.py",),
    ),
)


def broken(source: str, fault: Break) -> str:
    """The source with the fault.

    Raises:
        ValueError: the text to replace does not stand in it exactly once, or the fault changes nothing.
    """
    count = source.count(fault.old)
    if count != 1 or fault.new == fault.old:
        raise ValueError(f"{fault.name}: {fault.old!r} stands {count} times in {fault.file}; expected once, changed.")
    return source.replace(fault.old, fault.new)


def copy_tree(target: Path) -> None:
    """Every file of the working tree that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def first_failure(tree: Path, backend: str, tests: tuple[str, ...]) -> str | None:
    """The first test that fails in a tree, "(collection)" where they cannot even begin; None: all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "-rfE", *tests]
    command += ["--ignore", "tests/test_breaks.py"]  # it fails for every break, since the text is gone
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "jax_programs")}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, encoding="utf-8", check=False)
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+?\.py(?:::\w+)?)", done.stdout, re.MULTILINE)
    if done.returncode != 1 or not found:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return found[1]


def show(*columns: object) -> None:
    print(f"{columns[0]!s:78} {columns[1]!s:24} {columns[2]}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Runs the breaks; returns the status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only breaks with one of these words in their names")
    parser.add_argument("--quick-only", action="store_true", help="leave the tests named for a break out")
    given = parser.parse_args(arguments)
    chosen = [fault for fault in BREAKS if not given.words or any(word in fault.name for word in given.words)]
    caught = by_quick = 0
    show("break", "caught by make quick?", "caught by")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_tree(tree)
        for fault in chosen:
            path = tree / fault.file
            whole = path.read_text(encoding="utf-8")
            path.write_text(broken(whole, fault), encoding="utf-8")
            test = None if given.quick_only else first_failure(tree, fault.backend, fault.tests)
            quick = first_failure(tree, fault.backend, QUICK[fault.backend])
            path.write_text(whole, encoding="utf-8")
            caught, by_quick = caught + bool(test or quick), by_quick + bool(quick)
            show(fault.name, "yes" if quick else "no", test or quick or "NOTHING")
    print(f"{len(chosen)} breaks, {caught} caught, {by_quick} by make quick")
    return int(caught < len(chosen) or by_quick < min(QUICK_AT_LEAST, len(chosen)))


if __name__ == "__main__":
    sys.exit(main())
