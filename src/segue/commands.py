"""What each command does: call the engine, print. Imports wait until a command needs them."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segue.errors import UsageError, printable

if TYPE_CHECKING:
    from segue.engine.predictor import Predictor


def with_options(predictor: Predictor, arguments: argparse.Namespace) -> Predictor:
    """The model, labelling pixels as it was asked to."""
    from segue.engine.predictor import PixelOptions

    options = PixelOptions(arguments.flip, arguments.scales, arguments.smooth)
    return predictor if options == PixelOptions() else predictor.with_options(options)


def imported() -> None:
    """Say that the imports are done: what they made stays for good, and collecting garbage begins."""
    gc.freeze()
    gc.enable()


def say_calibrated(where: str) -> None:
    """Which pictures decide on the scales of 8 bits."""
    print(f"segue: int8 is calibrated on the first pictures of {printable(where)}", file=sys.stderr)


def predict(arguments: argparse.Namespace) -> None:
    """Files in, a folder of results out."""
    from segue.engine.load import load
    from segue.engine.predict import PredictOptions, predict_files

    imported()
    options = PredictOptions(arguments.threshold, arguments.batch, arguments.tile, arguments.page)
    calibrate = arguments.calibrate
    if arguments.speed == "int8" and calibrate is None:
        calibrate = arguments.inputs
        say_calibrated(", ".join(calibrate))
    predictor = with_options(load(arguments.model, arguments.device, arguments.speed, calibrate), arguments)
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
        from segue.engine.calibrate import check_device, to_int8
        from segue.engine.evaluate import evaluate as score
        from segue.engine.load import load
        from segue.models.inference import Speed

        later = arguments.speed == "int8" and arguments.calibrate is None  # when the data set is open
        if later:
            check_device(arguments.device)
        speed: Speed = "fast" if later else arguments.speed
        predictor = with_options(load(arguments.model, arguments.device, speed, arguments.calibrate), arguments)
        maps = any(isinstance(task, PixelTask) for task in predictor.tasks)
        labels = any(isinstance(task, ImageTask) for task in predictor.tasks)
        parsers = parsers_of(predictor.tasks)
        dataset = open_dataset(arguments.data, parsers, arguments.images, panoptic=maps, labels=labels)
        if later:
            say_calibrated(arguments.data)
            to_int8(predictor, (dataset.image(index) for index in range(len(dataset))))
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


def export(arguments: argparse.Namespace) -> None:
    """A file that runs without Segue, checked against the model."""
    from segue.engine.load import load_trained
    from segue.export.onnx_file import check_place, export_onnx

    imported()
    check_place(arguments.out)
    found, left_out = export_onnx(load_trained(arguments.model), arguments.out)
    if left_out:
        print(f"segue: not in the file: {', '.join(left_out)}; see docs/export.md", file=sys.stderr)
    print(f"{arguments.out}: the same as the model ({found})")


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
