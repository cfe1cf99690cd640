import pytest
from test_figures import make_records, make_rows

from timecost.evaluation.choice import choices, command


def setting(model, budget, tokens, wrong=0):
    rows = [{**row, "budget": budget} for row in make_rows(model, {"steps": tokens})]
    for row in rows[:wrong]:
        row["status"] = "incorrect"
    return rows


@pytest.fixture
def rows_of():
    return {"a8": setting("a", "8", 4, wrong=6), "a": setting("a", "inf", 12), "b": setting("b", "inf", 8, wrong=2)}


def test_each_limit_names_the_most_accurate_setting_within_it(rows_of):
    found = choices(make_records(rows_of), sum(rows_of.values(), []))
    assert [(one["limit"], one["name"]) for one in found] == [
        (8.0, "a, budget 8"), (16.0, "b, no budget"), (24.0, "a, no budget")
    ]  # fmt: skip
    assert found[0]["why"].endswith("No other model is this cheap.")
    assert "best of another model within this limit is a, budget 8, 41.7 % right" in found[1]["why"]
    assert "may be chance" in found[2]["why"] and "the lead of 16.7 points" in found[2]["why"]


def test_without_samples_no_lead_is_claimed(rows_of):
    found = choices(make_records(rows_of), [])
    assert "lead" not in found[2]["why"] and "75.0 % right" in found[2]["why"]


def test_what_is_equal_goes_to_the_cheaper(rows_of):
    rows_of["b"] = setting("b", "inf", 30)
    assert [one["name"] for one in choices(make_records(rows_of), []) if one["first"]] == [
        "a, budget 8",
        "a, no budget",
    ]


def test_a_recommendation_says_how_to_ask():
    record = {"model_name_or_path": "my model", "budget": "8", "enforce": "hard"}
    assert command(record) == "timecost generate --model_name_or_path 'my model' --budget 8 --enforce hard \"...\""
    assert command({**record, "baseline": "prompt"}) is None and command({"budget": "inf"}) is None
    priced = {"model_name_or_path": "m", "budget": "auto", "price": "0.1/token", "cost_model": "tokens", "clip": False,
              "least_value": None, "decline_novel": None, "value_head": "heads/m", "temperature": 0.0}  # fmt: skip
    asked = "timecost generate --model_name_or_path m --budget auto --price 0.1/token --value_head heads/m --no_clip"
    assert command(priced) == asked + ' --temperature 0 "..."'
