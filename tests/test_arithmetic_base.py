"""The embedded base: undecided among its styles, with a saving to find. The fixture says how it was measured."""

import json
from pathlib import Path

import pytest

from timecost.evaluation.evaluate import evaluate
from timecost.evaluation.metrics import best_mixture
from timecost.tasks import resolve_model
from timecost.tasks.arithmetic import DIFFICULTIES, STYLES

CELLS = json.loads((Path(__file__).parent / "fixtures" / "arithmetic_base_styles.json").read_text())["styles"]


def test_it_fits_the_wheel():
    weights = Path(resolve_model("arithmetic_base")) / "model.safetensors"
    assert weights.stat().st_size <= 4 * 2**20


def test_every_style_is_used_on_every_difficulty():
    assert set(CELLS) == {str(difficulty) for difficulty in DIFFICULTIES}
    for cell in CELLS.values():
        assert all(cell[style]["share"] >= 0.10 for style in STYLES)


def test_there_is_a_saving_to_find():
    """The best choice of style per difficulty loses at most a point against the best style used everywhere, and takes
    at most 0.60 of its tokens."""

    def everywhere(style, name):
        return sum(cell[style][name] for cell in CELLS.values()) / len(CELLS)

    best = max(STYLES, key=lambda style: everywhere(style, "accuracy"))
    choices = best_mixture([{s: (cell[s]["tokens"], cell[s]["accuracy"]) for s in STYLES} for cell in CELLS.values()])
    tokens = min(tokens for tokens, accuracy in choices if accuracy >= everywhere(best, "accuracy") - 0.01)
    assert tokens <= 0.60 * everywhere(best, "tokens")


@pytest.mark.slow
def test_the_shipped_model_is_what_the_fixture_says():
    record = evaluate("arithmetic_base", "arithmetic", split="validation", num_problems=270, num_samples=8, seed=1)
    for style in STYLES:
        for name, tolerance in (("accuracy", 0.06), ("tokens_mean", 1.5)):
            cells = [record["by_style"][style][d]["usual"] for d in CELLS]
            mean = sum(cell[name] for cell in cells) / len(cells)
            assert mean == pytest.approx(
                sum(CELLS[d][style][name.removesuffix("_mean")] for d in CELLS) / 9, abs=tolerance
            )
    for difficulty, cell in CELLS.items():  # about 240 samples in a cell: four standard errors of a share of 0.3
        shares = record["by_difficulty"][difficulty]["styles"]
        for style in STYLES:
            assert shares[style] == pytest.approx(cell[style]["share"], abs=0.12)
