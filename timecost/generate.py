"""`timecost generate`: one question streamed to the terminal, or a file of them, within a budget of thinking.

    timecost generate --model_name_or_path DIR --budget 64 "What is 17 * 24?"
    timecost generate --model_name_or_path DIR --budget 64 --input_path questions.jsonl --output_path replies.jsonl

A line of the input holds `prompt`, text or messages, and may hold a `budget` of its own.
"""

import json
import sys
from pathlib import Path

from timecost.budget import parse_budget
from timecost.errors import UserError
from timecost.loading import as_prompt, load_model_to_use, read_prompts
from timecost.options import Parser


def build_parser() -> Parser:
    parser = Parser("timecost generate", description="Answer within a budget of thinking tokens.")
    add = parser.add_argument
    add("prompt", nargs="?", help="the question; a model with a chat template gets it as a user message")
    add("--model_name_or_path", required=True, help="folder of a model, or its name (arithmetic_base is built in)")
    add("--budget", "--thinking_budget", "--reasoning_budget", default="inf",
        help="thinking tokens: a number, 0 for none, inf for no bound, auto where there is a value head")  # fmt: skip
    add("--price", help="with --budget auto: chance of a right answer that time is worth, such as 0.002 (per thinking "
        "token) or 0.1/second")  # fmt: skip
    add("--cost_model", default="tokens", help="what price and cost count: tokens, flops, or a file of fit-cost")
    add("--least_value", type=float, help="with --budget auto: decline what is worth less than this, from 0 to 1")
    add("--decline_novel", type=float, help="with --budget auto: decline questions that are stranger than all but this "
        "share of those that the head was fitted on, such as 0.005")  # fmt: skip
    add("--value_head", help="with --budget auto: folder of the value head (default: the model's own)")
    add("--task", help="with --budget auto: what the questions are of; warns where the head was not calibrated on it")
    add("--no_clip", action="store_true", help="with --budget auto: let the price exceed the calibrated one")
    add("--effort", help="an effort that the model was trained on, such as low or high")
    add("--enforce", default="hard", help="none: the prompt asks; soft: with a grace to wrap up; hard (default)")
    add("--no_condition", action="store_true", help="do not say the budget in the prompt: cut any model at it")
    add(
        "--max_answer_tokens",
        type=int,
        help="reserve of the answer in tokens (default: 512; a quarter of a short context)",
    )
    add("--temperature", type=float, default=1.0, help="sampling temperature, 0 for the likeliest token (default: 1.0)")
    add("--num_beams", type=int, default=1, help="beams of a beam search (default: 1, none)")
    add("--seed", type=int, default=0, help="seed of the sampling (default: 0)")
    add("--batch_size", type=int, default=32, help="lines of the input answered together (default: 32)")
    add("--input_path", help="JSONL file with one prompt a line, instead of the question")
    add("--output_path", help="JSONL file for the replies to --input_path")
    add("--json", action="store_true", help="print the reply as one JSON object instead of streaming it")
    return parser


def run(argv: list[str]) -> None:
    """The command `timecost generate`."""
    args = build_parser().parse_args(argv)
    if (args.prompt is None) == (args.input_path is None):
        raise UserError("give either a question or --input_path with a file of them")
    if (args.input_path is None) != (args.output_path is None):
        raise UserError("--input_path and --output_path go together")
    auto = args.budget == "auto"
    if auto and args.price is None:
        raise UserError("--budget auto needs --price: the chance of a right answer that one token of thinking is worth")
    if not auto and any(value is not None for value in (args.price, args.least_value, args.decline_novel)):
        raise UserError("--price, --least_value and --decline_novel go with --budget auto")
    if args.temperature < 0 or args.batch_size < 1 or args.num_beams < 1:
        raise UserError("temperature must be at least 0, batch_size and num_beams at least 1")
    budget = None if auto else parse_budget(args.budget)
    rows = [{"prompt": args.prompt}] if args.input_path is None else read_prompts(args.input_path)
    budgets = [parse_budget(row["budget"]) if "budget" in row else budget for row in rows]

    from timecost.cost import load_cost_model
    from timecost.generation import check_options, generate

    check_options(args.enforce, not args.no_condition, budgets, args.max_answer_tokens, args.temperature)
    model, tokenizer = load_model_to_use(args.model_name_or_path)
    cost_model = load_cost_model(args.cost_model, model.config)
    prompts = [as_prompt(row["prompt"], tokenizer) for row in rows]
    options = {
        "effort": args.effort, "enforce": args.enforce, "condition": not args.no_condition,
        "max_answer_tokens": args.max_answer_tokens, "temperature": args.temperature, "num_beams": args.num_beams,
        "seed": args.seed, "cost_model": cost_model,
    }  # fmt: skip
    if auto:
        options |= load_stop_rule(model, args, cost_model)
    if args.input_path is None:
        streams = not args.json and args.num_beams == 1
        reply = generate(
            model, tokenizer, prompts, budgets, streamer=streamer(tokenizer) if streams else None, **options
        )
        print_reply(reply[0], as_json=args.json, streamed=streams)
        return
    from tqdm import tqdm

    part = Path(f"{args.output_path}.part")
    with open(part, "w", encoding="utf-8") as file, tqdm(total=len(rows), unit="prompt", disable=None) as bar:
        for start in range(0, len(rows), args.batch_size):
            batch = slice(start, start + args.batch_size)
            options["seed"] = args.seed + start  # one seed for all would repeat its random numbers in every batch
            replies = generate(model, tokenizer, prompts[batch], budgets[batch], **options)
            for row, reply in zip(rows[batch], replies, strict=True):
                file.write(json.dumps({**row, **reply.to_json()}, ensure_ascii=False) + "\n")
                bar.update()
    part.replace(args.output_path)
    print(f"wrote {args.output_path}")


def load_stop_rule(model, args, cost_model) -> dict:
    """The value head beside the model and the rule for the price that was asked for, clipped to the calibrated one."""
    from timecost.tasks import resolve_model
    from timecost.value.head import load_value_head
    from timecost.value.stopping import rule_at

    head = load_value_head(model, args.value_head or resolve_model(args.model_name_or_path))
    rule, said = rule_at(
        args.price, cost_model, head, least_value=args.least_value, decline_novel=args.decline_novel,
        clip=not args.no_clip, task=args.task,
    )  # fmt: skip
    for line in said:
        print(line, file=sys.stderr)
    return {"value_head": head, "stop_rule": rule, "clip": False}  # it has been, and what there is to say was said


def streamer(tokenizer):
    from transformers import TextStreamer

    return TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)


def print_reply(reply, *, as_json: bool, streamed: bool) -> None:
    if as_json:
        print(json.dumps(reply.to_json(), ensure_ascii=False))
        return
    if not streamed:
        print(reply.thinking + "\n" + reply.answer)
    budget = "inf" if reply.budget is None else reply.budget
    used = f"{reply.thinking_tokens} thinking tokens of {budget}, {reply.answer_tokens} of answer"
    over = f", {reply.overshoot} over" if reply.overshoot else ""
    print(f"[{used}{over}; stopped: {reply.stop_cause}; cost {reply.cost:g} {reply.unit}]", file=sys.stderr)
