"""Small videos, made by PyAV: sound ones, and ones that can't be read."""

import io
from fractions import Fraction

import av
import numpy as np
from av.stream import Disposition
from PIL import Image

CLASSES = ("jump", "run")
RATE = 24


def frames_of(number, count=12, size=(20, 18)):
    """Frames of a video, (count, height, width, 3) uint8: blobs that change, and grow lighter."""
    draw = np.random.default_rng(number)
    few = draw.integers(0, 40, (count, 3, 4, 3)) + np.linspace(0, 200, count).astype(int)[:, None, None, None]
    resized = (Image.fromarray(one).resize(size, Image.Resampling.BICUBIC) for one in few.astype(np.uint8))
    return np.stack([np.asarray(one) for one in resized])


def encoded(frames, codec="ffv1", container="matroska", pixels="bgr0", times=None, **options):
    """A video as bytes; times: when each frame is shown, in steps of 1/24 s. As it stands, without loss."""
    content = io.BytesIO()
    with av.open(content, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for time, pixels_of_frame in zip(times or range(len(frames)), frames, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels_of_frame, format="rgb24")
            frame.pts = time
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return content.getvalue()


def write_videos(folder, count, size=(20, 18), frames=12):
    """`count` videos of each class, each a little larger than the one before."""
    number = 0
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            width, height = size[0] + 2 * number, size[1]
            (folder / name / f"{number:03d}.mkv").write_bytes(encoded(frames_of(number, frames, (width, height))))
            number += 1
    return folder


def of_packets(packets, container, size, codec="mjpeg", pixels="yuvj420p"):
    """A video as bytes, of encoded frames in their order, whatever they hold."""
    content = io.BytesIO()
    with av.open(content, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE)
        (stream.width, stream.height), stream.pix_fmt = size, pixels
        for number, content_of_frame in enumerate(packets):
            packet = av.Packet(content_of_frame)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, RATE), number == 0
            packet.pts = packet.dts = number
            out.mux(packet)
    return content.getvalue()


def of_two_sizes():
    """Frames of 32x24 pixels, and then of 16x24."""
    jpegs = []
    for width in [32] * 10 + [16] * 2:
        jpegs.append(io.BytesIO())
        Image.new("RGB", (width, 24), "red").save(jpegs[-1], "JPEG")
    return of_packets([jpeg.getvalue() for jpeg in jpegs], "matroska", (32, 24))


def of_one_colour(colour, formula, told):
    """Frames as numbers of luma and colour by a formula; told: which one, as the video says."""
    content = io.BytesIO()
    with av.open(content, "w", format="matroska") as out:
        stream = out.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 20, 18, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = told, 1
        for time in range(7):
            frame = av.VideoFrame.from_ndarray(np.full((18, 20, 3), colour, np.uint8), format="rgb24")
            of_formula = frame.reformat(format="yuv444p", dst_colorspace=formula).to_ndarray()
            frame = av.VideoFrame.from_ndarray(of_formula, format="yuv444p")  # which tells no formula
            frame.pts = time
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return content.getvalue()


def packed(frames):
    """An AVI as DivX made them: a frame that later ones are drawn between shares its packet with the next."""
    coded = io.BytesIO()
    with av.open(coded, "w", format="avi") as out:
        options = {"bf": "1", "b_strategy": "0", "sc_threshold": "1000000000", "g": "300"}
        stream = out.add_stream("mpeg4", rate=RATE, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        made = [frame for one in frames for frame in stream.encode(av.VideoFrame.from_ndarray(one, format="rgb24"))]
        alone = [bytes(packet) for packet in (*made, *stream.encode())]
    start, told = alone[0].index(b"\0\0\1\xb6"), alone[0].index(b"\0\0\1\xb2")
    alone[0] = alone[0][:told] + b"\0\0\1\xb2DivX503b1393p" + alone[0][start:]
    kinds = [one[one.index(b"\0\0\1\xb6") + 4] >> 6 for one in alone]  # 0: whole, 1: from the one before, 2: between
    nothing = b"\0\0\1\xb6" + int("0101000001001111", 2).to_bytes(2, "big")
    assert kinds == [0, *[1, 2] * (len(frames) // 2)]
    pairs = (alone[at] + alone[at + 1] for at in range(1, len(alone), 2))
    packets = [alone[0], *(packet for pair in pairs for packet in (pair, nothing))]
    return of_packets(packets, "avi", frames.shape[2:0:-1], "mpeg4", "yuv420p")


def song(cover=False):
    """Sound alone, with a picture of its cover or without."""
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=16_000)
        if cover:
            picture = out.add_stream("png", rate=1)
            picture.width, picture.height, picture.pix_fmt = 32, 24, "rgb24"
            picture.disposition = Disposition.attached_pic
            out.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8), format="rgb24")))
        for number in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, 1024 * number
            out.mux(sound.encode(frame))
        out.mux(sound.encode())
    return content.getvalue()
