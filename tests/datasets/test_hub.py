"""Data sets of the Hugging Face kind, made in a folder: their columns and splits, streams, and what is refused."""

import importlib
import io
import os
import re
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from huggingface_hub import constants
from PIL import Image
from pyarrow.parquet import write_table

from ditbench.datasets import hub
from ditbench.datasets.hub import list_hub
from ditbench.errors import BadFile, BadValue, DitbenchError

DRAW = np.random.default_rng(0)
KINDS = {"picture": datasets.Image(), "kind": ClassLabel(names=["cat", "dog"])}


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    """The library's cache is the test's own, and it draws no bars."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def picture():
    content = io.BytesIO()
    Image.fromarray(DRAW.integers(0, 256, (6, 7, 3), np.uint8)).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def rows(count, labels=None, kinds=KINDS, **columns):
    """A data set of `count` pictures, labelled 0, 1, 0, ... unless told otherwise."""
    labels = [number % 2 for number in range(count)] if labels is None else labels
    found = {"picture": [picture() for _ in range(count)], "kind": labels, **columns}
    return Dataset.from_dict({name: found[name] for name in kinds}, features=Features(kinds))


def parquet(folder, parts=1, **splits):
    """A folder with a data set in the hub's usual form."""
    folder.mkdir()
    for name, split in splits.items():
        for part in range(parts):
            split.shard(parts, part).to_parquet(folder / f"{name}-{part:05d}-of-{parts:05d}.parquet")
    return folder


def contents(split):
    return [row["bytes"] for row in split.cast_column("picture", datasets.Image(decode=False))["picture"]]


@pytest.mark.parametrize("scheme", ["hf", "hf-stream"])
def test_parquet_gives_the_encoded_images_as_they_are(tmp_path, scheme):
    train, test = rows(30), rows(4)
    name = f"{scheme}:{parquet(tmp_path / 'pets', 3, train=train, test=test)}"
    raw = list_hub(name)
    assert (
        raw.class_names == ("cat", "dog") and raw.labels.tolist() == train["kind"][:] and raw.labels.dtype == np.int64
    )
    assert [raw.read(number) for number in range(30)] == contents(train)
    assert (raw.name, raw.place, raw.split) == ("pets", name, "train") and raw.title(3) == f"{name} (train image 3)"
    assert raw.held_out.split == "test" and raw.held_out.read(2) == contents(test)[2]
    assert list_hub(name).listing == raw.listing != raw.held_out.listing


@pytest.mark.parametrize("whole", [False, True])
def test_what_was_saved_to_disk_opens(tmp_path, whole):
    train = rows(5)
    (DatasetDict(train=train, validation=rows(3), test=rows(2)) if whole else train).save_to_disk(tmp_path / "saved")
    raw = list_hub(f"hf:{tmp_path / 'saved'}")
    assert [raw.read(number) for number in (4, 0)] == [contents(train)[4], contents(train)[0]]
    assert (raw.held_out.split == "validation") if whole else raw.held_out is None
    with pytest.raises(BadFile, match=r"saved' is whole on this disk and can't be streamed: 'hf:/"):
        list_hub(f"hf-stream:{tmp_path / 'saved'}")


