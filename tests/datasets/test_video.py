"""Clips out of videos: which frames, which pixels, and what is refused."""

import sys

import numpy as np
import pytest
from PIL import Image
from videos import encoded, frames_of, of_one_colour, of_two_sizes, packed, song

from ditbench.datasets.crop import centre_crop
from ditbench.datasets.folder import list_folder
from ditbench.datasets.raw import Cut, cut_for
from ditbench.datasets.video import clip_of
from ditbench.errors import BadFile, BadValue

SIDE, CUT = 16, Cut(frames=4, interval=2)
FRAMES = frames_of(0)
MP4 = {"codec": "libx264", "container": "mp4", "pixels": "yuv420p"}
AVI = {"codec": "mpeg4", "container": "avi", "pixels": "yuv420p"}
WEBM = {"codec": "libvpx-vp9", "container": "webm", "pixels": "yuv420p"}


def crops(frames):
    return np.stack([centre_crop(Image.fromarray(frame), SIDE) for frame in frames])


def clip(content, cut=CUT):
    return clip_of(content, "a video", SIDE, cut)


@pytest.mark.parametrize(
    ("count", "frames", "interval", "first"),
    [(12, 4, 2, 2), (12, 4, 1, 4), (7, 4, 2, 0), (8, 4, 2, 0), (9, 4, 2, 1), (12, 2, 11, 0)],
)
def test_a_clip_is_the_middle_of_its_video_each_frame_cropped_as_an_image(count, frames, interval, first):
    found = clip(encoded(FRAMES[:count]), Cut(frames=frames, interval=interval))
    np.testing.assert_array_equal(found, crops(FRAMES[first::interval][:frames]))
    assert found.shape == (frames, 3, SIDE, SIDE) and found.dtype == np.uint8


@pytest.mark.parametrize("how", [MP4, AVI, {**AVI, "bf": "2"}, WEBM], ids=["mp4", "avi", "avi-between", "webm"])
def test_containers_tell_the_same_frames(how):
    grey = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.full((1, 32, 48, 3), 20, np.uint8)
    assert np.abs(clip(encoded(grey, **how)).mean((1, 2, 3)) - [40, 80, 120, 160]).max() < 4


def test_frames_that_share_a_packet_are_counted_as_they_are_shown():
    grey = np.arange(13, dtype=np.uint8)[:, None, None, None] * np.full((1, 48, 64, 3), 18, np.uint8)
    assert np.abs(clip(packed(grey)).mean((1, 2, 3)) - [54, 90, 126, 162]).max() < 4


def test_colours_are_those_that_the_video_tells():
    """BT.709 and BT.601 have other formulas; a video that tells none is taken for the second."""
    for space, formula in ((1, "ITU709"), (5, "ITU601"), (2, "ITU601")):
        found = clip(of_one_colour((200, 40, 90), formula, space))
        assert np.abs(found.astype(int) - np.reshape((200, 40, 90), (3, 1, 1))).max() < 3


LATE = [*range(8), 9, 10, 11, 12]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is no video\. It is empty"),
        (
            b"no video at all" * 20,
            r"is no video, or damaged \(Invalid data .*Formats that are read: MP4, Matroska, AVI",
        ),
        (encoded(FRAMES, "mpeg2video", "mpegts", "yuv420p"), r"is no video, or damaged \(Invalid argument\)"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", "is no video, or damaged"),
        (song(), "holds only sound, no video"),
        (song(cover=True), "holds only sound, no video"),
        (encoded(FRAMES[:6]), r"has 6 frames; a clip of 4 frames, interval 2, spans 7"),
        (encoded(FRAMES, times=LATE), r"variable frame rate, from 4[12] to 8[34] ms between two frames"),
        (encoded(FRAMES, **MP4, times=LATE), r"variable frame rate, from 41\.67 to 83\.33 ms"),
        (of_two_sizes(), "changes from 32x24 to 16x24 pixels; the frames of a video have one size"),
        (encoded(FRAMES, **MP4 | {"pixels": "yuv420p10le"}), "has 10 bits a channel; videos have 8"),
        (encoded(np.zeros((7, 2, 300, 3), np.uint8)), "300 x 2 pixels, and sides of more than 64 to 1"),
    ],
    ids=["empty", "noise", "ts", "playlist", "song", "cover", "short", "uneven", "uneven-mp4", "sizes", "deep", "long"],
)
def test_what_gives_no_clip_is_one_line_that_names_it(content, message):
    with pytest.raises(BadFile, match=message) as caught:
        clip(content)
    assert str(caught.value).startswith("'a video' ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("how", [{}, MP4, AVI, WEBM], ids=["mkv", "mp4", "avi", "webm"])
def test_a_video_that_is_cut_off_is_no_shorter_one(how):
    whole = encoded(FRAMES, **how)
    for kept in (0.05, 0.5, 0.8, 0.9):
        with pytest.raises(BadFile, match=r"^'a video' is (no video|damaged)"):
            clip(whole[: int(kept * len(whole))], Cut(frames=2, interval=1))


def test_whatever_is_damaged_is_a_bad_file_or_pixels():
    draw, refused = np.random.default_rng(0), 0
    for number in range(60):
        content = bytearray(encoded(FRAMES, **(AVI, MP4, {})[number % 3]))
        at = draw.integers(0, len(content) - 30)
        content[at : at + 30] = draw.bytes(30)
        try:
            assert clip(bytes(content)).shape == (4, 3, SIDE, SIDE)
        except BadFile:
            refused += 1
    assert refused > 10


def test_without_the_library_there_is_a_way_to_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadValue, match=r"^Clips are cut out of videos by 'av': .*'ditbench\[video\]'\.$"):
        list_folder(tmp_path, CUT)


def test_images_have_no_interval():
    assert cut_for(1, 1) is None and cut_for(4, 2) == CUT
    with pytest.raises(BadValue, match="`interval` 3 is of clips, and `frames` is 1"):
        cut_for(1, 3)
