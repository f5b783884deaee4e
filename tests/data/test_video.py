import builtins
import struct
from fractions import Fraction

import pytest
import torch

from segue.data.video import frame_count, frame_rate, frames, write_video
from segue.errors import ImageError, UsageError

pytest.importorskip("av")


def clip(count=5, height=48, width=64):
    """Smooth pictures that brighten from frame to frame, left darker than right."""
    x = torch.linspace(0, 120, width).expand(height, width)
    return [torch.stack([x + 20 * i, x / 2, 120 - x]).to(torch.uint8) for i in range(count)]


def test_round_trip(tmp_path):
    write_video(tmp_path / "v.mp4", iter(clip()), rate=30)
    read = list(frames(tmp_path / "v.mp4"))
    assert [number for number, _ in read] == [0, 1, 2, 3, 4]
    for (_, frame), wanted in zip(read, clip(), strict=True):
        assert frame.dtype == torch.uint8
        assert frame.shape == wanted.shape
        assert (frame.float() - wanted.float()).abs().mean() < 4
    assert frame_count(tmp_path / "v.mp4") == 5
    assert frame_rate(tmp_path / "v.mp4") == 30
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


def test_odd_sizes_grow_by_one(tmp_path):
    write_video(tmp_path / "v.mp4", clip(2, 47, 63), rate=Fraction(30000, 1001))
    assert next(frames(tmp_path / "v.mp4"))[1].shape == (3, 48, 64)
    assert frame_rate(tmp_path / "v.mp4") == Fraction(30000, 1001)


def test_nothing_half_written(tmp_path):
    with pytest.raises(UsageError, match="no frame"):
        write_video(tmp_path / "v.mp4", [])
    with pytest.raises(UsageError, match="one size"):
        write_video(tmp_path / "v.mp4", [*clip(1), *clip(1, 50, 64)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no video at all" * 50])
def test_what_is_no_video(tmp_path, content):
    (tmp_path / "x.mp4").write_bytes(content)
    for read in (lambda path: list(frames(path)), frame_count, frame_rate):
        with pytest.raises(ImageError, match=r"x\.mp4"):
            read(tmp_path / "x.mp4")
    with pytest.raises(ImageError, match="no such video"):
        frame_count(tmp_path / "missing.mp4")


def test_truncated_and_damaged(tmp_path):
    write_video(tmp_path / "v.mp4", clip(20), rate=25)
    content = (tmp_path / "v.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match="damaged"):
        list(frames(tmp_path / "cut.mp4"))


def test_one_clear_message_without_pyav(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_av(name, *rest):
        if name == "av":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(UsageError, match=r"pip install 'segue\[video\]'"):
        next(frames(tmp_path / "v.mp4"))


def test_phones_store_portrait_videos_on_their_side(tmp_path):
    """The display matrix of the track header (ISO 14496-12, 8.3.2) asks for a quarter turn clockwise."""
    write_video(tmp_path / "v.mp4", clip(1))
    upright = next(frames(tmp_path / "v.mp4"))[1]
    content = (tmp_path / "v.mp4").read_bytes()
    track = content.index(b"tkhd")
    matrix = content.index(struct.pack(">5i", 1 << 16, 0, 0, 0, 1 << 16), track)
    turned = struct.pack(">5i", 0, 1 << 16, 0, -1 << 16, 0)  # x, y -> -y, x
    (tmp_path / "t.mp4").write_bytes(content[:matrix] + turned + content[matrix + 20 :])
    frame = next(frames(tmp_path / "t.mp4"))[1]
    assert torch.equal(frame, torch.rot90(upright, -1, (1, 2)))
