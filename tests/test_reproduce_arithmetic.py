"""Making the runs that the results are about."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import reproduce_arithmetic as reproduce  # noqa: E402


def test_runs_of_one_folder_are_never_made_at_once(tmp_path, monkeypatch):
    """The sets main, forms and baseline hold levin-0: evaluated on other problems, trained once."""
    active, made = [], []

    def make(run, folder):
        assert run.name not in active
        active.append(run.name)
        time.sleep(0.01)
        active.remove(run.name)
        made.append(run)

    monkeypatch.setattr(reproduce, "make", make)
    sets = reproduce.plan()
    runs = [run for name in ("main", "forms", "baseline") for run in sets[name]]
    reproduce.make_all(runs, tmp_path, jobs=len(runs))
    assert sorted(map(repr, made)) == sorted(map(repr, runs))
    assert [next(iter(run.splits)) for run in made if run.name == "levin-0"] == ["test", "validation", "test"]
