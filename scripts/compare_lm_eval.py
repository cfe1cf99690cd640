"""Does lm-evaluation-harness, with the tasks in recipes/lm_eval, see what `timecost evaluate` sees?

    pip install lm_eval
    TIMECOST_DATA_DIR=... python scripts/compare_lm_eval.py --output_path docs/results/lm_eval.json

Three comparisons on GSM8K and MATH-500, whose local files the harness's tasks are pointed at:
    prompts      the text that the harness sends to a model is looked up among ours: every one must be there
    scores       a model that replays written completions, right and wrong in many forms, is scored by the harness and
                 by our verifiers; for each form the accuracy of both and the share of equal decisions
    completions  an untrained Qwen3 answers by the likeliest token through the harness and through our sampler
Nothing of the package needs lm_eval; it is a tool of this script and of those who use the recipes.
"""

import argparse
import json
import os
import random
import tempfile
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[1] / "recipes" / "lm_eval"
FILES = {"gsm8k": "gsm8k/test.jsonl", "math500": "math500/test.jsonl"}


def gsm8k_forms(row: dict, rng: random.Random) -> dict[str, str]:
    """Completions of a problem by their form; in the first seven the answer is right."""
    answer = row["answer"].split("####")[1].strip()
    number = float(answer.replace(",", ""))
    return {
        "gold solution": row["answer"],
        "gold solution as thinking": f"<think>{row['answer']}</think>#### {answer}",
        "dollars": f"So it is\n#### ${answer}",
        "full stop": f"#### {answer}.",
        "unit behind": f"#### {answer} apples",
        "decimals": f"#### {number:.2f}",
        "box": f"Therefore \\boxed{{{answer}}}",
        "no mark": f"The answer is {answer}",
        "sum for the number": f"#### {number - 1:g} + 1",
        "noise behind": f"#### {answer}\n" + "so it is and so on " * 20,
        "thinking never closed": f"<think>{row['answer']}",
        "wrong number": f"#### {number + rng.randint(1, 9):g}",
        "wrong after right": f"#### {answer}\nNo:\n#### {number + 1:g}",
    }


def math500_forms(row: dict, rng: random.Random, others: list[str]) -> dict[str, str]:
    answer = row["answer"]
    wrong = rng.choice([other for other in others if other != answer])
    return {
        "gold solution": row["solution"],
        "gold solution as thinking": f"<think>{row['solution']}</think>\\boxed{{{answer}}}",
        "box": f"\\boxed{{{answer}}}",
        "large fractions": f"\\boxed{{{answer.replace(chr(92) + 'frac', chr(92) + 'dfrac')}}}",
        "spaces": f"\\boxed{{ {answer} }}",
        "an equation": f"\\boxed{{x = {answer}}}",
        "no box": f"The answer is ${answer}$",
        "thinking never closed": f"<think>{row['solution']}",
        "another problem's answer": f"\\boxed{{{wrong}}}",
    }


def replay_model(replies: dict[str, str], tokenizer, missing: list[str]):
    """A model for the harness that answers a prompt with what is written for it, thinking taken off."""
    from lm_eval.api.model import LM
    from lm_eval.models.utils import postprocess_generated_text

    class Replay(LM):
        tokenizer_name = "replay"

        def apply_chat_template(self, chat_history, add_generation_prompt=True):
            return tokenizer.apply_chat_template(
                chat_history, tokenize=False, add_generation_prompt=add_generation_prompt
            )

        def generate_until(self, requests, disable_tqdm=False):
            prompts = [request.args[0] for request in requests]
            missing.extend(prompt for prompt in prompts if prompt not in replies)
            return [postprocess_generated_text(replies.get(prompt, ""), None, "</think>") for prompt in prompts]

        def loglikelihood(self, requests, disable_tqdm=False):
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    return Replay()


def harness(model, task: str, budget, file: Path, **options) -> list[dict]:
    """The samples of the harness on one of our tasks, over a local file."""
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    evaluator.add_env_info = lambda results: None  # asks pip for all packages, each time
    name = f"local_{task}_{budget}"
    with tempfile.TemporaryDirectory() as folder:
        local = {
            "include": str(RECIPES / f"timecost_{task}_{budget}.yaml"), "task": name, "dataset_path": "json",
            "dataset_name": None, "dataset_kwargs": {"data_files": {"test": str(file)}},
        }  # fmt: skip
        (Path(folder) / "local.yaml").write_text(json.dumps(local))  # JSON is YAML
        found = evaluator.simple_evaluate(
            model, tasks=[name], task_manager=TaskManager(include_path=folder, include_defaults=False),
            apply_chat_template=True, log_samples=True, bootstrap_iters=0, **options,
        )  # fmt: skip
    return found["samples"][name]


def our_prompt(tokenizer, problem: dict, budget) -> str:
    from timecost.budget import with_budget

    prompt = problem["prompt"] if budget == "inf" else with_budget(problem["prompt"], budget)
    return tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)


