"""Measures the report on 10,000 samples: size of the page, and how soon it answers in Chromium.

    python scripts/bench_report.py              # writes docs/results/report.json; needs Chromium

The samples are made up: 2 models at 5 budgets on 125 problems, 8 samples each, with texts of 100 to 4,000 characters.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # browser.py

TEXT = "so we add the two numbers then carry one and check that each is right before the answer 7 12 = + </b> &"
WORDS = TEXT.split()


def make_samples(num_problems: int, num_samples: int, seed: int = 0) -> dict[tuple, list[dict]]:
    """(model, budget) -> rows as in samples.jsonl."""
    rng = random.Random(seed)

    def text(most: int) -> str:
        length, words = rng.randint(100, most), []
        while length > 0:
            words.append(rng.choice(WORDS))
            length -= len(words[-1]) + 1
        return " ".join(words)

    prompts = [f"{i}: {text(400)}" for i in range(num_problems)]
    out: dict[tuple, list[dict]] = {}
    for model in ("base", "trained"):
        for budget in ("64", "128", "256", "512", "inf"):
            most = 600 if budget == "inf" else int(budget)
            rows = out.setdefault((model, budget), [])
            for problem, prompt in enumerate(prompts):
                for sample in range(num_samples):
                    thinking = rng.randint(1, most)
                    rows.append({
                        "model": model, "task": "made up", "budget": budget, "enforce": "none", "problem": problem,
                        "sample": sample, "prompt": prompt, "answer": "7", "difficulty": problem % 9 + 2,
                        "completion": f"{text(4000)}</think>{rng.randint(1, 9)}", "score": 1.0, "reason": "",
                        "status": "correct" if rng.random() < 0.9 - 20 / (20 + thinking) else "incorrect",
                        "thinking_tokens": thinking, "answer_tokens": 3, "finished": True, "answered": True,
                    })  # fmt: skip
    return out


def write_folder(folder: Path, rows_of: dict[tuple, list[dict]], num_samples: int) -> None:
    import json

    from timecost.evaluation.records import make_record
    from timecost.evaluation.results import SAMPLES, write_json
    from timecost.provenance import provenance

    settings = {"num_samples": num_samples, "temperature": 1.0, "seed": 0, "split": "test"}
    records = [make_record(rows, settings) for rows in rows_of.values()]
    write_json(folder / "results.json", {"records": records, "provenance": provenance()})
    with open(folder / SAMPLES, "w", encoding="utf-8") as file:
        for rows in rows_of.values():
            file.writelines(json.dumps(row) + "\n" for row in rows)


def main() -> None:
    from browser import Browser, find_chromium

    from timecost.evaluation.report import write_report
    from timecost.evaluation.results import write_json
    from timecost.provenance import provenance

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_path", type=Path, default=ROOT / "docs" / "results" / "report.json")
    parser.add_argument("--num_problems", type=int, default=125)
    parser.add_argument("--num_samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if find_chromium() is None:
        sys.exit("error: no Chromium: install Debian's package chromium, or Chrome")
    with tempfile.TemporaryDirectory() as folder:
        rows_of = make_samples(args.num_problems, args.num_samples)
        write_folder(Path(folder), rows_of, args.num_samples)
        start = time.perf_counter()
        page = write_report(folder)
        written = time.perf_counter() - start
        timed = "(() => { const t = performance.now(); %s; "
        timed += "document.body.offsetHeight; return performance.now() - t })()"
        search = "const one = document.getElementById('s-text'); one.value = 'carry'; "
        search += "one.dispatchEvent(new Event('input'))"
        loads, searches, sorts = [], [], []
        with Browser(timeout=300) as browser:
            for _ in range(args.repeats):
                loads.append(browser.open(page))
                sorts.append(browser.run(timed % "document.querySelectorAll('#table thead button')[2].click()") / 1000)
                searches.append(browser.run(timed % search) / 1000)
            shown = browser.run("document.querySelector('#samples .note').textContent")
            assert not browser.errors, browser.errors
        result = {
            "num_samples": sum(map(len, rows_of.values())), "page_bytes": page.stat().st_size,
            "samples_note": " ".join(shown.split(". Long texts")[0].split()), "write_seconds": round(written, 2),
            "load_seconds": [round(t, 3) for t in loads], "load_seconds_median": round(statistics.median(loads), 3),
            "search_seconds_median": round(statistics.median(searches), 4),
            "load_average": round(os.getloadavg()[0], 1),  # of the machine meanwhile: other work slows the page
            "sort_seconds_median": round(statistics.median(sorts), 4), "provenance": provenance(),
        }  # fmt: skip
    write_json(args.output_path, result)
    print({name: value for name, value in result.items() if name != "provenance"})


if __name__ == "__main__":
    main()
