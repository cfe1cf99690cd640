"""The runner: the same samples however they are made, nothing lost by a kill, and one line for what cannot be."""

import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from processes import finish

from timecost import cli
from timecost.errors import UserError
from timecost.evaluation import runner
from timecost.evaluation.evaluate import evaluate, run
from timecost.evaluation.jobs import Settings, make_jobs
from timecost.evaluation.results import RESULTS, SAMPLES, read_results, read_samples
from timecost.tasks import TASKS, get_task
from timecost.tasks.arithmetic import ARITHMETIC

ARGV = ["--tasks", "arithmetic", "--num_problems", "18", "--num_samples", "3", "--batch_size", "8"]
ARGV += ["--max_completion_length", "24"]  # 54 samples, 7 batches


def evaluated(folder, model, *options):
    """Samples of a finished evaluation without the seconds that they took."""
    run(["--model_name_or_path", model, *ARGV, "--output_path", str(folder), "--label", "m", *options])
    return samples(folder)


def fail(error):
    def function(*args, **kwargs):
        raise error

    return function


def samples(folder):
    rows = read_samples(folder)
    for row in rows:
        assert row.pop("seconds") > 0
    return rows


@pytest.fixture(scope="module")
def whole(tiny_arithmetic, tmp_path_factory):
    """Samples of an evaluation in one go."""
    return evaluated(tmp_path_factory.mktemp("whole") / "results", tiny_arithmetic)


@pytest.fixture
def sampled(monkeypatch):
    """The number of batches that were sampled, as a list that grows."""
    counted, sample = [], runner.sample
    monkeypatch.setattr(runner, "sample", lambda *args: counted.append(1) or sample(*args))
    return counted


def test_a_sample_is_one_line_with_all_that_was_asked_for(whole):
    assert len(whole) == 54 and [(r["problem"], r["sample"]) for r in whole[:4]] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert {"budget", "enforce", "thinking_tokens", "answer_tokens", "stop_cause", "status"} <= whole[0].keys()
    assert {r["stop_cause"] for r in whole} == {"length", "natural"}
    assert all((r["stop_cause"] == "length") == (not r["finished"]) for r in whole)


def test_the_same_seed_gives_the_same_samples_and_another_gives_others(whole, tiny_arithmetic, tmp_path):
    assert evaluated(tmp_path / "again", tiny_arithmetic) == whole
    assert evaluated(tmp_path / "other", tiny_arithmetic, "--seed", "1") != whole


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_processes_give_the_samples_of_one(whole, tiny_arithmetic, tmp_path, monkeypatch, order, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for number, rank in enumerate(order):
        monkeypatch.setenv("RANK", str(rank))
        run(["--model_name_or_path", tiny_arithmetic, *ARGV, "--output_path", str(tmp_path), "--label", "m"])
        assert (tmp_path / RESULTS).exists() == (number == 1)
    assert samples(tmp_path) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == [RESULTS, SAMPLES]
    out, err = capsys.readouterr()
    assert out.count("m on arithmetic: accuracy") == 1 and f"process {order[0]} of 2 has done its share" in err


def test_a_process_without_a_share_loads_no_model_and_leaves_nothing(tiny_arithmetic, tmp_path, monkeypatch, capsys):
    argv = ["--model_name_or_path", tiny_arithmetic, *ARGV, "--batch_size", "54", "--output_path", str(tmp_path)]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with monkeypatch.context() as patch:
        patch.setattr("timecost.evaluation.evaluate.load_model_to_use", fail(RuntimeError()))
        run(argv)
    assert not list(tmp_path.iterdir()) and "process 1 of 2 has done its share" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    run(argv)
    assert len(samples(tmp_path)) == 54


def test_an_interrupted_run_goes_on_with_the_missing_batches(whole, tiny_arithmetic, tmp_path, monkeypatch, sampled):
    write, written = runner.write_batch, []

    def stop(*args):
        write(*args)
        written.append(args[0])
        if len(written) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        patch.setattr(runner, "write_batch", stop)
        evaluated(tmp_path, tiny_arithmetic)
    assert not (tmp_path / SAMPLES).exists()
    with pytest.raises(KeyboardInterrupt, match="begins anew"), runner.how_to_go_on(overwrite=True):
        raise KeyboardInterrupt
    sampled.clear()
    assert evaluated(tmp_path, tiny_arithmetic) == whole
    assert len(sampled) == 7 - 3
    assert evaluated(tmp_path, tiny_arithmetic) == whole
    assert len(sampled) == 4, "what is finished is not sampled again"
    assert evaluated(tmp_path, tiny_arithmetic, "--overwrite") == whole
    assert len(sampled) == 4 + 7


def test_kill_9_at_random_moments_loses_nothing_and_counts_nothing_twice(whole, tiny_arithmetic, tmp_path):
    rng, seen, kills = random.Random(0), set(), 0
    while kills < 6:
        child = os.fork()
        if child == 0:
            try:
                evaluated(tmp_path, tiny_arithmetic)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0.0, 0.6))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        stored = {path.name for path in tmp_path.glob("unfinished/*/batch-*.jsonl")}
        assert seen <= stored or (tmp_path / RESULTS).exists()
        seen = stored
    assert evaluated(tmp_path, tiny_arithmetic) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == [RESULTS, SAMPLES]