def scores(task_name: str, tokenizer, rows: list[dict], work: Path, budget) -> dict:
    """Decisions of both on completions in every form; the forms take turns over the problems."""
    from timecost.tasks import get_task

    task, rng = get_task(task_name), random.Random(0)
    os.environ["TIMECOST_DATA_DIR"], before = str(work), os.environ["TIMECOST_DATA_DIR"]
    file = work / FILES[task_name]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = list(task.load("test"))
    os.environ["TIMECOST_DATA_DIR"] = before
    answers = [row["answer"] for row in rows]
    forms = [gsm8k_forms(row, rng) if task_name == "gsm8k" else math500_forms(row, rng, answers) for row in rows]
    table, missing = {}, []
    for form in forms[0]:
        replies = {our_prompt(tokenizer, p, budget): f[form] for p, f in zip(problems, forms, strict=True)}
        found = harness(replay_model(replies, tokenizer, missing), task_name, budget, file)
        verdicts = task.verify([f[form] for f in forms], [problem["answer"] for problem in problems])
        ours = [verdict.status == "correct" for verdict in verdicts]
        table[form] = {"ours": sum(ours) / len(ours)}
        table[form]["verifier_errors"] = sum(verdict.status == "verifier_error" for verdict in verdicts)
        for name in dict.fromkeys(sample.get("filter", "none") for sample in found):
            theirs = {s["doc_id"]: bool(s["exact_match"]) for s in found if s.get("filter", "none") == name}
            theirs = [theirs[i] for i in range(len(ours))]
            key = "lm_eval" if name == "none" else name
            table[form][key] = sum(theirs) / len(theirs)
            table[form][f"{key} agrees"] = sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)
    return {"budget": budget, "num_problems": len(rows), "prompts_that_differ": len(missing), "forms": table}


def completions(folder: str, tokenizer, file: Path, num_problems: int, max_tokens: int) -> dict:
    """How many greedy completions of an untrained model agree, through the harness and through our sampler."""
    from timecost.evaluation.sampling import sample_batch
    from timecost.loading import load_model_to_use
    from timecost.tasks import get_task

    found = harness(
        "hf", "gsm8k", 64, file, model_args={"pretrained": folder, "device": "cpu", "dtype": "float32"},
        batch_size=1, limit=num_problems, gen_kwargs={"max_gen_toks": max_tokens},
    )  # fmt: skip
    theirs = {sample["doc_id"]: sample["resps"][0][0] for sample in found}
    model, tokenizer = load_model_to_use(folder)
    same = 0
    for i, problem in enumerate(list(get_task("gsm8k").load("test"))[:num_problems]):
        ids = tokenizer(our_prompt(tokenizer, problem, 64), add_special_tokens=False)["input_ids"]
        (ours,) = sample_batch(model, tokenizer, [ids], [0], max_new_tokens=max_tokens, temperature=0)
        same += tokenizer.decode(ours.completion_ids, skip_special_tokens=True) == theirs[i]
    return {"num_problems": num_problems, "max_tokens": max_tokens, "equal": same}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_path", type=Path)
    parser.add_argument("--num_problems", type=int, default=200)
    parser.add_argument("--num_completions", type=int, default=8)
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    data = Path(os.environ["TIMECOST_DATA_DIR"])

    from bench_evaluate import random_qwen3

    from timecost.budget import add_budget_tokens
    from timecost.evaluation.results import write_json
    from timecost.provenance import provenance

    model, tokenizer = random_qwen3(hidden_size=64, num_layers=2, vocab_size=512)
    add_budget_tokens(model, tokenizer, (64, 128, 256, 512, 1024))
    result = {"scores": {}}
    with tempfile.TemporaryDirectory() as work:
        for task, file in FILES.items():
            rows = [json.loads(line) for line in (data / file).read_text().splitlines()]
            rows = random.Random(0).sample(rows, min(args.num_problems, len(rows)))
            result["scores"][task] = scores(task, tokenizer, rows, Path(work), 64 if task == "gsm8k" else "inf")
        folder = str(Path(work) / "model")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        result["completions"] = completions(folder, tokenizer, data / FILES["gsm8k"], args.num_completions, 24)
    for task, one in result["scores"].items():
        print(f"{task}: {one['num_problems']} problems, {one['prompts_that_differ']} prompts differ")
        for form, numbers in one["forms"].items():
            print(f"  {form:<28}", {name: round(value, 3) for name, value in numbers.items()})
    print("completions", result["completions"])
    if args.output_path is not None:
        from importlib.metadata import version

        args.output_path.parent.mkdir(parents=True, exist_ok=True)
        where = provenance()
        where["versions"]["lm_eval"] = version("lm_eval")
        write_json(args.output_path, {"result": result, "provenance": where})


if __name__ == "__main__":
    main()
