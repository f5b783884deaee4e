import pytest

from segue.data.inputs import find_inputs, is_video
from segue.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "c.mp4", "notes.txt", ".hidden.png", "deep/d.png", "deep/e.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_a_folder_stands_for_its_pictures_sorted(folder):
    assert names(find_inputs([folder])) == ["a.JPG", "b.png", "c.mp4"]


def test_files_keep_their_order_and_come_once(folder):
    assert names(find_inputs([folder / "b.png", folder / "notes.txt", folder])) == [
        "b.png",
        "notes.txt",
        "a.JPG",
        "c.mp4",
    ]


def test_patterns(folder):
    assert names(find_inputs([f"{folder}/*.png"])) == ["b.png"]
    assert names(find_inputs([f"{folder}/**/*.png"])) == ["b.png", "d.png"]


def test_a_file_whose_name_looks_like_a_pattern(folder):
    (folder / "photo[1].png").touch()
    assert names(find_inputs([folder / "photo[1].png"])) == ["photo[1].png"]


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("none.png", "no such file"),
        ("*.webp", "matches no file"),
        ("empty", "holds no picture"),
        ("zero\0", "zero byte"),
    ],
)
def test_what_matches_nothing_is_named(folder, name, match):
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match=match) as caught:
        find_inputs([folder / "b.png", folder / name])
    assert name.strip("\0") in str(caught.value)
    assert caught.value.cure


def test_a_folder_of_folders_gets_a_hint(folder):
    (folder / "deep" / "deeper").mkdir()
    (folder / "top").mkdir()
    (folder / "top" / "below").mkdir()
    with pytest.raises(UsageError, match=r"\*\*"):
        find_inputs([folder / "top"])


def test_no_input():
    with pytest.raises(UsageError, match="no input"):
        find_inputs([])


def test_videos_by_their_ending():
    assert is_video("a/b.MP4")
    assert is_video("x.mov")
    assert not is_video("x.png")
    assert not is_video("mp4")