@pytest.mark.slow
def test_torchrun_shares_the_work(whole, tiny_arithmetic, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, "--module", "timecost.cli", "evaluate", "--model_name_or_path", tiny_arithmetic, *ARGV]
    done = finish([*command, "--output_path", str(tmp_path), "--label", "m", "--overwrite"])
    assert done.returncode == 0, done.stderr
    assert samples(tmp_path) == whole


# Budgets and baselines ------------------------------------------------------------------------------------------------


def test_a_sweep_by_prompt_and_enforced(with_ladder, tmp_path):
    for enforce in ("none", "soft", "hard"):
        evaluated(tmp_path, with_ladder, "--budgets", "8,inf", "--enforce", enforce, "--max_answer_tokens", "4")
    results = read_results(tmp_path)
    assert [(r["budget"], r["enforce"]) for r in results["records"]] == [
        ("8", "hard"), ("8", "none"), ("8", "soft"), ("inf", "none"),
    ]  # fmt: skip
    thinking = {}
    for row in read_samples(tmp_path):
        thinking.setdefault((row["budget"], row["enforce"]), []).append(row["thinking_tokens"])
    assert max(thinking["8", "none"]) > 10 == max(thinking["8", "soft"]) > 8 == max(thinking["8", "hard"])
    assert results["records"][0]["overshoot_rate"] == 0 < results["records"][1]["overshoot_rate"]
    assert results["records"][0]["stop_causes"]["budget"] > 0
    sweeps = {sweep["enforce"]: sweep for sweep in results["sweeps"]}
    assert sweeps["hard"]["budgets"] == ["8", "inf"] and sweeps["hard"]["hypervolume_max_tokens"] == 24
    assert sweeps["hard"]["points"][0]["over_rate"] == 0 < sweeps["none"]["points"][0]["over_rate"]


def test_each_budget_is_sampled_once(with_ladder, tmp_path, sampled):
    evaluated(tmp_path, with_ladder, "--budgets", "8,inf")
    evaluated(tmp_path, with_ladder, "--budgets", "8,16,inf,16")
    assert len(sampled) == 3 * 7


def test_baselines_have_labels_of_their_own(tiny_arithmetic, tmp_path):
    evaluated(tmp_path, tiny_arithmetic, "--budgets", "5,inf", "--baseline", "truncation", "--max_answer_tokens", "4")
    evaluated(tmp_path, tiny_arithmetic, "--baseline", "no_thinking")
    records = read_results(tmp_path)["records"]
    assert [(r["model"], r["budget"], r["baseline"]) for r in records] == [
        ("m (no_thinking)", "0", "no_thinking"), ("m (truncation)", "5", "truncation"),
        ("m (truncation)", "inf", "truncation"),
    ]  # fmt: skip
    assert records[0]["thinking_tokens_mean"] == 0 and records[1]["overshoot_rate"] == 0


