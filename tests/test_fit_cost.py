"""`timecost fit-cost`: what it fits, writes and refuses. How well it fits is for the machine to say."""

import json

import numpy as np
import pytest

from timecost.cli import main
from timecost.cost import load_cost_model
from timecost.fit_cost import HELD_OUT, fit_seconds, quiet_seconds

PAIRS = np.array([(p, d) for p in (8, 32, 96) for d in (16, 32, 64, 128)])


def seconds_of(a, b, c, d):
    prompt, decoded = PAIRS.T.astype(float)
    return a + b * prompt + c * decoded + d * decoded * (prompt + decoded / 2)


def test_known_coefficients_come_back():
    np.testing.assert_allclose(
        fit_seconds(PAIRS, seconds_of(0.05, 1e-4, 3e-3, 1e-6)), [0.05, 1e-4, 3e-3, 1e-6], rtol=1e-6
    )


def test_a_busy_machine_is_taken_off():
    """Rounds up to twice as slow, one measurement in ten three times as slow: the quietest round comes back."""
    rng, truth = np.random.default_rng(0), seconds_of(0.05, 1e-4, 3e-3, 1e-6)
    slowness = np.r_[1.0, rng.uniform(1.1, 2, 14)][:, None]
    rounds = truth * slowness * np.where(rng.random((15, len(PAIRS))) < 0.1, 3, 1)
    np.testing.assert_allclose(quiet_seconds(rounds), truth, rtol=1e-6)
    np.testing.assert_allclose(quiet_seconds(truth[None]), truth)


def test_no_coefficient_is_negative():
    noise = 1 + 0.05 * np.random.default_rng(0).standard_normal(len(PAIRS))
    found = fit_seconds(PAIRS, seconds_of(0.05, 0, 3e-3, 0) * noise)
    assert (found >= 0).all() and found[2] == pytest.approx(3e-3, rel=0.1)


@pytest.mark.slow
def test_the_command_writes_a_cost_model(tiny_arithmetic, tmp_path, capsys):
    path = tmp_path / "out" / "cost.json"
    options = ["--output_path", str(path), "--context", "64", "--max_seconds", "0.1", "--batch-size", "2"]
    assert main(["fit-cost", "--model_name_or_path", tiny_arithmetic, *options]) == 0
    content = json.loads(path.read_text())
    assert content["hardware"] and content["rounds"] >= 1 and len(content["held_out"]) == len(HELD_OUT)
    model = load_cost_model(str(path))
    assert (model.unit, model.batch_size) == ("seconds", 2) and model.r_squared == content["r_squared"]
    assert model(10, 100, 3) > model(10, 10, 3) > 0
    row = content["held_out"][0]
    assert model(row["prompt"], row["decoded"], 0) == pytest.approx(row["predicted"])
    assert "R²" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [("--batch_size 0", "must be at least 1"), ("--output_path cost.txt", "must end in .json"),
     ("--context 100000", "must lie between 64 and the model's 256"), ("--contxt 5", "did you mean '--context'")],
)  # fmt: skip
def test_what_is_refused(tiny_arithmetic, tmp_path, capsys, options, message):
    assert main(["fit-cost", "--model_name_or_path", tiny_arithmetic, *options.split()]) == 2
    assert message in capsys.readouterr().err
