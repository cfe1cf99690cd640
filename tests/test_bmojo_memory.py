import torch
from bmojo_models import tiny, tokens

from timecost.models.bmojo.memory import kept_positions, stays


def test_what_stays_says_the_same_as_the_sets():
    model, ids = tiny(), tokens(1, 30)
    kept = kept_positions(model, ids)[:, 0]
    assert kept.shape == (2, 8, 3) and kept[:, 0].eq(-1).all()
    for layer, held in zip(kept, stays(kept), strict=True):
        assert len(held) > 3, "some were pushed out"
        for chunk in range(8):
            there = [at for at, until in held if at // 4 < chunk < until]
            assert there == sorted(at for at in layer[chunk].tolist() if at >= 0)


def test_sets_are_those_of_the_cache():
    model, ids = tiny(), tokens(2, 24)
    with torch.no_grad():
        cache = model(ids[:, :20], use_cache=True).past_key_values
    at_20 = torch.stack([layer.tensors["eidetic_position"] for layer in cache.layers])
    assert torch.equal(kept_positions(model, ids)[:, :, 5], at_20)
