"""Seconds a verdict on HumanEval+, all inputs: timecost.verifiers.code against evalplus (pip install evalplus).

    TIMECOST_DATA_DIR=... python scripts/bench_code_verifier.py --num_problems 164 --rounds 3

Both judge the canonical solution of each problem, one at a time, right after each other and in turns; expected values
are computed before the clock starts. The result is the median over rounds of the ratio of the sums.
"""

import argparse
import statistics
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_problems", type=int, default=164)
    parser.add_argument("--skip", nargs="*", default=[], help="problems to leave out, such as HumanEval/15")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output_path", type=Path, default=Path("docs/results/code_verifier.json"))
    args = parser.parse_args()

    from importlib.metadata import version

    from evalplus.eval import untrusted_check
    from evalplus.gen.util import trusted_exec

    from timecost.evaluation.results import write_json
    from timecost.provenance import provenance
    from timecost.tasks import get_task
    from timecost.tasks.programs import gold, problem_of
    from timecost.verifiers.code import reference, verify_code
    from timecost.verifiers.sandbox import shared_sandbox

    task = get_task("humaneval_plus")
    names = [solution.row for solution in task.solutions("test")]
    step = max(1, len(names) // args.num_problems)
    names = [name for name in names[::step] if name not in args.skip]
    settings = task.verify.keywords
    prepared = []
    for name in names:
        problem = problem_of(settings["file"], settings["source"], settings["convert"], name)
        inputs = [*problem["base_input"], *problem["plus_input"]]
        program = problem["prompt"] + gold(problem)
        expected, seconds = trusted_exec(program, inputs, problem["entry_point"], record_time=True)
        reference(problem, shared_sandbox())
        prepared.append((problem, inputs, program, expected, seconds))

    def ours(problem, inputs, program, expected, seconds) -> bool:
        return verify_code(program, problem).status == "correct"

    def theirs(problem, inputs, program, expected, seconds) -> bool:
        status, _ = untrusted_check(
            "humaneval", program, inputs, problem["entry_point"], expected, problem["atol"], seconds, fast_check=True
        )
        return status == "pass"

    verdicts, totals = {"timecost": [], "evalplus": []}, {"timecost": [], "evalplus": []}
    for i in range(args.rounds):
        sums = {"timecost": 0.0, "evalplus": 0.0}
        for j, case in enumerate(prepared):
            pair = [("timecost", ours), ("evalplus", theirs)]
            for name, judge in pair if (i + j) % 2 == 0 else pair[::-1]:
                start = time.perf_counter()
                verdicts[name].append(judge(*case))
                sums[name] += time.perf_counter() - start
        for name, value in sums.items():
            totals[name].append(round(value, 3))
        print(f"round {i + 1}: {sums}", flush=True)
    ratios = [a / b for a, b in zip(totals["timecost"], totals["evalplus"], strict=True)]
    result = {
        "median_ratio": statistics.median(ratios),
        "seconds": totals,
        "problems": len(prepared),
        "left_out": args.skip,
        "correct": {name: sum(values) / len(values) for name, values in verdicts.items()},
        "evalplus": version("evalplus"),
    }
    print(result)
    args.output_path.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.output_path, {"result": result, "provenance": provenance()})


if __name__ == "__main__":
    main()
