"""The tables of a page, their numbers worked out by hand."""

from test_figures import make_records, make_rows
from test_report import three_models, write

from timecost.evaluation.report import write_report
from timecost.evaluation.sweeps import sweeps_of
from timecost.evaluation.tables import adherence_table, cells_of, records_table


def at(model, budget, tokens, enforce="none", **more):
    """Samples that think for `tokens` on one problem and three times as long on the other, at a budget."""
    return [{**row, "budget": budget, "enforce": enforce, **more} for row in make_rows(model, {"steps": tokens})]


def kept(*rows_of):
    """The table of how budgets were kept, as heading -> cells."""
    records = make_records(dict(enumerate(rows_of)))
    for record, rows in zip(records, rows_of, strict=True):
        record |= {"price": rows[0]["price"]} if "price" in rows[0] else {}
    table = adherence_table(records, sweeps_of(records, [row for rows in rows_of for row in rows]))
    cells = zip(*table["rows"], strict=True)
    return {title: list(column) for (title, _), column in zip(table["columns"], cells, strict=True)}


def test_how_far_from_its_budget_thinking_was():
    tight, loose = at("a", "8", 4), at("a", "16", 4)  # 4 and 12 tokens
    tight[0]["answer_tokens"] = 5
    assert kept(tight, loose, at("a", "inf", 30)) == {
        "model and budget": ["a, budget 8", "a, budget 16"],
        "thinking used": ["8.0", "8.0"],
        "over the budget": ["50.0 %", "0.0 %"],  # 12 > 8
        "away from the budget": ["50.0 %", "50.0 %"],  # 4/8 and 4/8; 12/16 and 4/16
        "overshoot": ["50.0 %", "0.0 %"],
        "long answers": ["8.3 %", "0.0 %"],  # one of 12
    }


def test_a_budget_above_what_is_needed_is_not_missed():
    table = kept(at("a", "16", 4), at("a", "inf", 5))  # without a bound 5 and 15 tokens: 16 never binds
    assert "away from the budget" not in table and table["overshoot"] == ["0.0 %"]


def test_measures_that_no_budget_has_are_left_out():
    price = at("b", "auto", 4, "value", price="0.1/token", looks=0)
    columns = ["model and budget", "thinking used", "over the budget"]
    assert list(kept(at("a", "8", 4), price, at("b", "inf", 9))) == columns, (
        "only the price has samples without a bound"
    )
    assert adherence_table(make_records({"b": at("b", "inf", 9)}), []) is None


def test_a_hard_bound_says_how_often_it_closed_the_thinking(tmp_path):
    hard = at("a", "16", 7, "hard", stop_cause="natural")
    for row in hard[::4]:
        row["stop_cause"] = "budget"
    rows_of = {"free": at("a", "16", 7), "hard": hard, "old": at("b", "16", 7, "hard")}
    table = kept(*rows_of.values())
    assert table["model and budget"][1] == "a, budget 16 (hard bound)"
    assert table["closed at the bound"] == ["", "25.0 %", "unknown"]
    assert "closed at the bound" not in kept(rows_of["free"])
    assert "A hard bound cannot be overrun" in write_report(write(tmp_path, rows_of)).read_text()


def test_a_row_of_the_table_of_records():
    rows = make_rows("runs/m", {"steps": 10})  # 10 and 30 tokens; one of six samples of the second problem is wrong
    rows[0] |= {"finished": False, "answer_tokens": 6}
    rows[1]["status"] = "verifier_error"
    (record,) = make_records({"m": rows})
    cells = cells_of({**record, "accuracy_low": 0.5, "accuracy_high": 1.0})
    assert cells["accuracy"] == ("91.7", "[50.0, 100.0]", record["accuracy"])
    told = {name: cell[:2] for name, cell in cells.items() if cell is not None and name not in ("accuracy", "tokens")}
    assert told == {
        "task": ("arithmetic", ""), "budget": ("inf", ""), "thinking": ("20.0", ""), "answer": ("0.5", ""),
        "median": ("23", ""), "95th": ("30", ""), "pass@k": ("100.0", "k = 4"), "cut off": ("8.3", ""),
        "verifier errors": ("8.3", ""),
    }  # fmt: skip
    assert cells["tokens"][0] == "20.5" and cells_of({**record, "accuracy": None})["accuracy"] is None


def test_columns_without_a_value_or_a_difference_are_left_out():
    rows_of = three_models()
    names = [name for name, _ in records_table(make_records({"m": rows_of["base"]}))["columns"]]
    assert names == [
        "accuracy",
        "tokens",
        "thinking",
        "answer",
        "median",
        "95th",
        "pass@k",
        "cut off",
        "verifier errors",
    ]
    ways = [at("m", "8", 4), at("m", "8", 4, "hard"), [{**row, "task": "other"} for row in at("m", "inf", 9)]]
    table = records_table(make_records(dict(enumerate(ways))))
    assert {"task", "budget", "enforce"} <= {name for name, _ in table["columns"]}
    assert [row["cells"][-1][0] for row in table["rows"]] == ["0.0"] * 3
    enforce = [name for name, _ in table["columns"]].index("enforce")
    assert [row["cells"][enforce] for row in table["rows"]] == [
        ("none", "", "none"),
        ("hard", "", "hard"),
        ("", "", ""),
    ]


def test_the_reference_is_sorted_by_its_own_ratio_and_has_the_colour_of_its_model():
    table = records_table(make_records(three_models(), "accuracy"))
    ratio = [name for name, _ in table["columns"]].index("tokens ratio")
    cells = {row["name"]: row["cells"][ratio] for row in table["rows"]}
    assert cells["accuracy"] == ("reference", "", 1.0) and cells["levin"] == ("0.50", "[0.50, 0.50]", 0.5)
    colours = {row["name"]: row["colour"] for row in table["rows"]}
    assert colours == {"accuracy": "c0", "base": "ink", "levin": "c1"}
