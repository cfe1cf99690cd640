"""A question unlike those of the fit gets a small p-value, one like them any."""

import pytest
import torch

from timecost.value.novelty import Novelty, fit_novelty, question_features


def questions(num: int, seed: int) -> torch.Tensor:
    """Features that vary a lot in one direction, little in another, and not at all in the third."""
    drawn = torch.randn(num, 3, generator=torch.Generator().manual_seed(seed))
    return drawn * torch.tensor([10.0, 1.0, 0.0])


@pytest.fixture(scope="module")
def fitted() -> Novelty:
    return fit_novelty(questions(8000, 0), torch.arange(8000) < 4000)


def test_a_distance_is_measured_in_what_questions_vary(fitted):
    far, near = fitted.distance(torch.tensor([[0.0, 10.0, 0.0], [10.0, 0.0, 0.0]]) + fitted.mean)
    assert near == pytest.approx(1, rel=0.1) and far == pytest.approx(100, rel=0.1)


def test_usual_questions_are_novel_as_often_as_is_said_and_new_ones_always(fitted):
    fresh = fitted.p_value(questions(20000, 1))
    for share in (0.01, 0.1):
        assert float((fresh <= share).float().mean()) == pytest.approx(share, rel=0.5)
    assert float(fitted.p_value(torch.tensor([[0.0, 0.0, 1.0]]) + fitted.mean)) == pytest.approx(1 / 4001)


def test_directions_beyond_the_largest_share_a_variance(monkeypatch):
    monkeypatch.setattr("timecost.value.novelty.MAX_DIRECTIONS", 1)
    cut = fit_novelty(questions(4000, 0), torch.arange(4000) < 1000)
    assert cut.directions.shape == (1, 3)
    assert cut.distance(torch.tensor([[10.0, 0.0, 0.0]]) + cut.mean) == pytest.approx(1, rel=0.1)
    assert cut.distance(torch.tensor([[0.0, 0.0, 1.0]]) + cut.mean) == pytest.approx(1 / (1e-3 * 101 / 3), rel=0.1)


def test_a_question_is_the_mean_of_its_tokens(tiny_arithmetic):
    from timecost.loading import load_model_to_use

    model, _ = load_model_to_use(tiny_arithmetic)
    weight = model.get_input_embeddings().weight
    found = question_features(model, [[5, 7], [9]])
    torch.testing.assert_close(found, torch.stack([(weight[5] + weight[7]) / 2, weight[9]]).detach())
