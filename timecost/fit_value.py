"""`timecost fit-value`: trains a value head on a frozen model, whoever trained that, and writes it beside the model.

timecost fit-value --model_name_or_path DIR --task arithmetic
timecost calibrate-value --model_name_or_path DIR --task arithmetic
timecost generate --model_name_or_path DIR --budget auto --price 0.001 "a7b-3c*2d+1=<think>"
"""

import random
from pathlib import Path

from timecost.errors import UserError
from timecost.options import Parser, at_least_one

NUM_PROBLEMS = 4000


def build_parser() -> Parser:
    parser = Parser("timecost fit-value", description="Train a value head on a frozen model.")
    add = parser.add_argument
    add("--model_name_or_path", required=True, help="folder of a model, or its name (arithmetic_base is built in)")
    add("--task", required=True, help="task whose problems are thought about and verified")
    add("--output_dir", help="folder for the head (default: the model's own)")
    add("--split", default="train", help="split of the task (default: train)")
    add("--num_problems", type=int, help=f"number of problems (default: {NUM_PROBLEMS}, or the whole split)")
    add("--unsolvable_path", help="JSONL file of prompts that no answer solves, for a head that declines their kind")
    add("--num_samples", type=int, default=2, help="thoughts sampled for each problem (default: 2)")
    add("--num_probe_samples", type=int, default=4, help="answers sampled at each probe (default: 4)")
    add("--max_probes", type=int, help="boundaries probed in each thought (default: all)")
    add("--max_thinking_tokens", type=int, help="limit of a thought (default: the task's)")
    add("--max_answer_tokens", type=int, help="limit of an answer (default: half the task's completions, at most 512)")
    add("--no_peek", action="store_true", help="the head sees the last state alone: no extra token at each boundary")
    add("--num_epochs", type=int, default=16, help="epochs over the probes (default: 16)")
    add("--batch_size", type=int, default=256, help="completions sampled together (default: 256)")
    add("--seed", type=int, default=0, help="seed of problems, samples and fit (default: 0)")
    return parser


def run(argv: list[str]) -> None:
    """The command `timecost fit-value`."""
    args = build_parser().parse_args(argv)
    at_least_one(
        args, "num_problems", "num_samples", "num_probe_samples", "max_probes", "max_thinking_tokens", "num_epochs",
        "batch_size", "max_answer_tokens",
    )  # fmt: skip
    from timecost.evaluation.results import make_folder
    from timecost.tasks import check_split, get_task, resolve_model

    task = get_task(args.task)
    check_split(task.name, args.split, task.splits)
    folder = Path(args.output_dir or resolve_model(args.model_name_or_path))
    if args.output_dir is None and not folder.is_dir():
        raise UserError(f"'{args.model_name_or_path}' is no folder: say with --output_dir where the head shall lie")
    make_folder(folder)

    import torch

    from timecost.generation import encode
    from timecost.loading import as_prompt, load_model_to_use, read_prompts
    from timecost.probing import load_rows, probe_problems
    from timecost.value.fitting import FitConfig, fit_value_head
    from timecost.value.head import save_value_head
    from timecost.value.novelty import fit_novelty, question_features
    from timecost.value.states import attends_alone
    from timecost.value.steps import step_rule

    rows = [] if args.unsolvable_path is None else read_prompts(args.unsolvable_path)
    model, tokenizer = load_model_to_use(args.model_name_or_path)
    unsolvable = [{"prompt": as_prompt(row["prompt"], tokenizer), "answer": None} for row in rows]
    problems = load_rows(task, tokenizer, args.split, args.num_problems, args.seed)
    if args.num_problems is None:
        problems = random.Random(args.seed).sample(problems, min(NUM_PROBLEMS, len(problems)))
    traces = probe_problems(
        model, tokenizer, task, problems + unsolvable, num_samples=args.num_samples,
        num_probe_samples=args.num_probe_samples, max_probes=args.max_probes,
        max_thinking_tokens=args.max_thinking_tokens, max_answer_tokens=args.max_answer_tokens, seed=args.seed,
        batch_size=args.batch_size,
    )  # fmt: skip
    head = fit_value_head(
        traces,
        FitConfig(peek=not args.no_peek and attends_alone(model), num_epochs=args.num_epochs, seed=args.seed),
        step_rule=step_rule(tokenizer, task.step_end),
        task=task.name,
        split=args.split,
        max_thinking_tokens=args.max_thinking_tokens or task.max_completion_length,
    )
    prompts = [encode(tokenizer, row["prompt"], None, False, "<think>", task.think_end) for row in problems]
    held_out = torch.rand(len(prompts), generator=torch.Generator().manual_seed(args.seed)) < 0.25
    if len(prompts) > 1:
        held_out[0], held_out[1] = True, False
        head.knows_questions(fit_novelty(question_features(model, prompts), held_out))
    save_value_head(head, folder)
    print(f"{len(traces)} boundaries of {len(traces.problem)} thoughts on {len(problems) + len(unsolvable)} problems")
    print(f"wrote {folder}/value_head.safetensors: calibrate it with `timecost calibrate-value`")
