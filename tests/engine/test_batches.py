"""Which pictures go through a network together: the same scenes in the same order, whatever the batch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor, nn

import segue
from segue.data.images import read_image
from segue.engine.batches import Batch, in_order, pictures_at_once, room_for
from segue.engine.predictor import Predictor
from segue.errors import ImageError, UsageError
from segue.structures import Categories, Category, Regions, Scene

PIXELS = {"A": (8, 12), "B": (12, 8), "C": (4, 4)}


def pictures(sizes: str) -> Iterator[tuple[Tensor, str | None]]:
    """One for each letter; its place is the value of its pixels, and its file."""
    for place, size in enumerate(sizes):
        yield torch.full((3, *PIXELS[size]), place, dtype=torch.uint8), str(place)


class Counter(Predictor):
    """Says of each picture how bright it is; keeps what it saw together; has memory for so many at once."""

    def __init__(self, memory: int = 1000) -> None:
        super().__init__("counter", nn.Linear(1, 1), Categories([Category("thing", 1)]), [])
        self.memory, self.seen = memory, list[list[int]]()

    def scenes(self, pictures: Sequence[tuple[Tensor, str | None]], threshold: float) -> list[Scene]:
        self.seen.append([int(pixels[0, 0, 0]) for pixels, _ in pictures])
        assert len({pixels.shape for pixels, _ in pictures}) == 1
        if len(pictures) > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [
            Scene((pixels.shape[1], pixels.shape[2]), self.categories, Regions.empty(), file=file)
            for pixels, file in pictures
        ]

    def tiled(self, image: Tensor, side: int, threshold: float, file: str | None = None) -> Scene:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("size", "pixels", "count"),
    [((10, 10), 400, 4), ((10, 10), 499, 4), ((10, 10), 99, 1), ((10, 10), 0, 1), ((1, 1), 10**9, 16)],
)
def test_how_many_pictures_of_a_size(size: tuple[int, int], pixels: int, count: int) -> None:
    assert pictures_at_once(size, 16, pixels) == count


def test_a_gpu_takes_a_share_of_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the free memory is twice the pictures; one always goes."""
    counts = []
    for gigabytes in (4, 8):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=gigabytes * 10**9: (free, 80 * 10**9))
        counts.append(room_for("auto", torch.device("cuda", 0)).count((256, 512)))
    assert counts == [7, 14]
    assert room_for("auto", torch.device("cuda", 0)).count((64, 64)) == 16
    assert room_for("auto", torch.device("cuda", 0)).count((20_000, 30_000)) == 1


def test_a_cpu_takes_few_small_pictures_and_large_ones_alone() -> None:
    room = room_for("auto", torch.device("cpu"))
    assert [room.count((side, side)) for side in (64, 256, 362, 512)] == [4, 4, 2, 1]


@pytest.mark.parametrize("batch", [1, 2, 5, "auto"])
@pytest.mark.parametrize("sizes", ["", "A", "AAAAAAA", "ABABABABAB", "ABCCCCCCCCCCCCCCA", "ABCBAACB"])
def test_order_stays_and_nothing_is_lost(sizes: str, batch: Batch) -> None:
    model = Counter()
    found = list(model.look(pictures(sizes), batch=batch))
    assert [scene.file for _, scene in found] == [str(place) for place in range(len(sizes))]
    assert [int(pixels[0, 0, 0]) for pixels, _ in found] == list(range(len(sizes)))
    assert [scene.size for _, scene in found] == [PIXELS[size] for size in sizes]
    assert sorted(place for chunk in model.seen for place in chunk) == list(range(len(sizes)))


def test_two_sizes_in_turns_make_full_batches() -> None:
    model = Counter()
    list(model.look(pictures("AB" * 8), batch=4))
    assert model.seen == [[0, 2, 4, 6], [1, 3, 5, 7], [8, 10, 12, 14], [9, 11, 13, 15]]


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("seed", range(20))
def test_a_stream_asks_for_what_it_needs(batch: int, seed: int) -> None:
    """A scene comes before the twofold batch of pictures behind it is asked for; of one size, before a batch is."""
    asked = 0

    def counted(sizes: str) -> Iterator[tuple[Tensor, str | None]]:
        nonlocal asked
        for asked, picture in enumerate(pictures(sizes), 1):  # noqa: B007
            yield picture

    for place, _ in enumerate(Counter().look(counted("".join(Random(seed).choices("ABC", k=40))), batch=batch)):
        assert asked <= place + 2 * batch
    for place, _ in enumerate(Counter().look(counted("A" * 40), batch=batch)):
        assert asked <= place + batch


def test_memory_that_has_no_room_for_a_batch_takes_halves_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    monkeypatch.setattr(Counter, "device", torch.device("cuda", 0))
    model = Counter(memory=3)
    found = [scene.file for _, scene in model.look(pictures("C" * 40), batch="auto")]
    assert found == [str(place) for place in range(40)]
    assert [len(chunk) for chunk in model.seen] == [16, 8, 4] + [2] * 20


def test_memory_without_room_for_one_picture_is_an_error() -> None:
    with pytest.raises(ImageError, match="0: memory has no room"):
        list(Counter(memory=0).look(pictures("AAAA"), batch="auto"))


def test_a_batch_that_was_asked_for_is_not_halved() -> None:
    with pytest.raises(ImageError, match="smaller --batch"):
        list(Counter(memory=1).look(pictures("AA"), batch=2))


@pytest.mark.parametrize("batch", [0, -3, "many", 1.5])
def test_what_is_no_batch(batch: int) -> None:
    with pytest.raises(UsageError, match=f"batch of {batch} pictures; use auto, or 1 or more"):
        Counter().look(pictures("A"), batch=batch)


def test_places_come_in_order_as_soon_as_they_can() -> None:
    given = iter([(1, "b"), (0, "a"), (2, "c"), (4, "e"), (3, "d")])
    found = in_order(given)
    assert [next(found), next(found), next(found)] == ["a", "b", "c"]
    assert next(given) == (4, "e")  # has not been asked for


def test_auto_finds_what_one_at_a_time_finds(model_file: Path, cells: Path) -> None:
    """In pictures of two sizes in turns: the same objects up to rounding."""
    model = segue.load(model_file, device="cpu")
    pixels = [read_image(path)[:, :160] for path in sorted(cells.parent.glob("*.png"))[:3]]
    mixed = [picture for upright in pixels for picture in (upright, upright.transpose(1, 2).contiguous())]
    for one, auto in zip(model.predict(mixed, 0.3), model.predict(mixed, 0.3, batch="auto"), strict=True):
        assert one.size == auto.size
        assert len(one.regions) > 5
        assert torch.equal(one.regions.labels, auto.regions.labels)
        torch.testing.assert_close(one.regions.scores, auto.regions.scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.regions.boxes, auto.regions.boxes, atol=1e-3, rtol=0)