# What cannot be -------------------------------------------------------------------------------------------------------


def test_another_setting_is_refused_and_named(whole, tiny_arithmetic, tmp_path, monkeypatch):
    evaluated(tmp_path / "done", tiny_arithmetic)
    with pytest.raises(UserError, match=r"holds m on arithmetic at budget inf, made with .*seed 0 \(asked for: 1\)"):
        evaluated(tmp_path / "done", tiny_arithmetic, "--seed", "1")
    with pytest.raises(UserError, match="made with another model: ask for the same"):
        monkeypatch.setattr("timecost.evaluation.evaluate.model_fingerprint", lambda name: "other")
        evaluated(tmp_path / "done", tiny_arithmetic)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(runner, "collect", fail(RuntimeError()))
        evaluated(tmp_path / "part", tiny_arithmetic)
    with pytest.raises(UserError, match="holds a part of m on arithmetic.*other problems"):
        evaluated(tmp_path / "part", tiny_arithmetic, "--num_problems", "17")


def test_a_model_trained_further_is_another_model(tiny_arithmetic, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    from timecost.evaluation.evaluate import model_fingerprint

    copy = shutil.copytree(tiny_arithmetic, tmp_path / "copy")
    assert model_fingerprint(str(copy)) == model_fingerprint(tiny_arithmetic)
    (copy / "value_head.safetensors").touch()
    assert model_fingerprint(str(copy)) == model_fingerprint(tiny_arithmetic)
    weights = load_file(copy / "model.safetensors")
    save_file({name: value + 1e-3 for name, value in weights.items()}, copy / "model.safetensors")
    assert model_fingerprint(str(copy)) != model_fingerprint(tiny_arithmetic)


def refused(capsys, *argv) -> str:
    """The one line that the command ends with."""
    assert cli.main(["evaluate", *argv]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_results_of_another_version(tiny_arithmetic, tmp_path, capsys):
    evaluated(tmp_path, tiny_arithmetic)
    results = json.loads((tmp_path / RESULTS).read_text())
    results["provenance"]["versions"]["timecost"] = "0.0.1"
    (tmp_path / RESULTS).write_text(json.dumps(results))
    line = refused(capsys, "--model_name_or_path", tiny_arithmetic, *ARGV, "--output_path", str(tmp_path))
    assert "was written by timecost 0.0.1" in line and "--output_path" in line


def test_a_model_without_budget_tokens(tiny_arithmetic, tmp_path, capsys):
    line = refused(
        capsys, "--model_name_or_path", tiny_arithmetic, *ARGV, "--output_path", str(tmp_path), "--budgets", "inf,8"
    )
    assert "has no budget tokens" in line and "--baseline truncation" in line
    assert not (tmp_path / RESULTS).exists(), "nothing was sampled before"


def test_a_benchmark_without_network(tiny_arithmetic, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TIMECOST_DATA_DIR", raising=False)
    monkeypatch.setattr("datasets.load_dataset", fail(OSError("no network")))
    assert cli.main(
        ["evaluate", "--model_name_or_path", tiny_arithmetic, "--tasks", "gsm8k", "--output_path", str(tmp_path)]
    ) == 2  # fmt: skip
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "cannot load openai/gsm8k from the hub (no network): connect, or set TIMECOST_DATA_DIR" in line


def test_a_task_file_with_a_missing_field(tiny_arithmetic, tmp_path, capsys):
    (tmp_path / "task.yaml").write_text("name: t\nsplits: {test: t.jsonl}\nprompt: '{q}'\nanswer: '{a}'\n")
    line = refused(
        capsys, "--model_name_or_path", tiny_arithmetic, "--tasks", str(tmp_path / "task.yaml"), "--output_path", "out"
    )
    assert "the field 'verifier' is missing" in line


def test_a_full_disk_is_one_line_and_the_work_goes_on_later(whole, tiny_arithmetic, tmp_path, capsys, monkeypatch):
    write, full = runner.write_batch, tmp_path / f".batch-00004.jsonl.{os.getpid()}"

    def on_a_full_disk(path, *args):
        if path.name == "batch-00004.jsonl":
            (path.parent / full.name).symlink_to("/dev/full")
        write(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "write_batch", on_a_full_disk)
        line = refused(
            capsys, "--model_name_or_path", tiny_arithmetic, *ARGV, "--output_path", str(tmp_path), "--label", "m"
        )
    assert line.startswith("error: the disk is full")
    assert len(list(tmp_path.glob("unfinished/*/batch-*.jsonl"))) >= 4
    assert evaluated(tmp_path, tiny_arithmetic) == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budgets", "8", "--enforce", "firm"], "enforce is one of none, soft, hard, not 'firm'"),
        (["--baseline", "truncate"], "not 'truncate', did you mean 'truncation'"),
        (["--baseline", "no_thinking", "--budgets", "8"], "leave --budgets out"),
        (["--budgets", "20", "--baseline", "truncation"], "do not fit into the 24 tokens"),
        (["--max_completion_length", "250"], "do not fit into the 256 tokens of the model's context"),
        (["--budgets", "many"], "a budget is a number of thinking tokens"),
    ],
)
def test_settings_that_cannot_be(tiny_arithmetic, tmp_path, capsys, options, message):
    argv = ["--model_name_or_path", tiny_arithmetic, *ARGV, "--output_path", str(tmp_path), *options]
    assert message in refused(capsys, *argv)


def test_two_evaluations_of_the_same_into_one_folder(tiny_arithmetic, tmp_path):
    settings = Settings(num_problems=18, batch_size=8, max_completion_length=24)
    (job,) = make_jobs("m", ARITHMETIC, [None], settings, conversational=False, model={})
    part = tmp_path / job.folder
    part.mkdir(parents=True)
    for again in (lambda: runner.alone(part).__enter__(), lambda: runner.discard(tmp_path, [job])):
        with runner.alone(part), pytest.raises(UserError, match="being written by another process"):
            again()
    with runner.alone(part, "process-1.lock"), pytest.raises(UserError, match="being written by another process"):
        runner.discard(tmp_path, [job])
    runner.discard(tmp_path, [job])
    assert not part.exists()
    assert replace(job, budget=8).folder != job.folder


# Every task -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_qwen3(tiny_qwen3, tmp_path_factory):
    """The untrained Qwen3 with a context for prompts in bytes."""
    import shutil

    folder = shutil.copytree(tiny_qwen3, tmp_path_factory.mktemp("qwen3") / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8192}))
    return str(folder)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "arithmetic"])
