"""The demo's parts with stand-ins for its child processes, and once in full with two steps of training."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import finish

from timecost import demo
from timecost.errors import UserError
from timecost.tasks import resolve_model

TRAIN_LOG = """timecost train: importing torch and TRL ...
{'loss': '0.1', 'timecost/accuracy': '0.5', 'timecost/tokens': '20', 'epoch': '0.1'}
{'eval_loss': '0.1', 'eval_timecost/accuracy': '0.9', 'eval_timecost/tokens': '99'}
{'loss': 0.2, 'timecost/accuracy': 0.7, 'timecost/tokens': 30.0, 'epoch': 0.2}
"""


def sleeper(monkeypatch, code):
    """Replace the child processes by Python code, in which `label` is the command's first argument."""

    def start(arguments, log):
        with open(log, "wb") as file:
            command = [sys.executable, "-c", f"label = {arguments[0]!r}\n{code}"]
            return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)

    monkeypatch.setattr(demo, "start", start)


def test_read_log_counts_steps_and_averages_the_last_ten():
    assert demo.read_log("") == (0, None, None)
    assert demo.read_log(TRAIN_LOG) == (2, pytest.approx(0.6), pytest.approx(25))
    step, accuracy, _ = demo.read_log(TRAIN_LOG + TRAIN_LOG.splitlines()[3] * 10)
    assert (step, accuracy) == (12, pytest.approx(0.7))


def test_all_commands_run_and_plain_lines_say_how_far(monkeypatch, tmp_path, capfd):
    sleeper(monkeypatch, f"print({TRAIN_LOG!r})")
    demo.run_all({"accuracy": ["a"], "levin": ["b"], "third": ["c"]}, tmp_path, "train", steps=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"train_{x}.log" for x in ("accuracy", "levin", "third")
    ]
    said = capfd.readouterr().err
    assert "train levin: step 2 of 2, accuracy 0.600" in said and "train third: done" in said


def test_a_failing_arm_is_one_line_that_names_its_log_and_ends_the_other(monkeypatch, tmp_path):
    sleeper(monkeypatch, "import sys, time\nif label == 'bad':\n    sys.exit('error: no such task\\n')\ntime.sleep(60)")
    started = []
    start = demo.start
    monkeypatch.setattr(demo, "start", lambda *args: started.append(start(*args)) or started[-1])
    with pytest.raises(UserError, match="train levin failed with exit code 1, see .*train_levin.log: error: no such"):
        demo.run_all({"accuracy": ["good"], "levin": ["bad"]}, tmp_path, "train", steps=2)
    assert started[0].poll() == -signal.SIGTERM


def test_ctrl_c_ends_the_children(monkeypatch, tmp_path):
    sleeper(monkeypatch, "import time\ntime.sleep(60)")
    started = []
    start = demo.start
    monkeypatch.setattr(demo, "start", lambda *args: started.append(start(*args)) or started[-1])

    def interrupt(seconds):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        demo.run_all({"accuracy": ["a"], "levin": ["b"]}, tmp_path, "train", steps=2)
    assert [process.poll() for process in started] == [-signal.SIGTERM] * 2


def test_prepare_clears_an_earlier_demo_and_nothing_else(tmp_path):
    out = demo.prepare(tmp_path / "demo")
    for name in ("results.json", "levin/model.safetensors", "logs/train_levin.log", "notes.txt"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).touch()
    demo.prepare(out)
    assert sorted(path.name for path in out.iterdir()) == ["logs", "notes.txt"]
    (tmp_path / "work" / "levin").mkdir(parents=True)
    with pytest.raises(UserError, match="no earlier demo wrote it"):
        demo.prepare(tmp_path / "work")
    assert (tmp_path / "work" / "levin").is_dir()


def test_wrong_options_are_one_line(tmp_path):
    for options, message in (
        (["--steps", "0"], "steps is 0"),
        (["--model_name_or_path", str(tmp_path)], "no config.json"),
        (["--stepz", "1"], "did you mean '--steps'"),
        (["--backbone", "bmojo", "--model_name_or_path", str(tmp_path)], "not allowed with argument --backbone"),
        (["--backbone", "mamba"], "invalid choice: 'mamba'"),
    ):
        with pytest.raises(UserError, match=message):
            demo.run(["--out", str(tmp_path / "out"), *options])


@pytest.mark.parametrize("backbone", demo.BACKBONES)
def test_a_backbone_is_a_packaged_model(monkeypatch, tmp_path, backbone):
    given = []
    monkeypatch.setattr(demo, "demo", lambda **options: given.append(options["model_name_or_path"]) or [])
    monkeypatch.setattr(demo, "one_problem", lambda out: "")
    demo.run(["--out", str(tmp_path), "--backbone", backbone])
    folder = resolve_model(given[0])
    assert json.loads((Path(folder) / "config.json").read_text())["model_type"] == backbone


def test_table_leaves_the_reference_without_a_comparison():
    record = {
        "accuracy": 0.9, "tokens_mean": 20.0, "reference": "accuracy", "tokens_ratio": 0.5, "speedup_bits": 1.0,
        "budget": "inf",
    }  # fmt: skip
    lines = demo.table([{**record, "model": "accuracy"}, {**record, "model": "levin"}]).splitlines()
    assert lines[1].split() == ["accuracy", "90.0", "%", "20.0"]
    assert lines[2].split() == ["levin", "90.0", "%", "20.0", "0.50", "+1.00"]
    assert demo.table([{**record, "model": "budget", "budget": "8"}]).splitlines()[1].startswith("budget 8 ")


def test_one_problem_at_four_budgets_is_one_that_more_thinking_helps(tmp_path):
    rows = [
        {"model": "budget", "task": "arithmetic", "budget": budget, "problem": problem, "sample": 0,
         "prompt": f"p{problem}=", "answer": "3", "thinking_tokens": 5, "completion": f"c{budget}",
         "status": "correct" if problem == 0 or budget == "64" else "incorrect"}
        for problem in (0, 1) for budget in demo.SHOWN
    ]  # fmt: skip
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = demo.one_problem(tmp_path).splitlines()
    assert lines[0] == "One problem at 4 budgets: p1=   (answer 3)"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["8:", "wrong,"], ["16:", "wrong,"], ["32:", "wrong,"], ["64:", "right,"]
    ]  # fmt: skip


@pytest.mark.slow
def test_demo_in_two_steps(tiny_arithmetic, tmp_path):
    command = [
        sys.executable,
        "-m",
        "timecost.cli",
        "demo",
        "--steps",
        "2",
        "--num-problems",
        "18",
        "--num-samples",
        "2",
    ]
    command += ["--model_name_or_path", tiny_arithmetic, "--out", str(tmp_path / "demo")]
    done = finish(command, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    first = [line.split()[0] for line in done.stdout.splitlines()[:10]]
    assert first == ["model", "base", "accuracy", "levin", *["budget"] * 5, "One"]
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {*demo.WRITTEN, *demo.ARMS, "logs"} == written | {"value.json"}  # what no model can read back is not probed
    assert "train levin: step 2 of 2" in done.stderr
