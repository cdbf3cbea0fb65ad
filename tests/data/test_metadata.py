"""Metadata in sub-folders, as `imagefolder` has them."""

import json
import logging

import pytest
from PIL import Image

from vqlearn.data import ImageFolder


@pytest.fixture(autouse=True)
def warnings_only(caplog):
    caplog.set_level(logging.WARNING, logger="vqlearn")


def fill(folder, *captions, name="metadata.jsonl", grey=0):
    """A folder with one image and a line for each caption."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(folder / "x.png")
    lines = [{"file_name": "x.png", "text": caption} for caption in captions]
    (folder / name).write_text("\n".join(map(json.dumps, lines)))


def test_every_sub_folder_may_have_metadata_whose_names_begin_there(tmp_path, caplog):
    for grey, place in enumerate((".", "cats", "cats/black", "dogs")):
        fill(tmp_path / place, place, grey=grey)
    (tmp_path / "empty").mkdir()
    source = ImageFolder(tmp_path, 8)
    assert source.captions() == [".", "cats", "cats/black", "dogs"]
    assert (source.images[:, 0, 0, 0]).tolist() == [0, 1, 2, 3]
    assert not caplog.messages


def test_what_is_for_tests_or_hidden_is_not_trained_on(tmp_path, caplog):
    for place in ("train", "test", "train/val", ".hidden", "__MACOSX"):
        fill(tmp_path / place, place)
    assert ImageFolder(tmp_path, 8).captions() == ["train"]
    expected = [tmp_path / place / "metadata.jsonl" for place in ("test", "train/val")]
    assert caplog.messages == [f"{x} is not read: its folder is not for training" for x in expected]
    assert ImageFolder(tmp_path / "test", 8).captions() == ["test"]


def test_of_two_files_side_by_side_one_is_read_and_the_other_named(tmp_path, caplog):
    fill(tmp_path, "json")
    (tmp_path / "metadata.csv").write_text("file_name,text\nx.png,csv\n")
    assert ImageFolder(tmp_path, 8).captions() == ["json"]
    told = f"{tmp_path / 'metadata.csv'} is not read: metadata.jsonl is beside it"
    assert caplog.messages == [told]


def test_lines_that_cannot_be_used_are_named_with_their_file(tmp_path, caplog):
    fill(tmp_path / "a", "same")
    fill(tmp_path / "b", "other", "")
    lines = [{"file_name": "a/x.png", "text": "same"}, {"file_name": "../x.png", "text": "out"}]
    Image.new("L", (8, 8)).save(tmp_path.parent / "x.png")
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert ImageFolder(tmp_path, 8).captions() == ["same", "other"]
    told = [message.replace(str(tmp_path), "") for message in caplog.messages]
    assert [message.split("; allowed")[0] for message in told] == [
        "/metadata.jsonl line 2 is left out: file_name is '../x.png'",
        "/a/metadata.jsonl line 1 is left out: it repeats /metadata.jsonl line 1",
        "/b/metadata.jsonl line 2 is left out: text is ''",
    ]


def test_links_lead_to_each_folder_once(tmp_path):
    fill(tmp_path / "elsewhere", "linked")
    data = tmp_path / "data"
    data.mkdir()
    (data / "train").symlink_to(tmp_path / "elsewhere")
    (data / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(data)
    assert ImageFolder(data, 8).captions() == ["linked"]


def test_the_digest_does_not_depend_on_where_the_common_folder_lies(tmp_path):
    for base in ("one", "two/deeper"):
        for place in ("a", "b"):
            fill(tmp_path / base / place, place)
    digests = {ImageFolder(tmp_path / base, 8).digest for base in ("one", "two")}
    assert len(digests) == 1
    fill(tmp_path / "two/deeper/c", "c")
    assert ImageFolder(tmp_path / "two", 8).digest not in digests


def test_a_first_line_that_is_no_csv_is_refused(tmp_path):
    (tmp_path / "metadata.csv").write_text('"file_name"x,text\na.png,a cat\n')
    with pytest.raises(ValueError, match=r"the first line of .*metadata\.csv is no CSV: "):
        ImageFolder(tmp_path, 8)
