"""`timecost compare A B`: paired differences of two models on the same problems, with intervals.

    timecost compare results/levin results/accuracy --output_path compared.json

A is measured against B for each task at each budget that both hold. A difference between runs that were not made alike
says nothing about the models, so runs on other problems, prompts, verifiers or sampling are refused in words.
"""

from pathlib import Path

from timecost.errors import UserError, nearest
from timecost.options import Parser

# Settings of a record that shape its samples or its verdicts. The seed is free: two models need no common draws.
SAMPLING = ("split", "num_samples", "temperature", "max_completion_length", "num_fewshot", "cost_coefficients",
            "least_value", "decline_novel", "max_answer_tokens", "clip")  # fmt: skip
COLUMNS = {
    "accuracy_difference": ("accuracy", "+.3f"),
    "tokens_ratio": ("tokens ratio", ".3f"),
    "speedup_bits": ("speed-up, bits", "+.2f"),
}


def run(argv: list[str]) -> None:
    """The command `timecost compare`."""
    parser = Parser("timecost compare", description="Paired differences of two runs, A against B.")
    parser.add_argument("a", metavar="A", help="folder of results")
    parser.add_argument("b", metavar="B", help="folder of results that A is measured against")
    parser.add_argument("--model_a", help="label of the model, where A holds several")
    parser.add_argument("--model_b", help="label of the model, where B holds several")
    parser.add_argument("--output_path", help="JSON file to write")
    args = parser.parse_args(argv)
    compared = compare_runs(args.a, args.b, args.model_a, args.model_b)
    print(table(compared))
    if args.output_path is not None:
        from timecost.evaluation.results import make_folder, write_json

        make_folder(Path(args.output_path).parent)
        write_json(args.output_path, compared)


def compare_runs(a: str | Path, b: str | Path, model_a: str | None = None, model_b: str | None = None) -> dict:
    """`{"a", "b", "comparisons", "left_out"}`: labels, a comparison per shared (task, budget), and what one run lacks.

    Where a run enforces a budget in several ways, each is compared with the same way of the other run. Raises UserError
    when a folder cannot be read, holds several models and none is named, or the runs differ in more than the model.
    """
    from timecost.evaluation.records import compare
    from timecost.evaluation.results import finite

    (label_a, records_a, rows_a, version_a), (label_b, records_b, rows_b, version_b) = (
        load_run(a, model_a, "--model_a"),
        load_run(b, model_b, "--model_b"),
    )
    if version_a != version_b:
        raise UserError(
            f"cannot compare: '{a}' was written by timecost {version_a}, '{b}' by {version_b}: evaluate both with one"
        )
    pairs = pair(records_a, records_b)
    if not pairs:
        raise UserError(f"cannot compare: '{a}' and '{b}' have no task at the same budget in common")
    comparisons = []
    for one, other in pairs:
        differ = differences(records_a[one], records_b[other], rows_a[one], rows_b[other])
        if differ:
            raise UserError(f"cannot compare {one[0]} at budget {one[1]}: {'; '.join(differ)}")
        values = compare(rows_a[one], rows_b[other])
        comparisons.append(finite({"task": one[0], "budget": one[1], "enforce": [one[2], other[2]], **values}))
    alone = set(records_a) - {one for one, _ in pairs} | set(records_b) - {other for _, other in pairs}
    left_out = [f"{task} at budget {budget}" + (f" ({enforce})" if enforce != "none" else "")
                for task, budget, enforce in sorted(alone)]  # fmt: skip
    return {"a": label_a, "b": label_b, "comparisons": comparisons, "left_out": left_out}


def pair(records_a: dict, records_b: dict) -> list[tuple[tuple, tuple]]:
    """Keys (task, budget, enforce) of the records to compare: the same ones, or the only ones of a task and budget."""
    pairs = [(key, key) for key in records_a if key in records_b]
    paired = {key[:2] for key, _ in pairs}
    for key in records_a:
        ours, theirs = ([other for other in records if other[:2] == key[:2]] for records in (records_a, records_b))
        if key[:2] not in paired and len(ours) == len(theirs) == 1:
            pairs.append((key, theirs[0]))
    return pairs


