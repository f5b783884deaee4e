"""The command line: parse, call the engine, print. Imports wait until a command needs them."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from segue import __version__
from segue.errors import SegueError, UsageError

Command = Callable[[argparse.Namespace], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    gc.disable()  # importing torch makes two million objects that stay: collecting among them costs half a second
    try:
        arguments.command(arguments)
        sys.stdout.flush()
        return 0
    except SegueError as error:
        return failed(str(error), error.exit_code, arguments.debug)
    except BrokenPipeError:  # whoever read our output has seen enough, as in `segue models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a missing permission
        place = f"{error.filename}: " if error.filename else ""
        return failed(f"{place}{error.strerror or error}; check the place and its permissions", 2, arguments.debug)
    except KeyboardInterrupt:
        print("segue: stopped", file=sys.stderr)
        return 130
    finally:
        gc.freeze()  # nor is there anything to gain from collecting them at exit
        gc.enable()


def failed(message: str, exit_code: int, debug: bool = False) -> int:
    """Say what went wrong in one line, after the traceback if that is wanted; returns the exit code."""
    if debug:
        traceback.print_exc()
    print(f"segue: error: {printable(message)}", file=sys.stderr)
    return exit_code


def printable(text: str) -> str:
    """The text on one line, without the control characters that a file name or a data set may hold."""
    return "".join(c if c.isprintable() else " " for c in text)


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        raise SystemExit(failed(f"{message}; see {self.prog} --help", 2))


def parser() -> Parser:
    """Every command with its arguments."""
    top = Parser("segue", description="One trunk looks once, small heads read regions.")
    top.add_argument("--version", action="version", version=f"segue {__version__}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    add_predict(commands)
    add_demo(commands)
    add_find(commands)
    add_view(commands)
    add_train(commands)
    add_evaluate(commands)
    add_data(commands)
    add_convert(commands)
    add_lecture(commands)
    command = add_command(commands, "models", models, "the zoo: names, tasks, classes, scores, licences")
    command.add_argument("name", nargs="?", metavar="NAME", help="say everything about this one")
    return top


if TYPE_CHECKING:
    from segue.engine.predictor import Predictor

    Commands = argparse._SubParsersAction[Parser]


def add_command(commands: Commands, name: str, run: Command, summary: str) -> Parser:
    """A command with the arguments that all have."""
    command = commands.add_parser(name, help=summary, description=summary[:1].upper() + summary[1:] + ".")
    command.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    command.set_defaults(command=run)
    return command


def add_predict(commands: Commands) -> None:
    """`segue predict`."""
    add = add_command(commands, "predict", predict, "find what is in images or videos, and draw it").add_argument
    add("inputs", nargs="+", metavar="INPUT", help="images, folders, globs, video files")
    add("--model", default="nuclei", help="a zoo name, a .safetensors file or a run folder (default: nuclei)")
    add("--out", type=Path, default=Path("segue-out"), help="folder for scenes.json and overlays (default: segue-out)")
    add("--tasks", help="only these, with commas between, such as boxes,masks")
    add("--threshold", type=unit_interval, default=0.5, help="lowest score that is kept (default: 0.5)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    add("--batch", type=positive, default=1, help="images of equal size to look at together (default: 1)")
    add("--tile", type=positive, metavar="PX", help="look at large images in tiles of this side")
    add("--page", action="store_true", help="write page.html with a switch for each task (captions, meshes: always)")
    add_pixel_options(add)


def add_pixel_options(add: Callable[..., argparse.Action]) -> None:
    """For models that label pixels."""
    add("--flip", action="store_true", help="average with the mirrored image (models that label pixels)")
    kinds = ("pixels", "superpixels", "cover")
    add("--smooth", choices=kinds, default="pixels", help="one label per pixel, superpixel or pure segment")
    add("--scales", type=numbers, default=(1.0,), metavar="A,B", help="average over these sizes, such as 0.75,1,1.25")


def add_demo(commands: Commands) -> None:
    """`segue demo`."""
    add = add_command(commands, "demo", demo, "the bundled models on made pictures, and a page about it").add_argument
    add("--out", type=Path, default=Path("demo"), help="folder for pictures, results and the page (default: demo)")


def add_find(commands: Commands) -> None:
    """`segue find`."""
    add = add_command(commands, "find", find, "find pictures, and what is in them, by a sentence").add_argument
    add("query", metavar="SENTENCE", help='such as "a red mug on the grass"')
    add("folder", type=Path, metavar="FOLDER", help="with pictures; an index of them is kept inside")
    add("--model", help="with captions: a zoo name, a .safetensors file or a run folder")
    add("--top", type=positive, default=10, help="pictures at most (default: 10)")
    add("--out", type=Path, metavar="DIR", help="folder for found.json and found.png")
    add("--threshold", type=unit_interval, default=0.5, help="lowest score of what is searched (default: 0.5)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")


def add_view(commands: Commands) -> None:
    """`segue view`."""
    add = add_command(commands, "view", view, "look at results, pictures or a training run in Rerun").add_argument
    add("path", type=Path, metavar="PATH", help="folder of `segue predict` or `segue train`; a picture, video or folder")
    add("--model", help="predicts pictures and videos: a zoo name, a .safetensors file or a run folder")
    add("--threshold", type=unit_interval, default=0.5, help="lowest score of what is predicted (default: 0.5)")
    add("--explain", type=positive, metavar="N", help="a picture's N-th region, step by step through the network")
    add("--save", type=Path, metavar="FILE.rrd", help="write a recording instead of opening the viewer")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")


def add_train(commands: Commands) -> None:
    """`segue train`."""
    add = add_command(commands, "train", train, "train a model by a recipe").add_argument
    add("recipe", type=Path, metavar="RECIPE.yaml")
    add("--out", type=Path, metavar="RUN", help="folder of the run (default: runs/ and the recipe's name)")
    add("--resume", action="store_true", help="go on from the run's last checkpoint")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    add("--device", default="auto", help="auto, cpu, cuda (default: auto)")


def add_evaluate(commands: Commands) -> None:
    """`segue evaluate`."""
    command = add_command(commands, "evaluate", evaluate, "score a model, or saved predictions, on a data set")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="a zoo name, a .safetensors file or a run folder")
    what.add_argument(
        "--predictions", type=Path, help="a scenes.json, a COCO results or panoptic JSON, a folder of index PNGs"
    )
    command.add_argument("--data", required=True, metavar="DATASET[:SPLIT]", help="name, COCO JSON or folder")
    command.add_argument("--images", help="folder of the images, where it does not follow from the data set")
    command.add_argument("--by", metavar="KEY", help="also score apart by a key of the image entries, such as kind")
    command.add_argument(
        "--out", type=Path, metavar="FILE.json", help="write the numbers there, too, and pictures of them beside it"
    )
    add_pixel_options(command.add_argument)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")


def add_lecture(commands: Commands) -> None:
    """`segue lecture`."""
    add = add_command(commands, "lecture", lecture, "every figure and number of the lecture, from live code").add_argument
    add("--out", type=Path, default=Path("segue-lecture"), help="folder for the pages (default: segue-lecture)")


def add_convert(commands: Commands) -> None:
    """`segue convert`."""
    add = add_command(commands, "convert", convert, "turn public weights into a model file").add_argument
    add("file", type=Path, metavar="FILE", help="weights of torchvision, detectron2 or Mesh R-CNN")
    add("--from", dest="source", choices=("torchvision", "detectron2", "meshrcnn"), help="admit only its networks")
    add("--out", type=Path, required=True, metavar="FILE.safetensors", help="the model file")
    add("--verify", action="store_true", help="compare it with the original, stage by stage where that is installed")


def add_data(commands: Commands) -> None:
    """`segue data show | check | make`."""
    data = commands.add_parser("data", help="look at, check or make data sets", description="Data sets.")
    kinds = data.add_subparsers(metavar="WHAT", required=True)
    for name, run, summary in (
        ("show", data_show, "numbers and pictures of a data set"),
        ("check", data_check, "every fault of a data set at once"),
    ):
        command = add_command(kinds, name, run, summary)
        command.add_argument("data", metavar="DATASET[:SPLIT]", help="name, COCO JSON or folder")
        command.add_argument("--images", help="folder of the images, where it does not follow from the data set")
    kinds.choices["show"].add_argument("--out", type=Path, metavar="FILE.png", help="write a contact sheet there")
    make = kinds.add_parser("make", help="make synthetic pictures", description="Make synthetic pictures.")
    add_data_make(make.add_subparsers(metavar="KIND", required=True))


def add_data_make(kinds: Commands) -> None:
    """`segue data make cells | toybox`."""
    cells = add_command(kinds, "cells", make_cells, "fluorescence-like nuclei with masks")
    cells.add_argument("--count", type=positive, default=6, help="how many pictures (default: 6)")
    toybox = add_command(kinds, "toybox", make_toybox, "toy scenes of which everything is known; resumable")
    toybox.add_argument("--train", type=natural, default=1000, help="pictures to train on (default: 1000)")
    toybox.add_argument("--val", type=natural, default=100, help="pictures to validate on (default: 100)")
    toybox.add_argument("--size", type=positive, default=256, metavar="PX", help="pixels a side (default: 256)")
    toybox.add_argument("--workers", type=processes, help="processes, or auto, one a processor (default: auto)")
    for command in (cells, toybox):
        command.add_argument("--seed", type=int, default=0, help="the same seed gives the same pictures (default: 0)")
        command.add_argument("--out", type=Path, required=True, help="folder for pictures and annotations")


def natural(text: str) -> int:
    """A whole number from 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def processes(text: str) -> int | None:
    """A whole number from 1, None for auto."""
    if text != "auto" and (not text.isdigit() or int(text) < 1):
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a whole number from 1")
    return None if text == "auto" else int(text)


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def unit_interval(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 0.75,1,1.25") from None


def with_options(predictor: Predictor, arguments: argparse.Namespace) -> Predictor:
    """The model, labelling pixels as it was asked to."""
    from segue.engine.predictor import PixelOptions

    options = PixelOptions(arguments.flip, arguments.scales, arguments.smooth)
    return predictor if options == PixelOptions() else predictor.with_options(options)


def imported() -> None:
    """Say that the imports are done: what they made stays for good, and collecting garbage begins."""
    gc.freeze()
    gc.enable()


def predict(arguments: argparse.Namespace) -> None:
    """Files in, a folder of results out."""
    from segue.engine.load import load
    from segue.engine.predict import PredictOptions, predict_files

    imported()
    options = PredictOptions(arguments.threshold, arguments.batch, arguments.tile, arguments.page)
    predictor = with_options(load(arguments.model, arguments.device), arguments)
    if arguments.tasks is not None:
        predictor = predictor.only([name.strip() for name in arguments.tasks.split(",")])
    report = predict_files(predictor, arguments.inputs, arguments.out, options)
    found = f"{report.regions} regions in {report.done} inputs" if report.regions else f"{report.done} inputs done"
    print(f"{found}: {arguments.out}/scenes.json and pictures beside it")


def demo(arguments: argparse.Namespace) -> None:
    """Made pictures in, a page out."""
    from segue.engine.demo import show

    imported()
    print(f"open {show(arguments.out)} in a browser; the files are in {arguments.out / 'results'}")


def find(arguments: argparse.Namespace) -> None:
    """A table of the pictures that a sentence fits best, and the same as files."""
    from segue.engine.find import captioning_model
    from segue.engine.find import find as search_folder
    from segue.engine.found import check_out, format_search, write_search
    from segue.engine.load import load

    imported()
    if arguments.out:
        check_out(arguments.out, arguments.folder)
    predictor = load(arguments.model or captioning_model(), arguments.device)
    search = search_folder(predictor, arguments.query, arguments.folder, arguments.top, arguments.threshold)
    for note in search.notes:
        print(f"segue: {printable(note)}", file=sys.stderr)
    print("\n".join(printable(line) for line in format_search(search).splitlines()))
    if arguments.out:
        write_search(search, predictor.categories, arguments.out)
    search.check()


def view(arguments: argparse.Namespace) -> None:
    """A recording, in Rerun's viewer or as a file."""
    from segue.engine.view import ViewOptions
    from segue.engine.view import view as show

    imported()
    a = arguments
    count = show(a.path, ViewOptions(a.model, a.threshold, a.device, a.explain, a.save))
    print(f"{count} logged{f': rerun {a.save}' if a.save else ''}")


def train(arguments: argparse.Namespace) -> None:
    """Train, then say where the model is."""
    from segue.engine.predictions import format_table
    from segue.engine.recipe import read_recipe
    from segue.engine.train import train as run

    imported()
    recipe = read_recipe(arguments.recipe, arguments.set)
    out = arguments.out or Path("runs") / recipe.name
    numbers = run(recipe, out, arguments.resume, arguments.device)
    if numbers:
        print(format_table(numbers))
    print(f"the run is in {out}: use it with `segue predict IMAGE --model {out}`")


def refuse_model_options(arguments: argparse.Namespace) -> None:
    """Saved predictions are scored as they are; raises `UsageError` for options that would change them."""
    unchanged = {"flip": False, "smooth": "pixels", "scales": (1.0,), "by": None}
    for name, value in unchanged.items():
        if getattr(arguments, name) != value:
            raise UsageError("is for models only", where=f"--{name}", cure="leave it out, or give --model")


def evaluate(arguments: argparse.Namespace) -> None:
    """A table of metrics, and the same as JSON."""
    from segue.data.dataset import open_dataset
    from segue.engine.predicted_maps import carries_maps
    from segue.engine.predictions import evaluate_predictions, format_table, write_metrics
    from segue.tasks import CAPTIONS, ImageTask, PixelTask, known_tasks, parsers_of

    imported()
    if arguments.predictions:
        refuse_model_options(arguments)
        tasks = known_tasks()
        dataset = open_dataset(
            arguments.data,
            parsers_of(tasks),
            arguments.images,
            need_images=False,
            panoptic=carries_maps(arguments.predictions),
            labels=True,
        )
        scores = evaluate_predictions(arguments.predictions, dataset, tasks)
    else:
        from segue.engine.evaluate import evaluate as score
        from segue.engine.load import load

        predictor = with_options(load(arguments.model, arguments.device), arguments)
        maps = any(isinstance(task, PixelTask) for task in predictor.tasks)
        labels = any(isinstance(task, ImageTask) for task in predictor.tasks)
        parsers = parsers_of(predictor.tasks)
        dataset = open_dataset(arguments.data, parsers, arguments.images, panoptic=maps, labels=labels)
        scores = score(predictor, dataset, by=arguments.by)
        if CAPTIONS in predictor.tasks and CAPTIONS.annotated(dataset):
            from segue.engine.search_numbers import search_numbers

            scores.numbers.update(search_numbers(predictor, dataset))
    print("\n".join(printable(line) for line in format_table(scores.numbers).splitlines()))
    if arguments.out:
        write_metrics(arguments.out, scores.numbers, scores.pictures)


def lecture(arguments: argparse.Namespace) -> None:
    """A folder of pages."""
    from segue.lecture import LECTURE, write_lecture

    imported()
    print(f"{len(LECTURE)} pages: open {write_lecture(LECTURE, arguments.out)}")


def convert(arguments: argparse.Namespace) -> None:
    """A model file, and where that is wanted the proof that it computes the same."""
    from segue.engine.convert import certify, convert_file

    imported()
    model = convert_file(arguments.file, arguments.out, arguments.source)
    left_out = model.notes.get("left_out", [])
    if left_out:
        print(f"segue: left out {len(left_out)} other weights, first {printable(left_out[0])}", file=sys.stderr)
    if arguments.verify:
        certificate, table = certify(arguments.file, arguments.out, model)
        print(certificate.table())
        print(f"the same is in {table}")
    print(f"{model.name}, {len(model.categories)} classes, licence {model.notes['licence']}: {arguments.out}")


def data_show(arguments: argparse.Namespace) -> None:
    """Numbers, and a contact sheet of a few pictures."""
    from segue.engine.datasets import show

    text = show(arguments.data, arguments.images, arguments.out)
    print("\n".join(printable(line) for line in text.splitlines()))


def data_check(arguments: argparse.Namespace) -> None:
    """Every fault; fatal ones make the command fail."""
    from segue.engine.datasets import check

    text, fatal = check(arguments.data, arguments.images)
    print("\n".join(printable(line) for line in text.splitlines()))
    if fatal:
        raise UsageError(f"{fatal} fatal faults", where=arguments.data, cure="mend them; training refuses this set")


def make_cells(arguments: argparse.Namespace) -> None:
    """Synthetic nuclei with annotations."""
    from segue.data.cells import write_cells

    write_cells(arguments.out, arguments.count, seed=arguments.seed)
    print(f"{arguments.count} pictures with annotations in {arguments.out}")


def make_toybox(arguments: argparse.Namespace) -> None:
    """Toy scenes with every annotation."""
    from segue.data.toybox.write import Order, write_toybox

    imported()
    order = Order(arguments.train, arguments.val, arguments.size, arguments.seed)
    write_toybox(arguments.out, order, arguments.workers)
    print(f"{order.train} and {order.val} pictures with annotations: {arguments.out}:train and {arguments.out}:val")


def models(arguments: argparse.Namespace) -> None:
    """The zoo as a list, or everything about one of its models."""
    from segue.models.zoo import zoo_model
    from segue.models.zoo_text import describe, listing

    print(describe(zoo_model(arguments.name)) if arguments.name else listing())
