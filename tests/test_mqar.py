"""The recall task of scripts/mqar.py, and what its measurements say about a model whose sets are known."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from timecost.models.bmojo.memory import kept_positions

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from mqar import (  # noqa: E402
    Setting,
    builders,
    held_share,
    matched,
    mixing_parameters,
    mqar,
    train,
)

SETTING = Setting(40, 4, vocabulary=32, window=4, eidetic_size=8, width=16, steps=2, batch_size=2)


@pytest.mark.parametrize("filler", ["constant", "random"])
def test_each_key_returns_once_and_its_value_is_the_label(filler):
    inputs, labels = mqar(replace(SETTING, filler=filler), 5, torch.Generator().manual_seed(0))
    for row, wanted in zip(inputs.tolist(), labels.tolist(), strict=True):
        pairs = dict(zip(row[:8:2], row[1:8:2], strict=True))
        assert len(pairs) == 4 and max(pairs) < 16 <= min(pairs.values())
        asked = [t for t, label in enumerate(wanted) if label != -100]
        assert sorted(row[t] for t in asked) == sorted(pairs) and min(asked) >= 8
        assert all(t % 2 == 0 and wanted[t] == pairs[row[t]] for t in asked)
        others = [token for t, token in enumerate(row[8:], 8) if t not in asked]
        assert set(others) == {0} if filler == "constant" else 0 not in others


def test_the_distances_of_queries_are_the_law_s():
    near = {}
    for gaps in ("power", "uniform"):
        _, labels = mqar(replace(SETTING, gaps=gaps), 200, torch.Generator().manual_seed(0))
        near[gaps] = (labels[:, 8:16] != -100).double().sum(1).mean()
    assert near["uniform"] < 1.3 < 1.8 < near["power"]


@torch.no_grad()
def test_what_is_held_is_what_the_policies_keep():
    build = builders(SETTING)
    inputs, _ = mqar(SETTING, 3, torch.Generator().manual_seed(0))
    first = kept_positions(build["first"](16), inputs)
    assert first[0, 0, 0].eq(-1).all() and first[0, 0, 1].tolist() == [0, 1, 2, 3, -1, -1, -1, -1]
    assert first[0, 0, 9].tolist() == list(range(8))
    assert kept_positions(build["recency"](16), inputs)[0, 0, 9].tolist() == list(range(28, 36))
    assert held_share(build["first"](16), SETTING, seed=0)["held"] == [1.0]
    late = replace(SETTING, gaps="uniform")
    shares = held_share(build["recency"](16), late, seed=0)
    assert shares["held"][0] < 0.5
    assert shares["window"] + shares["beyond"] == pytest.approx(1)


def test_models_of_every_kind_train_with_about_the_same_parameters():
    build = builders(SETTING)
    budget = mixing_parameters(build["bmojo"](32))
    for name in build:
        torch.manual_seed(0)
        model, _ = matched(build[name], budget)
        assert mixing_parameters(model) == pytest.approx(budget, rel=0.5)
        assert 0 <= train(model, SETTING, 1e-3, seed=0)["accuracy"] <= 1
