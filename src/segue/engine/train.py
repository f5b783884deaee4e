"""The training loop."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from segue.data.dataset import Dataset, class_frequencies, open_dataset
from segue.data.mixture import Mixture, open_mixture
from segue.engine.checkpoint import Progress, read_checkpoint, write_checkpoint
from segue.engine.densecap_predictor import DenseCapPredictor
from segue.engine.evaluate import evaluate, scored_tasks
from segue.engine.fine_tuning import start_from
from segue.engine.loader import Collate, Stream, TrainingPictures, load_batches
from segue.engine.optimise import freeze, learning_rate, make_optimizer, update_average
from segue.engine.predictor import Predictor, pick_device
from segue.engine.recipe import Recipe, recipe_values, tasks_of
from segue.engine.region_predictor import RegionPredictor
from segue.engine.samples import write_samples
from segue.engine.semantic_predictor import SemanticPredictor
from segue.errors import DataError, RecipeError, TrainingError, UsageError
from segue.files import atomic_write
from segue.models.batch import Batch
from segue.models.densecap import DenseCap, with_vocabulary
from segue.models.inference import multiplies_bfloat16
from segue.models.region_network import RegionNetwork
from segue.models.semantic_network import SemanticNetwork
from segue.models.weights import ModelFile, write_model
from segue.nn.pixel_losses import median_frequency
from segue.tasks import SEMANTIC, ImageTask, PixelTask, RegionTask, Task, parsers_of

PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}

Network = RegionNetwork | SemanticNetwork | DenseCap


@dataclass
class Run:
    """What the parts of the loop share."""

    recipe: Recipe
    folder: Path
    fabric: Fabric
    tasks: list[Task]
    train: Mixture
    val: Dataset | None
    network: Network
    frozen: list[nn.Module]
    average: Network | None
    progress: Progress

    @property
    def scored(self) -> Network:
        """The weights that are evaluated and saved."""
        return self.network if self.average is None else self.average


def train(recipe: Recipe, folder: Path, resume: bool = False, device: str = "auto") -> dict[str, float]:
    """Train a model; everything it writes is below ``folder``. Returns the metrics of the last evaluation.

    Raises:
        UsageError: the folder holds another run.
        DataError: the data set has fatal faults.
        TrainingError: the loss is not a number.
    """
    fabric = make_fabric(recipe, device)
    run = start(recipe, folder, fabric, resume)
    optimizer = make_optimizer(run.network, recipe.training)
    wrapped, fabric_optimizer = fabric.setup(run.network, optimizer)
    if resume:
        run.progress = read_checkpoint(folder / "checkpoint.safetensors", run.network, run.average, optimizer)
        forget_after(folder / "metrics.jsonl", run.progress.step)
    numbers = loop(run, wrapped, fabric_optimizer, optimizer)
    fabric.barrier()
    return numbers


def make_fabric(recipe: Recipe, device: str) -> Fabric:
    """One device, or one process per device where ``torchrun`` started several."""
    target = pick_device(device)
    world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    accelerator = {"auto": "auto", "cuda": "gpu"}.get(device.split(":")[0], device)
    devices: Any = world if world > 1 or ":" not in device else [int(device.split(":")[1])]
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if world > 1 else "auto",
        precision=PRECISION[precision_on(target, recipe.training.precision)],
    )
    fabric.launch()
    return fabric


def precision_on(device: torch.device, wanted: str) -> str:
    """The precision that a recipe wants, ``auto`` decided for a device."""
    if wanted != "auto":
        return wanted
    quick = torch.cuda.is_bf16_supported() if device.type == "cuda" else device.type == "cpu" and multiplies_bfloat16()
    return "bf16" if quick else "32"


def start(recipe: Recipe, folder: Path, fabric: Fabric, resume: bool) -> Run:
    """Open the data, build the network, and claim the folder."""
    tasks = tasks_of(recipe)
    train_set, val = open_data(recipe, tasks)
    recipe = prepared(recipe, tasks, train_set.dataset)
    torch.manual_seed(recipe.training.seed)
    network = make_network(recipe, train_set.dataset, tasks)
    claim(folder, recipe, resume, fabric)
    if recipe.weights and not resume:
        with fabric.rank_zero_first():  # which downloads the weights, if need be
            fit = start_from(network, recipe, train_set.dataset.categories)
        fabric.print(fit.table(recipe.weights))
    if isinstance(network, SemanticNetwork) and not resume:  # a checkpoint has them
        network.class_weights.copy_(class_weights(network, train_set.dataset))
    if recipe.training.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    frozen = freeze(network, recipe.training.freeze)
    average = copy.deepcopy(network).eval().requires_grad_(False).to(fabric.device) if recipe.training.ema else None
    run = Run(recipe, folder, fabric, tasks, train_set, val, network, frozen, average, Progress())
    if val is not None:
        scored_tasks(predictor_of(run), val)  # raises now what the first evaluation would
    return run


def open_data(recipe: Recipe, tasks: Sequence[Task]) -> tuple[Mixture, Dataset | None]:
    """What to learn from, and what to score on."""
    parsers, maps = parsers_of(tasks), any(isinstance(task, PixelTask) for task in tasks)
    labels = any(isinstance(task, ImageTask) for task in tasks)
    mixture = open_mixture(recipe.data.sources, parsers, maps, labels)
    if not recipe.data.val:
        return mixture, None
    val = open_dataset(recipe.data.val, parsers, recipe.data.images, panoptic=maps, labels=labels)
    return mixture, mixture.as_trained(val)


def prepared(recipe: Recipe, tasks: Sequence[Task], dataset: Dataset) -> Recipe:
    """The recipe with what its tasks learn from the training data beforehand, such as a vocabulary."""
    if recipe.densecap is not None:
        return replace(recipe, densecap=with_vocabulary(recipe.densecap, dataset))
    heads = {task.name: recipe.network.head(task) for task in tasks}
    for task in tasks:
        if isinstance(task, RegionTask) and task.prepare is not None:
            heads[task.name] = task.prepare(heads[task.name], dataset)
    return replace(recipe, network=replace(recipe.network, tasks=heads)) if heads else recipe


def make_network(recipe: Recipe, dataset: Dataset, tasks: Sequence[Task]) -> Network:
    """The recipe's network for the data set's classes, with fresh weights."""
    if recipe.densecap is not None:
        return DenseCap(recipe.densecap, dataset.categories)
    if recipe.semantic is None:
        return RegionNetwork(recipe.network, dataset.categories, tasks)
    if not SEMANTIC.annotated(dataset):
        raise DataError(
            "no label maps to learn from", where=dataset.name, cure="name a data set with a map per picture"
        )
    try:
        return SemanticNetwork(recipe.semantic, len(dataset.categories))
    except (ValueError, RuntimeError, IndexError) as error:  # PyTorch's words for no or negative channels and the like
        what = f"impossible network ({' '.join(str(error).split())})"
        raise RecipeError(what, where="semantic.network", cure="mend its values") from None


def class_weights(network: SemanticNetwork, dataset: Dataset) -> Tensor:
    """(K,) weights of the classes as the loss wants them: those of a model to start from belong to other data."""
    balance = network.settings.loss.balance
    return median_frequency(class_frequencies(dataset), balance) if balance else torch.ones(len(dataset.categories))


def claim(folder: Path, recipe: Recipe, resume: bool, fabric: Fabric) -> None:
    """Make the run's folder and write the resolved recipe; refuse to mix two runs."""
    has_run = (folder / "checkpoint.safetensors").exists() or (folder / "metrics.jsonl").exists()
    if has_run and not resume:
        raise UsageError("holds a training run already", where=folder, cure="add --resume, or name another --out")
    if resume and not (folder / "checkpoint.safetensors").exists():
        raise UsageError("no checkpoint to resume", where=folder, cure="train without --resume")
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(recipe_values(recipe), sort_keys=False)
        atomic_write(folder / "recipe.yaml", text.encode())
    fabric.barrier()


