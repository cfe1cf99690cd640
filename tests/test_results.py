import json
import multiprocessing

import pytest

from timecost.errors import UserError
from timecost.evaluation.results import (
    read_results,
    read_samples,
    replacing,
    write_json,
    write_results,
)


def record(model, **values):
    return {"model": model, "task": "arithmetic", "budget": "inf", **values}


def write(folder, model, accuracy=0.5):
    write_results(folder, record(model, accuracy=accuracy), [record(model, completion="</think>7")] * 2)


def test_records_of_several_models_join_and_a_repeated_one_replaces(tmp_path):
    write(tmp_path, "b", 0.1)
    write(tmp_path, "a", 0.2)
    write(tmp_path, "b", 0.3)
    records = read_results(tmp_path)["records"]
    assert [(r["model"], r["accuracy"]) for r in records] == [("a", 0.2), ("b", 0.3)]
    assert [row["model"] for row in read_samples(tmp_path)] == ["a", "a", "b", "b"]
    assert len(read_samples(tmp_path, lambda row: row["model"] == "a")) == 2


def test_several_processes_may_write_to_one_folder(tmp_path):
    workers = [multiprocessing.get_context("spawn").Process(target=write, args=(tmp_path, f"m{i}")) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [r["model"] for r in read_results(tmp_path)["records"]] == ["m0", "m1", "m2", "m3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "samples.jsonl"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_numbers_are_null(tmp_path):
    write_json(tmp_path / "x.json", {"bits": float("nan"), "list": [1.5, float("inf")], 3: "three"})
    assert json.loads((tmp_path / "x.json").read_text()) == {"bits": None, "list": [1.5, None], "3": "three"}


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "holds no results.json"), ("{", "not a results file"), ("[]", "not a results file"),
     ('{"records": [{}]}', "not a results file"), ('{"records": []}', "holds no record")],
)  # fmt: skip
def test_missing_and_broken_results_are_one_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_results(tmp_path)
    assert "\n" not in str(error.value)


def test_missing_folder_and_broken_samples(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        read_results(tmp_path / "nowhere")
    (tmp_path / "samples.jsonl").write_text(json.dumps(record("a")) + "\nbroken\n")
    with pytest.raises(UserError, match="line 2"):
        read_samples(tmp_path)


def test_a_file_in_the_way_of_the_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a file is in the way"):
        write(tmp_path / "file", "a")