def test_every_task_loads_validates_and_runs(name, long_qwen3, data_dir):
    task = get_task(name)
    split = "test" if "test" in task.splits else "train"
    golds = list(islice(task.solutions(split), 3))
    verdicts = task.verify([gold.completion for gold in golds], [gold.answer for gold in golds])
    assert [verdict.status for verdict in verdicts] == ["correct"] * 3
    record = evaluate(long_qwen3, name, split=split, num_problems=2, num_samples=1, max_completion_length=6)
    assert (record["task"], record["num_problems"], record["accuracy"]) == (name, 2, 0.0)
    assert record["verifier_error_rate"] == 0


# A value head decides -------------------------------------------------------------------------------------------------

AT_PRICES = ["--budgets", "auto,inf", "--prices", "0.1,1e-2/token", "--no_clip"]


@pytest.fixture
def with_head(tiny_arithmetic, tmp_path):
    """A copy of the tiny model with a head that stops behind the third token, at 0.1 and not at 0.01 per token."""
    import torch

    from timecost.value.head import ValueHead, ValueHeadConfig, save_value_head
    from timecost.value.steps import StepRule

    folder = shutil.copytree(tiny_arithmetic, tmp_path / "model")
    head = ValueHead(ValueHeadConfig(32, (0, 4), (0.0, 0.03, 0.1), num_layers=0, step_rule=StepRule(every=3)))
    with torch.no_grad():  # behind the state stands the logarithm of the position
        head.closed[0].weight[2, 32] = -1.0
        head.closed[0].bias.copy_(torch.tensor([1.0, 1.0, 0.4]))
    save_value_head(head, folder)
    return str(folder)


