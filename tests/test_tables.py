"""The tables of a page, their numbers worked out by hand."""

import re

from test_figures import make_rows
from test_report import write

from timecost.evaluation.report import write_report


def test_a_hard_bound_says_how_often_it_closed_the_thinking(tmp_path):
    rows = [{**row, "budget": "16", "enforce": "hard"} for row in make_rows("a", {"steps": 7})]
    for i, row in enumerate(rows):
        row["stop_cause"] = "budget" if i % 4 == 0 else "natural"
    page = write_report(write(tmp_path, {"a": rows})).read_text()
    kept = page.partition("closed at the bound")[2].partition("</table>")[0]
    assert re.findall(r'<td class="num">([^<]+)', kept)[2] == "25.0 %" and "A hard bound cannot be overrun" in page