def loop(run: Run, network: Any, optimizer: Any, bare: torch.optim.Optimizer) -> dict[str, float]:
    """Step after step, with logging, evaluation and checkpoints at their times."""
    s, fabric, progress = run.recipe.training, run.fabric, run.progress
    stream = Stream(run.train, s.batch, progress.step, s.steps, s.seed, fabric.global_rank, fabric.world_size)
    regions = [task for task in run.tasks if isinstance(task, RegionTask)]
    conventions = run.network.conventions
    pictures = TrainingPictures(
        run.train.dataset, run.recipe.augmentation, regions, s.seed, run.train.known, conventions
    )
    collate = Collate(conventions, run.network.multiple, regions)
    batches = load_batches(pictures, stream, collate, s.workers)
    bar = tqdm(initial=progress.step, total=s.steps, desc="train", unit="step", disable=not fabric.is_global_zero)
    numbers: dict[str, float] = {}
    with Log(run.folder, fabric.is_global_zero) as log, bar:
        for batch in batches:
            losses = train_step(run, network, optimizer, batch.to(fabric.device, s.channels_last))
            progress.step += 1
            bar.update()
            if progress.step % s.log_every == 0 or progress.step == s.steps:
                values = {f"loss/{name}": float(value) for name, value in losses.items()}
                bar.set_postfix_str(f"loss {sum(values.values()):.3f}")
                log.write(progress.step, {**values, "lr": learning_rate(progress.step - 1, s)})
            if progress.step % s.evaluate_every == 0 or progress.step == s.steps:
                numbers = score(run, log)
            if progress.step % s.checkpoint_every == 0 or progress.step == s.steps:
                save(run, bare)
            if s.patience and progress.stale >= s.patience:
                save(run, bare)
                break
    return numbers


