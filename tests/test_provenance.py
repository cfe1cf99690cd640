import subprocess
import sys
from pathlib import Path

import pytest

from timecost.provenance import command_line, commit, provenance

ROOT = Path(__file__).parents[1]


def test_provenance_names_versions_machine_command_and_date():
    found = provenance()
    assert {"python", "torch", "transformers", "numpy"} <= set(found["versions"])
    assert found["machine"]["cpus"] >= 1
    assert found["command"] and found["date"].endswith("+00:00")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["/usr/bin/timecost", "train", "--task", "my task"], "timecost train --task 'my task'"),
        (["/somewhere/timecost/cli.py", "train"], "timecost train"),
        ([str(ROOT / "scripts" / "measure.py"), "--jobs", "2"], "python scripts/measure.py --jobs 2"),
        (["/somewhere/measure.py"], "python measure.py"),
        (["/usr/bin/pytest", "-q"], "pytest -q"),
    ],
)
def test_the_command_is_what_one_would_type_in_the_checkout(argv, told, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    assert command_line() == told


def test_the_commit_says_whether_code_differs_but_not_documents():
    def git(*args):
        command = ["git", "-C", str(ROOT), *args]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    if not git("ls-files", "timecost/provenance.py"):
        pytest.skip("not a checkout")
    changed = bool(git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs"))
    assert commit() == git("rev-parse", "HEAD") + "+" * changed