def test_an_image_folder_opens_and_is_read_from_its_files(tmp_path):
    for kind in ("cat", "dog"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        (tmp_path / "pets" / kind / "1.png").write_bytes(picture()["bytes"])
    raw = list_hub(f"hf:{tmp_path / 'pets'}")
    assert raw.class_names == ("cat", "dog") and raw.labels.tolist() == [0, 1]
    assert raw.read(1) == (tmp_path / "pets/dog/1.png").read_bytes()
    (tmp_path / "pets/dog/1.png").unlink()
    with pytest.raises(BadFile, match=r"\(train image 1\): .*1\.png' can't be read \(.*No such file"):
        raw.read(1)


@pytest.mark.parametrize("scheme", ["hf", "hf-stream"])
def test_a_row_may_name_a_file_of_its_own_data_set_and_no_other(tmp_path, scheme, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pets, theirs = tmp_path / "pets", tmp_path / "theirs.png"
    theirs.write_bytes(picture()["bytes"])
    named = ["mine.png", "../theirs.png", str(theirs), "link.png", "theirs.png", "/dev/zero", "a\0b", "up/theirs.png"]
    made = rows(len(named), picture=[{"bytes": None, "path": path} for path in named])
    write_table(made.with_format("arrow")[:], parquet(pets) / "train.parquet")  # not with the files in it
    (pets / "mine.png").write_bytes(picture()["bytes"])
    (pets / "link.png").symlink_to(theirs)
    (pets / "up").symlink_to(tmp_path)
    raw = list_hub(f"{scheme}:{pets}")
    assert raw.read(0) == (pets / "mine.png").read_bytes()
    for number, path in enumerate(named):
        words = "can't be read" if path == "theirs.png" else re.escape(f"the path {path!r}, which leads out")
        with pytest.raises(BadFile, match=rf"\(train image {number}\).* .*{words}") if number else nullcontext():
            raw.read(number)


def test_a_row_of_the_hub_names_a_file_only_if_the_library_has_listed_it(tmp_path):
    source = hub._parse("hf:somebody/pets")
    kind = types.SimpleNamespace
    listed, others = (kind(info=kind(builder_name=name)) for name in ("imagefolder", "parquet"))
    assert hub._home(source, others) is None and hub._home(source, listed) == Path(constants.HF_HUB_CACHE)


@pytest.mark.parametrize("kind", ["hf", "hf-stream", "saved"])
def test_data_of_the_same_shape_are_told_apart_and_known_again(tmp_path, kind):
    scheme = "hf" if kind == "saved" else kind
    for name in ("one", "other"):
        made, folder = rows(4), tmp_path / name
        made.save_to_disk(folder) if kind == "saved" else parquet(folder, train=made)
    one, again, other = (list_hub(f"{scheme}:{tmp_path / name}") for name in ("one", "one", "other"))
    assert one.stamp == again.stamp != other.stamp
    (file,) = [file for file in (tmp_path / "one").iterdir() if file.suffix in (".parquet", ".arrow")]
    os.utime(file, (1, 1))
    assert list_hub(f"{scheme}:{tmp_path / 'one'}").stamp != one.stamp


@pytest.mark.parametrize("kind", ["hf", "hf-stream", "saved"])
def test_local_files_that_changed_and_kept_their_times_are_read_anew(tmp_path, kind):
    scheme, folder = "hf" if kind == "saved" else kind, tmp_path / "pets"
    one = rows(4)
    for place, made in (("pets", one), ("others", one.select([3, 2, 1, 0]))):
        made.save_to_disk(tmp_path / place) if kind == "saved" else parquet(tmp_path / place, train=made)
        for file in (tmp_path / place).iterdir():
            os.utime(file, (1, 1))
    before = list_hub(f"{scheme}:{folder}")
    first = before.read(0)
    for file in (tmp_path / "others").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
        os.utime(folder / file.name, (1, 1))
    after = list_hub(f"{scheme}:{folder}")
    assert after.stamp != before.stamp
    assert after.read(3) == first != after.read(0)


def test_a_place_is_found_again_from_elsewhere(tmp_path, monkeypatch):
    parquet(tmp_path / "pets", train=rows(2))
    monkeypatch.chdir(tmp_path)
    raw = list_hub("hf:./pets")
    assert (raw.name, raw.place) == ("pets", f"hf:{tmp_path / 'pets'}")


@pytest.mark.parametrize("scheme", ["hf", "hf-stream"])
def test_without_classes_there_are_none(tmp_path, scheme):
    only = {"picture": datasets.Image()}
    parquet(tmp_path / "set", train=rows(3, kinds=only))
    if scheme == "hf-stream":
        with pytest.raises(BadFile, match=r"set' doesn't say how many images it has; use 'hf:/"):
            list_hub(f"{scheme}:{tmp_path / 'set'}")
        size = "dataset_info:\n  splits:\n  - name: train\n    num_bytes: 1\n    num_examples: 3\n"
        (tmp_path / "set" / "README.md").write_text(f"---\n{size}---\n")
    raw = list_hub(f"{scheme}:{tmp_path / 'set'}")
    assert raw.class_names == () and raw.labels.tolist() == [0, 0, 0] and raw.read(2)


def test_held_out_labels_may_be_unknown_and_others_not(tmp_path):
    parquet(tmp_path / "good", train=rows(4), test=rows(2, [-1, -1]))
    assert list_hub(f"hf:{tmp_path / 'good'}").held_out.labels.tolist() == [-1, -1]
    name = f"hf:{parquet(tmp_path / 'bad', train=rows(4, [0, 1, None, 1]))}"
    with pytest.raises(BadFile, match=r"bad': label -1 is out of range"):
        list_hub(name)
    raw = list_hub(name, skip_bad=True)
    assert raw.labels.tolist() == [0, 1, 0, 1] and raw.read(1)
    with pytest.raises(BadFile, match=r"\(train image 2\) has no class"):
        raw.read(2)


@pytest.mark.parametrize(
    ("split", "made", "message"),
    [
        ("train", rows(2, kinds={"kind": KINDS["kind"]}), r"has no column of type Image, only kind"),
        ("train", rows(2, kinds={**KINDS, "mask": datasets.Image()}, mask=[None, None]), r"Image: picture, mask; one"),
        ("train", rows(2, kinds={**KINDS, "fur": KINDS["kind"]}, fur=[0, 1]), r"ClassLabel: kind, fur; one"),
        ("train", rows(2, [1, 1]), r"class 'cat' has no image"),
        ("test", rows(2), r"has no split 'train', only test"),
    ],
)
def test_what_is_not_like_that_is_named(tmp_path, split, made, message):
    with pytest.raises(BadFile, match=rf"^'hf:.*set'.*{message}") as error:
        list_hub(f"hf:{parquet(tmp_path / 'set', **{split: made})}")
    assert "\n" not in str(error.value)


def test_other_columns_are_left_alone(tmp_path):
    kinds = {"caption": Value("string"), **KINDS}
    raw = list_hub(f"hf:{parquet(tmp_path / 'set', train=rows(2, kinds=kinds, caption=['a', 'b']))}")
    assert len(raw) == 2 and raw.read(1)


def test_an_image_that_is_not_there_is_named(tmp_path):
    made = Dataset.from_dict({"picture": [None, picture()], "kind": [0, 1]}, features=Features(KINDS))
    raw = list_hub(f"hf:{parquet(tmp_path / 'set', train=made)}")
    with pytest.raises(BadFile, match=r"\(train image 0\) is empty"):
        raw.read(0)
    assert raw.read(1)


def test_no_images_at_all(tmp_path):
    empty = rows(0)
    empty.save_to_disk(tmp_path / "saved")
    parquet(tmp_path / "parquet", train=empty)
    with pytest.raises(BadFile, match=r"^'hf-stream:.*parquet' has no images\.$"):
        list_hub(f"hf-stream:{tmp_path / 'parquet'}")
    for folder in ("saved", "parquet"):  # here the library itself gives up
        with pytest.raises(BadFile, match=rf"^'hf:.*{folder}' can't be loaded \("):
            list_hub(f"hf:{tmp_path / folder}")


@pytest.mark.parametrize("scheme", ["hf", "hf-stream"])
def test_a_damaged_file_is_one_line(tmp_path, scheme):
    folder = parquet(tmp_path / "set", train=rows(30))
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadFile, match=r"^'hf.*set' can't be loaded \(") as error:
        list_hub(f"{scheme}:{folder}")
    assert "\n" not in str(error.value)


class Counted:
    """Rows that tell how often they have come."""

    def __init__(self, count):
        self.count, self.came = count, 0

    def __iter__(self):
        for number in range(self.count):
            self.came += 1
            yield number


def test_a_stream_goes_on_and_does_not_begin_again():
    rows = Counted(1000)
    stream = hub._Stream(rows)
    assert [stream.row(number) for number in (0, 3, 500, 499, 998)] == [0, 3, 500, 499, 998] and rows.came == 999
    late = hub._Stream(Counted(1000))
    asked = [*range(1, 1000), 0]  # by a thread that was left behind for long
    assert [late.row(number) for number in asked] == asked and late.rows.came == 1000
    with ThreadPoolExecutor(8) as pool:
        again = hub._Stream(Counted(1000))
        assert list(pool.map(again.row, range(1000))) == list(range(1000)) and again.rows.came == 1000
    assert stream.row(5) == 5 and rows.came == 999 + 6  # too far back: from the beginning
    with pytest.raises(StopIteration):
        stream.row(1000)


def test_a_stream_that_ends_too_early_is_named(tmp_path):
    raw = list_hub(f"hf-stream:{parquet(tmp_path / 'set', train=rows(3, [0, 1, 0]))}")
    with pytest.raises(DitbenchError, match=r"\(train image 3\) is missing: the data set ends before it") as error:
        raw.read(3)
    assert not isinstance(error.value, BadFile)  # which --skip-bad would pass over
    assert raw.read(2)


def test_a_broken_stream_is_no_bad_image_and_begins_again():
    class Flaky:
        fails = True

        def __iter__(self):
            yield {"picture": {"bytes": b"first"}}
            if self.fails:
                raise OSError("connection lost")
            yield {"picture": {"bytes": b"second"}}

    flaky = Flaky()
    stream = hub._Stream(flaky)
    with pytest.raises(DitbenchError, match=r"image 1 can't be had \(connection lost\)") as error:
        hub._content(stream.row, 1, "picture", "image 1", None)
    assert not isinstance(error.value, BadFile)
    flaky.fails = False
    assert hub._content(stream.row, 1, "picture", "image 1", None) == b"second"


def test_a_stream_reads_labels_alone_or_says_that_it_can_not(tmp_path):
    for kind in ("cat", "dog"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        (tmp_path / "pets" / kind / "1.png").write_bytes(picture()["bytes"])
    with pytest.raises(BadFile, match=r"pets' is not Parquet and can't be streamed; use 'hf:/"):
        list_hub(f"hf-stream:{tmp_path / 'pets'}")


@pytest.mark.parametrize("name", ["hf:", "hf:a:b:c", "hf:a@b@c", "imagenet", "hf-stream:", "ftp:a/b"])
def test_a_misspelt_name_is_refused(name):
    with pytest.raises(BadValue, match=r"is spelled wrong; write hf"):
        list_hub(name)


def test_a_name_has_a_configuration_and_a_revision():
    assert vars(hub._parse("hf-stream:org/set:small@v1.0")) == {
        "name": "hf-stream:org/set:small@v1.0",
        "path": "org/set",
        "config": "small",
        "revision": "v1.0",
        "streamed": True,
    }
    assert hub._parse("hf:org/set@main").revision == "main" and hub._parse("hf:org/set").config is None


def test_offline_nothing_is_fetched():
    modules = datasets.config, importlib.import_module("huggingface_hub.constants")
    before = [module.HF_HUB_OFFLINE for module in modules]
    with pytest.raises(
        BadFile, match=r"^'hf:nobody/nothing' can't be loaded \(.*nobody/nothing.*\)\. A folder .*: hf:DIR\.$"
    ):
        list_hub("hf:nobody/nothing", offline=True)
    assert [module.HF_HUB_OFFLINE for module in modules] == before
    with pytest.raises(BadFile, match=r"can't be streamed offline; fetch 'hf:nobody/nothing' once without `offline`"):
        list_hub("hf-stream:nobody/nothing", offline=True)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadValue, match=r"'hf:a/b' needs 'datasets': (uv )?pip install 'ditbench\[hf\]'"):
        list_hub("hf:a/b")
