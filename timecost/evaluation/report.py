"""`timecost report`: one self-contained HTML page from folders of results, and its figures as files.

    timecost report results/                      # reads results.json and samples.jsonl, writes results/report.html
    timecost report results/ --figures            # also results/figures/*.png and *.svg
    timecost report runs/a runs/b --output_path both.html
    timecost report results/ --probe 20           # first measures what each step was worth; takes the models
    timecost report results/ --model_card outputs/levin     # its results into the card of a model, too

The page needs no network: style, script, figures and a part of the samples stand in it, and its content security policy
forbids everything else. Samples and value.json may be missing; what they would show is left out.
"""

import base64
import hashlib
from pathlib import Path

from timecost.errors import UserError, nearest
from timecost.evaluation import figures
from timecost.evaluation.folders import read_folders
from timecost.evaluation.results import make_folder, read_results, write_text
from timecost.evaluation.sections import page
from timecost.model_card import update_card


def write_report(
    folder: str | Path | list,
    base: str | None = None,
    output_path: str | Path | None = None,
    save_figures: bool = False,
) -> Path:
    """Write a page on one folder of results or several and return its path, `report.html` in the (first) folder.

    `base` is the label of the model whose styles of thinking stand behind the frontier (default: the one called base).
    `save_figures` writes each figure to the folder `figures` beside the page. Raises UserError when a folder holds no
    results or broken ones, no model is called `base`, or `output_path` is a folder.
    """
    from jinja2 import Environment

    folders = [Path(one) for one in (folder if isinstance(folder, list) else [folder])]
    path = folders[0] / "report.html" if output_path is None else Path(output_path)
    if path.is_dir():
        raise UserError(f"'{path}' is a folder: name a file to write the page to, such as {path / 'report.html'}")
    drawn: dict[str, object] = {}
    try:
        found = read_folders(folders)
        models = list(dict.fromkeys(record["model"] for record in found["records"]))
        if base is not None and base not in models:
            raise UserError(f"no record is of a model '{base}'{nearest(base, models)} (only {', '.join(models)})")
        context = page(found, base or figures.find_base(found["records"]), drawn)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, UserError):
            raise
        lacks = f"lacks {error}" if isinstance(error, KeyError) else f"holds something unexpected ({error})"
        where = ", ".join(f"'{one}'" for one in folders)
        raise UserError(f"a record or a sample in {where} {lacks}: evaluate again with this version") from error
    here = Path(__file__)
    script = here.with_name("report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(here.with_name("report.html.jinja").read_text(encoding="utf-8"))
        .render(**context, script=script, digest=digest, css=here.with_name("report.css").read_text(encoding="utf-8"))
    )
    make_folder(path.parent)
    write_text(path, text)
    if save_figures:
        out = make_folder(path.parent / "figures")
        for name, figure in drawn.items():
            figures.save(figure, out / f"{name}.png")
    return path


def run(argv: list[str]) -> None:
    """The command `timecost report`."""
    args = build_parser().parse_args(argv)
    if args.probe is not None:
        from timecost.evaluation.probe import probe_folder

        if args.probe < 1:
            raise UserError(f"--probe is a number of problems, at least 1, not {args.probe}")
        for folder in args.folder:
            probe_folder(folder, args.probe)
    print(write_report(args.folder, args.base, args.output_path, args.figures))
    if args.model_card:
        records = [record for folder in args.folder for record in read_results(folder)["records"]]
        known = [record for record in records if record.get("model_name_or_path")]
        here = [r for r in known if Path(r["model_name_or_path"]).resolve() == Path(args.model_card).resolve()]
        print(update_card(args.model_card, sorted(here, key=lambda r: (r["task"], figures.budget_order(r)))))


def build_parser():
    from timecost.options import Parser

    parser = Parser("timecost report", description="Write one self-contained HTML page from folders of results.")
    parser.add_argument("folder", nargs="+", help="folder with results.json and samples.jsonl; several make one page")
    parser.add_argument("--output_path", help="the page to write (default: report.html in the first folder)")
    parser.add_argument("--figures", action="store_true", help="write each figure as PNG and SVG beside the page")
    parser.add_argument(
        "--probe", type=int, metavar="N", help="first measure what each step was worth, on N problems of each task"
    )
    parser.add_argument("--model_card", metavar="MODEL", help="folder of a model whose card gets its results, too")
    parser.add_argument("--base", help="label of the model whose styles stand behind the frontier (default: base)")
    return parser
