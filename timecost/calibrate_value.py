"""`timecost calibrate-value`: bounds the accuracy that a value head may cost, and stores the largest safe price.

timecost calibrate-value --model_name_or_path DIR --task arithmetic --loss 0.01 --delta 0.1
"""

from timecost.errors import UserError
from timecost.options import Parser, at_least_one


def build_parser() -> Parser:
    parser = Parser("timecost calibrate-value", description="Find the largest price that loses little accuracy.")
    add = parser.add_argument
    add("--model_name_or_path", required=True, help="folder of a model with a value head")
    add("--task", required=True, help="task whose problems the guarantee is about")
    add("--value_head", help="folder of the head (default: the model's own)")
    add("--loss", type=float, default=0.01, help="accuracy that may be lost against full thinking (default: 0.01)")
    add("--delta", type=float, default=0.1, help="chance that more is lost (default: 0.1)")
    add("--split", default="validation", help="split of the task, which the head was not fitted on")
    add("--num_problems", type=int, help="number of problems (default: the whole split)")
    add("--num_probe_samples", type=int, default=1, help="answers sampled at each boundary (default: 1)")
    add("--max_answer_tokens", type=int, help="limit of an answer (default: half the task's completions, at most 512)")
    add("--batch_size", type=int, default=256, help="completions sampled together (default: 256)")
    add("--seed", type=int, default=1, help="seed of problems and samples (default: 1)")
    return parser


def run(argv: list[str]) -> None:
    """The command `timecost calibrate-value`."""
    args = build_parser().parse_args(argv)
    for name in ("loss", "delta"):
        if not 0 < getattr(args, name) < 1:
            raise UserError(f"{name} must lie between 0 and 1, not {getattr(args, name)}")
    at_least_one(args, "num_problems", "num_probe_samples", "max_answer_tokens", "batch_size")
    from timecost.tasks import check_split, get_task, resolve_model

    task = get_task(args.task)
    check_split(task.name, args.split, task.splits)
    from timecost.loading import load_model_to_use
    from timecost.probing import distinct, load_rows, probe_problems
    from timecost.value.calibration import calibrate
    from timecost.value.head import load_value_head, write_config

    folder = args.value_head or resolve_model(args.model_name_or_path)
    model, tokenizer = load_model_to_use(args.model_name_or_path)
    head = load_value_head(model, folder)
    if (head.config.task, head.config.split) == (task.name, args.split):
        raise UserError(f"the head was fitted on {task.name}, split {args.split}: calibrate on problems new to it")
    problems = distinct(load_rows(task, tokenizer, args.split, args.num_problems, args.seed))
    traces = probe_problems(
        model, tokenizer, task, problems, num_probe_samples=args.num_probe_samples,
        max_thinking_tokens=head.config.max_thinking_tokens,
        max_answer_tokens=args.max_answer_tokens, seed=args.seed, batch_size=args.batch_size,
    )  # fmt: skip
    found = calibrate(
        head.cpu(), traces, task=task.name, loss=args.loss, delta=args.delta, seed=args.seed,
        sampled=not task.exact_answer,
    )  # fmt: skip
    write_config(head.config, folder)
    print(f"full thinking is right on {100 * found['accuracy']:.1f} % of {found['num_problems']} problems")
    if found["price"] is None:
        print(
            f"no price is safe at loss {args.loss:g} with confidence {1 - args.delta:g} (the lowest one loses "
            f"{found['accuracy_lost']:.4f} here): the head will never stop; allow more loss, or calibrate on more "
            "problems" + ("" if task.exact_answer else " and --num_probe_samples")
        )
        return
    counted = "" if found["num_harms"] is None else f", {found['num_harms']} harms"
    print(
        f"price {found['price']:.3g} per thinking token: at most {args.loss:g} of accuracy lost on {task.name} with "
        f"confidence {1 - args.delta:g} ({found['accuracy_lost']:.4f} lost on these{counted})"
    )
