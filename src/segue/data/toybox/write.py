"""Toybox pictures as a data set in the files of public ones: COCO, COCO panoptic, Visual Genome, Pix3D."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from segue.data.layout import UNFINISHED
from segue.data.panoptic_write import map_picture
from segue.data.toybox.bridge import to_scene
from segue.data.toybox.entries import DOCUMENTS, Address, Row, document, obj_text, picture_rows
from segue.data.toybox.render import render
from segue.errors import UsageError
from segue.files import atomic_write, cannot_write

STAMP = "annotations/toybox.json"
SPAN = 2**24  # scene numbers that a split has to itself; as many pictures fit in


@dataclass(frozen=True)
class Order:
    """A data set to make.

    Picture n, counted from 1, is the scene ``2 SPAN seed + n - 1`` of `render` in ``train``, and ``SPAN`` further on in
    ``val``. So no scene is in both splits, or in sets of two seeds, however many pictures there are.

    Attributes:
        train: pictures to train on.
        val: pictures to validate on.
        size: pixels a side.
        seed: not negative.
    """

    train: int
    val: int
    size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.train, self.val)
        if min(counts) < 0 or not 0 < max(counts) <= SPAN or self.size < 16 or self.seed < 0:
            raise UsageError(
                f"cannot make {self.train} and {self.val} pictures of {self.size} pixels a side from seed {self.seed}",
                cure=f"use 1 to {SPAN} pictures, 16 pixels a side, and no negative number",
            )

    def jobs(self, folder: Path) -> list[Job]:
        """Every picture."""
        starts = {"train": 2 * SPAN * self.seed, "val": 2 * SPAN * self.seed + SPAN}
        return [
            Job(folder, Address(split, i + 1), starts[split] + i, self.size)
            for split, count in (("train", self.train), ("val", self.val))
            for i in range(count)
        ]


@dataclass(frozen=True)
class Job:
    """One picture to make: where, which scene, and its pixels a side."""

    folder: Path
    address: Address
    seed: int
    size: int

    @property
    def part(self) -> Path:
        """The file that keeps what the JSON files will say of it."""
        return self.folder / UNFINISHED / self.address.split / f"{self.address.name}.json"

    @property
    def done(self) -> bool:
        """Whether all its files are there."""
        files = (self.part, self.folder / self.address.image, self.folder / self.address.map)
        return all(file.is_file() for file in files)


def write_toybox(folder: str | os.PathLike[str], order: Order, workers: int | None = 1) -> None:
    """Make a data set, or the rest of one that was interrupted; what is finished is left as it is.

    ``images/SPLIT`` has the pictures, ``annotations`` the JSON files (see `DOCUMENTS`) and panoptic maps,
    ``meshes/SPLIT`` a mesh for each thing. The same order makes the same files, whatever the workers. An order of more
    pictures than a finished set has makes all anew, the first ones as they were.

    Args:
        folder: new, empty, or of an earlier call with this seed and size and not more pictures.
        order: what to make.
        workers: processes; None takes one for each processor. More than one are spawned, so that a script that calls
            this needs Python's usual ``if __name__ == "__main__"``.

    Raises:
        UsageError: the folder holds something else or cannot be written, or a worker died.
    """
    folder = Path(folder)
    if not _claim(folder, order):
        return
    jobs = order.jobs(folder)
    for job in (jobs[0], jobs[-1]):
        _make_folders(job)
    _make_all([job for job in jobs if not job.done], len(jobs), workers or os.cpu_count() or 1)
    for split in ("train", "val"):
        _assemble(folder, split, [job.part for job in jobs if job.address.split == split])
    shutil.rmtree(folder / UNFINISHED)


def _claim(folder: Path, order: Order) -> bool:
    """Note in the folder what it is for, and say whether anything is left to do; refuse one with something else."""
    earlier = _earlier(folder)
    if earlier and (earlier.seed, earlier.size) != (order.seed, order.size):
        what = f"the folder holds pictures of {earlier.size} pixels a side from seed {earlier.seed}"
        raise UsageError(what, where=folder, cure="ask for the same, or name another folder")
    if earlier and (earlier.train > order.train or earlier.val > order.val):
        what = f"the folder holds {earlier.train} pictures of train and {earlier.val} of val"
        raise UsageError(what, where=folder, cure="ask for as many or more, or name another folder")
    if earlier == order and not (folder / UNFINISHED).exists():
        return False
    try:
        (folder / UNFINISHED).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    atomic_write(folder / STAMP, json.dumps(asdict(order)).encode())
    return True


def _earlier(folder: Path) -> Order | None:
    """What a folder is for, None where it is new or empty; raises `UsageError` where it is not Toybox's."""
    stamp = folder / STAMP
    try:
        if stamp.exists():
            return Order(**json.loads(stamp.read_text()))
        if not folder.exists() or not any(path.name != UNFINISHED for path in folder.iterdir()):
            return None
    except (OSError, ValueError, TypeError, UsageError):  # what is there makes no sense
        pass
    raise UsageError("this is no folder of Toybox pictures", where=folder, cure="name a new or empty folder")


def _make_folders(job: Job) -> None:
    """The folders of a picture's split."""
    files = (job.part, *(job.folder / name for name in (job.address.image, job.address.map, job.address.mesh(0))))
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)


def _make_all(jobs: Sequence[Job], total: int, workers: int) -> None:
    """Make pictures, here or in processes; when that is interrupted, what is done is done."""
    with tqdm(initial=total - len(jobs), total=total, desc="toybox", unit="image", disable=None) as bar:
        if min(workers, len(jobs)) < 2:
            for job in jobs:
                _make(job)
                bar.update()
            return
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _start_worker)
        try:
            for _ in pool.map(_make, jobs, chunksize=4):
                bar.update()
        except BrokenProcessPool:
            cure = "run it again, with fewer workers if memory is short; it goes on where it was"
            raise UsageError("a worker process died", cure=cure) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One thread each, and let the parent decide what an interrupt means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _make(job: Job) -> None:
    """Make a picture and its files; the part comes last, so that where it is, the others are whole."""
    sample = render(job.seed, (job.size, job.size))
    scene = to_scene(sample, f"{job.address.name}.png")
    assert scene.panoptic is not None  # `to_scene` always makes one
    Image.fromarray(sample.image).save(job.folder / job.address.image)
    map_picture(scene.panoptic).save(job.folder / job.address.map)
    for i, thing in enumerate(sample.things):
        (job.folder / job.address.mesh(i)).write_text(obj_text(thing))
    atomic_write(job.part, json.dumps(picture_rows(job.address, sample, scene)).encode())


def _assemble(folder: Path, split: str, parts: Sequence[Path]) -> None:
    """Write a split's JSON files; one without pictures has none."""
    if not parts:
        return
    images = _gather(parts, "images")
    for kind in DOCUMENTS:
        content = document(kind, images, _gather(parts, kind))
        atomic_write(folder / "annotations" / f"{kind}_{split}.json", json.dumps(content).encode())


def _gather(parts: Sequence[Path], name: str) -> list[Row]:
    """The rows of this name of all parts; they are read for each name anew, since all at once may be too many."""
    return [row for part in parts for row in json.loads(part.read_bytes())[name]]