def train_step(run: Run, network: Any, optimizer: Any, batch: Batch) -> dict[str, Tensor]:
    """One optimiser step. Chance depends on seed, step and process alone, so a resumed run repeats it exactly."""
    s, step = run.recipe.training, run.progress.step
    torch.manual_seed((s.seed * 1_000_003 + step) * 1_009 + run.fabric.global_rank)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, s)
    network.train()
    for part in run.frozen:
        part.eval()
    losses = losses_of(network, batch)
    total = torch.stack(list(losses.values())).sum()
    if not bool(total.isfinite()):
        bad = ", ".join(name for name, value in losses.items() if not bool(value.isfinite()))
        raise TrainingError(
            f"loss is not a number ({bad}) at step {step + 1}",
            where=", ".join(batch.files),
            cure="look at these pictures and their annotations, or lower training.lr",
        )
    optimizer.zero_grad(set_to_none=True)
    run.fabric.backward(total)
    if s.clip:
        run.fabric.clip_gradients(network, optimizer, max_norm=s.clip, error_if_nonfinite=False)
    optimizer.step()
    if run.average is not None:
        update_average(run.average, run.network, step, s.ema)
    return {name: value.detach() for name, value in losses.items()}


def losses_of(network: Any, batch: Batch) -> dict[str, Tensor]:
    """What the network makes of a batch; raises `TrainingError` where batch norm is left with a single value."""
    try:
        losses: dict[str, Tensor] = network(batch)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        cure = "raise training.batch, or take larger pictures"
        raise TrainingError("too few pixels for batch norm", where=", ".join(batch.files), cure=cure) from error
    return losses


def score(run: Run, log: Log) -> dict[str, float]:
    """Evaluate on the first process, keep the best weights, and draw samples."""
    numbers: dict[str, float] = {}
    run.network.eval()
    if run.fabric.is_global_zero:
        predictor = predictor_of(run)
        path = run.folder / "samples" / f"step_{run.progress.step:06d}.png"
        write_samples(predictor, run.val or run.train.dataset, path)
        if run.val is not None:
            numbers = evaluate(predictor, run.val, progress=False).numbers
            log.write(run.progress.step, numbers)
            value = numbers.get(run.recipe.training.best)
            if value is None:
                raise UsageError(
                    f"no metric {run.recipe.training.best!r}",
                    where="training.best",
                    cure=f"known are {', '.join(numbers)}",
                )
            keep_best(run, value, numbers)
    run.progress = run.fabric.broadcast(run.progress)
    return numbers


def keep_best(run: Run, value: float, numbers: dict[str, float]) -> None:
    """Write best.safetensors where the deciding metric is the highest so far."""
    if run.progress.best is None or value > run.progress.best:
        run.progress.best, run.progress.stale = value, 0
        write_model(run.folder / "best.safetensors", model_file(run, numbers))
    else:
        run.progress.stale += 1


def save(run: Run, optimizer: torch.optim.Optimizer) -> None:
    """The resumable checkpoint and the model as it is."""
    if run.fabric.is_global_zero:
        write_model(run.folder / "last.safetensors", model_file(run, {}))
        path = run.folder / "checkpoint.safetensors"
        write_checkpoint(path, run.progress, run.network, run.average, optimizer)
    run.fabric.barrier()


def model_file(run: Run, numbers: dict[str, float]) -> ModelFile:
    """The scored weights as a model file."""
    plain = recipe_values(run.recipe)
    return ModelFile(
        name=run.recipe.name,
        network=plain["network"] if run.recipe.kind == "network" else {run.recipe.kind: plain[run.recipe.kind]},
        categories=run.train.dataset.categories.to_json(),
        resize=run.recipe.augmentation.resize,
        state=run.scored.state_dict(),
        notes={"step": run.progress.step, "metrics": numbers, "recipe": plain},
    )


def predictor_of(run: Run) -> Predictor:
    """The scored weights, ready for use."""
    name, classes, resize = run.recipe.name, run.train.dataset.categories, run.recipe.augmentation.resize
    if isinstance(run.scored, SemanticNetwork):
        return SemanticPredictor(name, run.scored, classes, [SEMANTIC], resize)
    if isinstance(run.scored, DenseCap):
        return DenseCapPredictor(name, run.scored, classes, run.tasks, resize)
    return RegionPredictor(name, run.scored, classes, run.tasks, resize)


def forget_after(path: Path, step: int) -> None:
    """Drop the log lines that a resumed run will write again."""
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
        atomic_write(path, "".join(f"{line}\n" for line in lines).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line cut short by a kill
        return float("inf")


class Log:
    """metrics.jsonl and TensorBoard files of a run."""

    def __init__(self, folder: Path, active: bool) -> None:
        self.folder, self.active = folder, active

    def __enter__(self) -> Log:
        if self.active:
            from torch.utils.tensorboard import SummaryWriter

            self.lines = (self.folder / "metrics.jsonl").open("a", encoding="utf-8")
            self.board = SummaryWriter(str(self.folder / "tensorboard"))
        return self

    def __exit__(self, *error: object) -> None:
        if self.active:
            self.lines.close()
            self.board.close()

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """One line of numbers at a step."""
        if self.active:
            self.lines.write(json.dumps({"step": step, **numbers}) + "\n")
            self.lines.flush()
            for name, value in numbers.items():
                self.board.add_scalar(name, value, step)