def load_run(folder: str | Path, model: str | None, option: str) -> tuple[str, dict, dict, str | None]:
    """Label, records and samples by (task, budget, enforce), and their version, of one model in a folder."""
    from timecost.evaluation.results import key_of, read_results, read_samples

    results = read_results(folder)
    models = list(dict.fromkeys(record["model"] for record in results["records"]))
    if model is None and len(models) > 1:
        raise UserError(f"'{folder}' holds {len(models)} models, say which: {option} {'|'.join(models)}")
    model = model or models[0]
    if model not in models:
        raise UserError(f"'{folder}' holds no model '{model}'{nearest(model, models)} (only {', '.join(models)})")
    records = {key_of(one)[1:]: one for one in results["records"] if one["model"] == model}
    rows: dict[tuple, list[dict]] = {key: [] for key in records}
    for row in read_samples(folder, lambda row: row["model"] == model):
        if key_of(row)[1:] in rows:
            rows[key_of(row)[1:]].append(row)
    for (task, budget, _), found in rows.items():
        if not found:
            raise UserError(f"'{folder}' has a record but no samples of {model} on {task} at budget {budget}")
    return model, records, rows, results.get("provenance", {}).get("versions", {}).get("timecost")


def differences(record_a: dict, record_b: dict, rows_a: list[dict], rows_b: list[dict]) -> list[str]:
    """What differs between two runs beside the model, in words; empty when they may be compared."""
    from timecost.evaluation.records import problem_key

    found = []
    for name in SAMPLING:
        a, b = (record.get(name, 0 if name == "num_fewshot" else None) for record in (record_a, record_b))
        free = name == "max_answer_tokens" and None in (a, b)  # without a bound the answer has no reserve
        if a != b and not free:
            found.append(f"sampling: {name} is {a} in A and {b} in B")
    enforce = [record.get("enforce", "none") for record in (record_a, record_b)]
    # a baseline stands in for the model's own way to keep a budget
    if enforce[0] != enforce[1] and not record_a.get("baseline") and not record_b.get("baseline"):
        found.append(f"sampling: enforce is {enforce[0]} in A and {enforce[1]} in B")
    a, b = ({problem_key(row): row["prompt"] for row in rows} for rows in (rows_a, rows_b))
    if a.keys() != b.keys():
        found.append(f"problems: {len(a.keys() - b.keys())} only in A, {len(b.keys() - a.keys())} only in B")
    prompts = sum(a[key] != b[key] for key in a.keys() & b.keys())
    if prompts:
        found.append(f"prompts: {prompts} problems are asked in another form")
    judged: dict[tuple, str] = {}
    for row in rows_a:
        if row["status"] != "verifier_error":
            judged[problem_key(row), row["completion"], row["finished"]] = row["status"]
    other = sum(
        judged.get((problem_key(row), row["completion"], row["finished"]), row["status"]) != row["status"]
        for row in rows_b
        if row["status"] != "verifier_error"
    )
    if other:
        found.append(f"verifiers: {other} completions of B have another verdict in A")
    return found


def table(compared: dict) -> str:
    """The comparisons as text, one line per task and budget."""
    lines = [f"{compared['a']} against {compared['b']}, paired by problem, 95 % intervals"]
    header = ["task", "budget", "problems", *(title for title, _ in COLUMNS.values())]
    body = [
        [one["task"], one["budget"], str(one["num_problems_compared"]), *(cell(one, name) for name in COLUMNS)]
        for one in compared["comparisons"]
    ]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines += ["  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
              for row in [header, *body]]  # fmt: skip
    if compared["left_out"]:
        lines.append(f"only in one of the two: {', '.join(compared['left_out'])}")
    return "\n".join(lines)


def cell(comparison: dict, name: str) -> str:
    value, low, high = (comparison[key] for key in (name, f"{name}_low", f"{name}_high"))
    spec = COLUMNS[name][1]
    return "unknown" if value is None else f"{value:{spec}} [{low:{spec}}, {high:{spec}}]"
