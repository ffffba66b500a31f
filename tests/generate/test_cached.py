import numpy as np, keras, pytest
from keras import ops
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.generate.cached import CachedDecoder
from tests.parity import randomised, distance

@pytest.mark.parametrize("kind", ["unilm", "causal"])
def test_cached(kind):
    cfg = TransformerConfig(vocab_size=101, hidden_size=24, num_layers=2, num_heads=3, ffn_size=37, max_positions=40, key_size=5, value_size=7, attention=kind)
    m = Transformer(cfg, with_mlm="linear"); m.build(); randomised(m)
    rng = np.random.default_rng(0)
    T, A = 11, 6
    lengths = [11, 7, 3, 9]
    prefix = rng.integers(1, 101, (4, T)).astype("int32")
    for r, n in enumerate(lengths): prefix[r, n:] = 0
    d = CachedDecoder(m)
    logits, state = d.start(prefix, np.zeros_like(prefix), A)
    gen = np.zeros((4, 0), "int32"); src = np.arange(4)
    for t in range(A):
        for r in range(4):
            n = lengths[src[r]]
            ids = np.concatenate([prefix[src[r], :n], gen[r]])[None]
            seg = np.concatenate([np.zeros(n), np.ones(t)])[None].astype("int32")
            ref = ops.convert_to_numpy(m([ids, seg]))[0, -1]
            assert distance(ops.convert_to_numpy(logits)[r], ref) < 1e-5
        tok = rng.integers(1, 101, 4).astype("int32"); parents = rng.integers(0, 4, 4)
        src = src[parents]; gen = np.concatenate([gen[parents], tok[:, None]], 1)
        logits, state = d.step(tok, state, parents)
