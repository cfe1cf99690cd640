"""Where rows come from, and how each thing that can be wrong with them is said."""

import datasets
import pytest

from timecost.errors import UserError
from timecost.tasks.data import load_rows

HUB = ("openai/gsm8k", "main", "test")
GOOD = '{"question": "1 + 1?", "answer": "2"}\n'


def load():
    return load_rows("gsm8k/test.jsonl", HUB, ("question", "answer"))


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes gsm8k/test.jsonl into a folder that TIMECOST_DATA_DIR names."""
    monkeypatch.setenv("TIMECOST_DATA_DIR", str(tmp_path))
    (tmp_path / "gsm8k").mkdir()
    return (tmp_path / "gsm8k" / "test.jsonl").write_text


def test_rows_of_a_local_file(write):
    write(GOOD + '{"question": "a\u2028b", "answer": "3", "more": 1}\n')
    assert [row["answer"] for row in load()] == ["2", "3"]


def test_a_list_in_one_file_and_numbers_as_text(tmp_path, monkeypatch):
    monkeypatch.setenv("TIMECOST_DATA_DIR", str(tmp_path))
    (tmp_path / "rows.json").write_text('[{"n": 51.0}, {"n": 2.5}, {"n": -3}, {"n": "4.0"}]')
    assert [row["n"] for row in load_rows("rows.json", HUB, ("n",))] == ["51", "2.5", "-3", "4.0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1", "rows.json: not JSON"), ("{}", "rows.json: not a list of rows"), ('[{"n": true}]', "row 1: no n")],
)
def test_a_bad_list(tmp_path, monkeypatch, text, message):
    monkeypatch.setenv("TIMECOST_DATA_DIR", str(tmp_path))
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load_rows("rows.json", HUB, ("n",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "gsm8k/test.jsonl is empty"),
        (GOOD + '{"question": "1 + 2?"}\n', "row 2: no answer"),
        (GOOD + '{"question": "1 + 2?", "answer": " "}\n', "row 2: no answer"),
        (GOOD + '{"question": null, "answer": "3"}\n', "row 2: no question"),
        (GOOD + "{\n", "row 2: not JSON"),
        ("[1]\n", "row 1: not a JSON object"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_row(write, text, message):
    write(text)
    with pytest.raises(UserError, match=message) as error:
        load()
    assert "\n" not in str(error.value)


def test_a_missing_file_names_the_path_and_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("TIMECOST_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=rf"{tmp_path}/gsm8k/test.jsonl does not exist: TIMECOST_DATA_DIR"):
        load()


def test_without_the_variable_rows_come_from_the_hub(monkeypatch):
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        return datasets.Dataset.from_list([{"question": "1 + 1?", "answer": "2"}])

    monkeypatch.delenv("TIMECOST_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load() == [{"question": "1 + 1?", "answer": "2"}]
    assert asked == [HUB]


def test_columns_that_have_other_names_on_the_hub(monkeypatch):
    monkeypatch.delenv("TIMECOST_DATA_DIR", raising=False)
    rows = datasets.Dataset.from_list([{"q": "1 + 1?", "answer": "2"}])
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: rows)
    assert load_rows("x.jsonl", HUB, ("question", "answer"), {"question": "q"})[0]["question"] == "1 + 1?"


def test_offline_without_the_variable_is_one_line(monkeypatch):
    def load_dataset(name, config, split):
        raise ConnectionError("Couldn't reach\nthe Hub")

    monkeypatch.delenv("TIMECOST_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match="set TIMECOST_DATA_DIR to a folder that holds gsm8k/test.jsonl") as error:
        load()
    assert "\n" not in str(error.value)