def test_a_head_stops_at_its_prices_and_each_is_a_record(with_head, tmp_path, sampled):
    from timecost.evaluation.compare import compare_runs
    from timecost.evaluation.report import write_report

    rows = evaluated(tmp_path / "at", with_head, *AT_PRICES)
    by = {price: [r for r in rows if r.get("price") == price] for price in ("0.1/token", "0.01/token", None)}
    assert [len(here) for here in by.values()] == [54] * 3
    for stopped, kept, free in zip(*by.values(), strict=True):
        assert (stopped["budget"], stopped["enforce"], free["budget"]) == ("auto", "value", "inf")
        assert kept["completion"] == free["completion"] and kept["stop_cause"] == free["stop_cause"]
        assert stopped["thinking_tokens"] == min(3, free["thinking_tokens"]), "the same thought up to the stop"
        assert stopped["looks"] == 0
        if free["finished"] and free["thinking_tokens"] <= 3 and not free["answer_tokens"]:
            assert stopped["stop_cause"] == "natural", "what ended by itself was not stopped"
    assert {r["stop_cause"] for r in by["0.1/token"]} >= {"value"}
    results = read_results(tmp_path / "at")
    (sweep,) = results["sweeps"]
    assert sweep["budgets"] == ["auto at 0.1/token", "auto at 0.01/token", "inf"] and sweep["enforce"] == "value"
    record = next(r for r in results["records"] if r.get("price") == "0.1/token")
    assert record["budget"] == "auto" and record["overshoot_rate"] is None and record["cost_model"] == "tokens"
    assert record["thinking_tokens_mean"] <= 3 and record["looks_mean"] == 0
    count = len(sampled)
    assert evaluated(tmp_path / "at", with_head, *AT_PRICES) == rows and len(sampled) == count, "nothing is done twice"
    compared = compare_runs(tmp_path / "at", tmp_path / "at")
    assert [one["budget"] for one in compared["comparisons"]] == ["auto at 0.01/token", "auto at 0.1/token", "inf"]
    write_report(tmp_path / "at")
    assert "budget auto at 0.1/token" in (tmp_path / "at" / "report.html").read_text()


def test_another_head_under_the_same_label_is_refused(with_head, tmp_path):
    evaluated(tmp_path / "at", with_head, "--budgets", "auto", "--prices", "0.1")
    path = Path(with_head, "value_head.json")
    path.write_text(path.read_text().replace('"every": 3', '"every": 4'))
    with pytest.raises(UserError, match="another value head"):
        evaluated(tmp_path / "at", with_head, "--budgets", "auto", "--prices", "0.1")


def test_what_is_worth_too_little_is_declined(with_head, tmp_path):
    rows = evaluated(tmp_path / "at", with_head, "--budgets", "auto", "--prices", "0.1", "--least_value", "1")
    assert {r["stop_cause"] for r in rows} == {"declined"} and not any(r["answered"] for r in rows)
    assert {r["thinking_tokens"] for r in rows} == {0}


def test_what_is_novel_is_declined_by_a_head_that_knows_what_is_usual(with_head, tmp_path):
    with pytest.raises(UserError, match="does not know which questions are usual"):
        evaluated(tmp_path / "at", with_head, "--budgets", "auto", "--prices", "0.1", "--decline_novel", "0.1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budgets", "auto"], "budget auto and its prices go together"),
        (["--prices", "0.1"], "budget auto and its prices go together"),
        (["--budgets", "auto", "--prices", "0.1/second"], "in seconds, but the cost model counts tokens"),
        (["--budgets", "auto", "--prices", "-1"], "a price is a number from 0 on"),
        (["--budgets", "auto", "--prices", "0.1"], "holds no value head"),
        (["--budgets", "auto", "--prices", "0.1", "--baseline", "prompt"], "has no value head"),
        (["--least_value", "2"], "must lie in"),
    ],
)
def test_wrong_prices_are_one_line(tiny_arithmetic, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        evaluated(tmp_path, tiny_arithmetic, *options)
