"""Pretraining shards from raw text: tokens with word and document starts, packed into rows, in ArrayRecord files.

    nlptasks pretraining shards --input corpus/*.txt --vocab vocab.txt --output runs/shards --seq-length 512

The corpus is written once: masks are drawn when a row is read. The shards do not depend on --processes; run the same
command again to continue an interrupted run. See pretraining/README.md.
"""

import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nlptasks.console import padded, progress_bar, say
from nlptasks.errors import told
from nlptasks.pretraining.workers import run_all, usable_cores
from nlptasks.train.options import Options, TextFiles, require_at_least, require_positive
from nlptasks.train.progress import on_terminal

if TYPE_CHECKING:
    from nlptasks.pretraining.making import ShardMaker

JIEBA, LOCAL = "jieba", "local"
SUMMARY = {
    "documents": "({empty_documents:,} without a token)",
    "sentences": "",
    "tokens": "({unknown_rate:.4%} unknown)",
    "rows": "of {seq_length} tokens, {fill:.1%} filled",
    "split_sentences": "({split_sentence_rate:.4%} of the sentences; {split_words:,} split words)",
    "shards": "({megabytes:,.1f} MB, {made:,} made now)",
    "seconds": "",
}
"""what is counted, and what is said behind it"""


@dataclass(kw_only=True)
class MakeShards(Options, TextFiles):
    """Make shards."""

    input: tuple[str, ...]
    """files and globs of the corpus: text or JSON lines, plain or gzip"""
    vocab: Path
    """the vocabulary: a vocab.txt, or a folder with one"""
    output: Path
    """folder to write"""
    seq_length: int = 512
    """the most tokens of a row, counting [CLS] and [SEP]"""
    segmenter: str = JIEBA
    """what finds the words to mask as a whole: jieba; fcn, this package's segmenter; none, every character is a word"""
    user_dict: Path | None = None
    """with fcn: dictionary of words to prefer or avoid, as `nlptasks segment` takes it and `nlptasks discover` writes
    it"""
    format: str = "auto"
    """format of the files: text, jsonl (one JSON object per line), or auto: by the file names"""
    documents: str = "line"
    """text files: a document is a line (line), or the lines between blank lines (blank-line)"""
    field: str = "text"
    """JSON lines: key of the text"""
    isolate_documents: bool = False
    """record that training shall hide the documents of a row from each other"""
    cased: bool = False
    """with a vocab.txt: keep upper case and accents"""
    shard_megabytes: float = 64
    """about how many megabytes of text go into a shard; a gzip file is never split"""
    processes: int | None = None
    """number of processes; default: one per core"""
    overwrite: bool = False
    """replace the shards in the folder"""
    json: bool = False
    """print one JSON object at the end instead of readable lines"""
    runner: str = LOCAL
    """local, or a runner of Apache Beam: DirectRunner, DataflowRunner, SparkRunner, FlinkRunner, ..."""
    beam_option: tuple[str, ...] = ()
    """further options for Beam, each as name=value"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "processes")
        require_positive(self, "shard_megabytes")

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return ("array_record", *["jieba"] * (self.segmenter == JIEBA), *["apache_beam"] * (self.runner != LOCAL))

    def run(self) -> None:
        """Makes the missing shards, and prints what the folder holds."""
        from nlptasks.applications.options import require_input
        from nlptasks.applications.segmentation.dictionary import UserDictionary
        from nlptasks.pretraining.making import ShardMaker, ShardOptions, open_tokenizer

        if self.user_dict is not None:
            require_input(self.user_dict)
            UserDictionary.from_file(self.user_dict)  # what is wrong with it shows before anything is made
        options = ShardOptions(
            seq_length=self.seq_length,
            segmenter=self.segmenter,
            format=self.format,
            documents=self.documents,
            field=self.field,
            encoding=self.encoding,
            user_dict=None if self.user_dict is None else str(self.user_dict),
            isolate_documents=self.isolate_documents,
            shard_bytes=round(self.shard_megabytes * 1e6),
        )
        start = time.perf_counter()
        maker = ShardMaker(self.input, open_tokenizer(self.vocab, not self.cased), self.output, options)
        todo = maker.start(self.overwrite)
        if len(todo) < len(maker.units):
            say(f"{self.output}: {len(maker.units) - len(todo)} of {len(maker.units)} shards are there already")
        try:
            if self.runner == LOCAL:
                self._make(maker, todo)
            else:
                from nlptasks.pretraining.beam import make_with_beam

                make_with_beam(maker, todo, self.runner, self.beam_option)
            meta = maker.finish()
        except ChildProcessError:
            raise  # the same command goes on
        except (ValueError, OSError):
            maker.give_up()
            raise
        self._summarize(meta, time.perf_counter() - start, len(todo))

    def _make(self, maker: "ShardMaker", todo: list[int]) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process for each core is enough
        processes = self.processes or usable_cores()
        done = len(maker.units) - len(todo)
        former = signal.signal(signal.SIGTERM, signal.default_int_handler)
        shown: dict[str, Any] = {"unit": " " + told("tokens"), "unit_scale": True, "mininterval": 0.5}
        with tqdm(desc=told("tokens"), file=sys.stderr, disable=not on_terminal(), **shown) as bar:
            bar.set_postfix_str(told("shards {done}/{all}", done=done, all=len(maker.units)))
            try:
                with contextlib.closing(run_all(maker, todo, processes, bar.update)) as results:
                    for _ in (
                        results if on_terminal() else progress_bar(results, told("shards"), len(maker.units), done)
                    ):
                        done += 1
                        bar.set_postfix_str(told("shards {done}/{all}", done=done, all=len(maker.units)))
            except KeyboardInterrupt:
                say(f"{self.output}: {done} of {len(maker.units)} shards are finished; the same command goes on.")
                raise
            finally:
                signal.signal(signal.SIGTERM, former)
                maker.remove_temporary_files()

    def _summarize(self, meta: dict[str, Any], seconds: float, made: int) -> None:
        counts = meta["counts"]
        tokens, rows = counts["tokens"], counts["rows"]
        rates = {
            "unknown_rate": counts["unknown_tokens"] / tokens,
            "split_sentence_rate": counts["split_sentences"] / counts["sentences"],
            "fill": tokens / (rows * (meta["seq_length"] - 2)),
            "seconds": round(seconds, 2),
        }
        shards, total = len(meta["shards"]), sum(shard["bytes"] for shard in meta["shards"])
        if self.json:
            print(json.dumps(counts | rates | {"shards": shards, "shards_made": made, "bytes": total}))
            return
        values = counts | rates | {"seq_length": meta["seq_length"], "megabytes": total / 1e6, "made": made}
        numbers = counts | {"rows": rows, "shards": shards, "seconds": round(seconds, 1)}
        for name, more in SUMMARY.items():
            print(f"{padded(told(name), 17)}{numbers[name]:>15,}  {told(more, **values)}".rstrip())
        print(told("{output}: ready for pretraining", output=self.output))
