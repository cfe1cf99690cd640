import pytest
from test_figures import make_records, make_rows

from timecost.evaluation import viewer
from timecost.evaluation.viewer import as_script, page_data, shorten, visible


def test_long_texts_lose_their_middle():
    assert shorten("x" * viewer.MAX_SHOWN) == "x" * viewer.MAX_SHOWN
    assert "[... 10 characters left out ...]" in shorten("x" * (viewer.MAX_SHOWN + 10))


def test_what_cannot_be_seen_is_written_out():
    assert (
        visible("a\u202eb\tc\n\u05d0\x00\ud800")
        == "a\u27e8U+202E\u27e9b\tc\n\u05d0\u27e8U+0000\u27e9\u27e8U+D800\u27e9"
    )


def test_json_in_a_script_holds_no_markup():
    assert as_script({"a": "</script><!--&"}) == r'{"a":"\u003c/script\u003e\u003c!--\u0026"}'


def page(rows_of):
    records = make_records(rows_of)
    return page_data(records, sum(rows_of.values(), []), list(rows_of), ["ink"] * len(records))


def test_a_page_takes_a_bounded_part_spread_over_difficulties(monkeypatch):
    rows = [
        {**row, "prompt": f"{i} {row['prompt']}", "completion": "y" * 200}
        for i in range(20) for row in make_rows("m", {"steps": 5}, num_samples=2)
    ]  # fmt: skip
    data = page({"m": rows})
    assert (data["shown"], data["total"], data["num_problems"]) == (80, 80, 40)
    monkeypatch.setattr(viewer, "MAX_BYTES", 4000)
    data = page({"m": rows})
    assert 5 < data["shown"] < 20 and len(as_script(data["samples"])) < 4000
    difficulties = [problem["difficulty"] for problem in data["problems"]]
    assert abs(difficulties.count(2) - difficulties.count(6)) <= 1
    assert {sample[1] for sample in data["samples"]} == set(range(len(data["problems"])))


def test_the_page_opens_where_settings_differ_most():
    right, wrong = make_rows("right", {"steps": 5}), make_rows("wrong", {"steps": 5})
    for row in wrong:
        row["status"] = "incorrect" if row["difficulty"] == 6 else "correct"
    data = page({"right": right, "wrong": wrong})
    assert data["problems"][data["first"]]["difficulty"] == 6
    assert data["problems"][data["first"]]["right"] == {0: [5, 6], 1: [0, 6]}


def test_a_probed_sample_is_shown_and_not_counted():
    rows = make_rows("m", {"steps": 5})
    probed = {
        **rows[0],
        "completion": "<s>8",
        "value_at_start": 0.1,
        "steps": [{"text": "<s", "tokens": 2, "value": 0.9}],
    }
    data = page_data(make_records({"m": rows}), rows, ["m"], ["ink"], [probed])
    assert data["problems"][0]["right"] == {0: [6, 6]} and data["total"] == 13
    assert data["samples"][0][9] == [["<s", 0.8, 0.9, False]]
    probed["completion"] = rows[0]["completion"]
    again = page_data(make_records({"m": rows}), rows, ["m"], ["ink"], [probed])
    assert again["total"] == 12 and sum(sample[9] is not None for sample in again["samples"]) == 1


def test_of_a_long_text_the_tokens_in_the_middle_are_left_out(monkeypatch):
    monkeypatch.setattr(viewer, "MAX_TOKENS", 4)
    memory = {"window": 2, "size": 1, "num_prompt": 1, "tokens": list("abcdef\u202e"), "layers": [[[0, 2]]]}
    shown = viewer.as_memory(memory)
    assert shown[3] == ["a", "b", "\n[... 3 tokens left out ...]\n", "", "", "f", "\u27e8U+202E\u27e9"]
    assert (shown[:3], shown[4]) == ([2, 1, 1], [[[0, 2]]])
    memory["tokens"] = list("abcd")
    assert viewer.as_memory(memory)[3] == list("abcd")


@pytest.mark.parametrize(("difficulty", "num"), [(None, 1), (2, 1)])
def test_a_problem_without_difficulty_has_its_place(difficulty, num):
    rows = [{**row, "difficulty": difficulty} for row in make_rows("m", {"steps": 5}) if row["problem"] == 2]
    assert len(page({"m": rows})["problems"]) == num
