"""Makes the golden file of beam search with bert4keras' own `AutoRegressiveDecoder` on tables.

In bert4keras' environment (see make_bert4keras_golden.py), in this folder:

    TF_KERAS=1 python make_search_golden.py bert4keras
"""

import json
import os
import sys
from pathlib import Path

os.environ["TF_KERAS"] = "1"
import numpy as np
from bert4keras.snippets import AutoRegressiveDecoder
from search_cases import CASES, END, MOST, TABLES, child, table


class Decoder(AutoRegressiveDecoder):
    """Reads the next token's logits from a table."""

    @AutoRegressiveDecoder.wraps(default_rtype="logits")
    def predict(self, inputs, output_ids, states):
        rows = []
        for ids in output_ids:
            node = 0
            for token in ids:
                node = child(node, int(token))
            rows.append(self.table[node])
        return np.array(rows)

    def score(self, ids, temperature):
        """The sum that `beam_search` compares."""
        total = 0.0
        for step in range(len(ids)):
            scores, _ = self.predict(None, [ids[:step]], None, temperature, "logits")
            total += scores[0, ids[step]]
        return float(total)


def main(folder):
    found = []
    for case in CASES:
        decoder = Decoder(start_id=None, end_id=END, maxlen=MOST, minlen=case["minlen"])
        for seed in range(TABLES):
            decoder.table = table(seed)
            arguments = {key: case[key] for key in ("topk", "min_ends", "temperature")}
            ids = decoder.beam_search([np.array([0])], **arguments)
            found.append({"ids": ids.tolist(), "score": decoder.score(ids, case["temperature"])})
    (folder / "search.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
