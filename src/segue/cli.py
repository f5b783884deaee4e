"""The command line: what can be asked for, and what is said of errors."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from segue import __version__
from segue.commands import (
    convert,
    data_check,
    data_show,
    demo,
    evaluate,
    export,
    find,
    lecture,
    make_cells,
    make_toybox,
    models,
    predict,
    train,
    view,
)
from segue.errors import SegueError, printable
from segue.memory import keep_memory

Command = Callable[[argparse.Namespace], None]


def run() -> int:
    """The command `segue`, which has a process of its own; returns the exit code."""
    keep_memory()
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    warnings.showwarning = note
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


def note(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line."""
    print(f"segue: note: {printable(str(message))}", file=sys.stderr)


def failed(message: str, exit_code: int, debug: bool = False) -> int:
    """Say what went wrong in one line, after the traceback if that is wanted; returns the exit code."""
    if debug:
        traceback.print_exc()
    print(f"segue: error: {printable(message)}", file=sys.stderr)
    return exit_code


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
    add_export(commands)
    add_lecture(commands)
    command = add_command(commands, "models", models, "the zoo: names, tasks, classes, scores, licences")
    command.add_argument("name", nargs="?", metavar="NAME", help="say everything about this one")
    return top


if TYPE_CHECKING:
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
    add_speed(add)
    add("--batch", type=batch, default=1, help="images of equal size to look at together, or auto (default: 1)")
    add("--tile", type=positive, metavar="PX", help="look at large images in tiles of this side")
    add("--page", action="store_true", help="write page.html with a switch for each task (captions, meshes: always)")
    add_pixel_options(add)


def add_speed(add: Callable[..., argparse.Action]) -> None:
    """For commands that run a network."""
    text = "exact computes as the model was trained, fast in 16 bits, int8 mostly in 8 (default: exact)"
    add("--speed", default="exact", metavar="exact|fast|int8", help=text)
    text = "for int8: pictures, or a folder, like those to come (default: the first that are looked at)"
    add("--calibrate", metavar="PATH", help=text)


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
    add = add_command(commands, "view", view, "look at results, pictures or a run in Rerun").add_argument
    add(
        "path", type=Path, metavar="PATH", help="folder of `segue predict` or `segue train`; a picture, video or folder"
    )
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
    add_speed(command.add_argument)


def add_lecture(commands: Commands) -> None:
    """`segue lecture`."""
    add = add_command(
        commands, "lecture", lecture, "each figure and number of the lecture, from live code"
    ).add_argument
    add("--out", type=Path, default=Path("segue-lecture"), help="folder for the pages (default: segue-lecture)")


def add_convert(commands: Commands) -> None:
    """`segue convert`."""
    add = add_command(commands, "convert", convert, "turn public weights into a model file").add_argument
    add("file", type=Path, metavar="FILE", help="weights of torchvision, detectron2 or Mesh R-CNN")
    add("--from", dest="source", choices=("torchvision", "detectron2", "meshrcnn"), help="admit only its networks")
    add("--out", type=Path, required=True, metavar="FILE.safetensors", help="the model file")
    add("--verify", action="store_true", help="compare it with the original, stage by stage where that is installed")


def add_export(commands: Commands) -> None:
    """`segue export`."""
    add = add_command(commands, "export", export, "write a model as a file that runs without Segue").add_argument
    add("--model", required=True, help="a zoo name, a .safetensors file or a run folder")
    add("--format", choices=("onnx",), default="onnx", help="of the file (default: onnx)")
    add("--speed", choices=("exact",), default="exact", help="the file multiplies in 32 bits (default: exact)")
    add("--out", type=Path, required=True, metavar="FILE.onnx", help="the file")


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


def batch(text: str) -> int | str:
    """A whole number from 1, or auto."""
    return processes(text) or text


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
