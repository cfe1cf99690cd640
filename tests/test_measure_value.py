"""The measurements of the value head at a size that says nothing about it: they run, keep samples, and add parts."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SIZES = {"fit": 200, "tune": 40, "test": 40, "samples": 2, "guarantee": 60}


@pytest.mark.slow
def test_samples_are_kept_and_parts_are_added(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    measure_value = importlib.import_module("measure_value")

    def measure(*parts: str) -> dict:
        flags = [text for name, size in SIZES.items() for text in (f"--{name}", str(size))]
        out = tmp_path / "value.json"
        command = ["measure_value.py", "--models", "base=arithmetic_base", "--parts", *parts, *flags]
        monkeypatch.setattr("sys.argv", [*command, "--cache", str(tmp_path), "--output_path", str(out)])
        measure_value.main()
        return json.loads(out.read_text())["models"]["base"]

    first = measure("calibration", "utility")
    brier = first["calibration"]["horizons"]["0"]["brier"]
    assert brier["head"] < brier["length only"], "the states say more than the position"
    assert [row["price"] for row in first["utility"]["rows"]] == pytest.approx(measure_value.PRICES, abs=5e-5)
    assert "boundaries of" in capsys.readouterr().out
    second = measure("calibration", "guarantee")
    assert second["calibration"] == first["calibration"] and second["utility"] == first["utility"]
    assert second["guarantee"]["num_sets"] == 200 and set(second["provenance"]) == {
        "calibration",
        "utility",
        "guarantee",
    }
    told = capsys.readouterr().out
    assert "guarantee-cal" in told and "fit-0" not in told, "only what is new is sampled"
