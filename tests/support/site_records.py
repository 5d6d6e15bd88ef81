"""Records for the tests of the site: several tracks, seeds, milestones, ties, failures, hardware; and hostile ones."""

import hashlib
import json
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from records import ENVIRONMENT, TRACK, finished, measurement, unfinished
from timed import timed

from ditbench.errors import DitbenchError
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.speeds import with_profiles
from ditbench.records.facts import Cost, CurvePoint, DataFacts, Memory, Milestone, PeakMemory
from ditbench.records.files import GRID_FILE
from ditbench.records.record import Record, Submission
from ditbench.registry import Registry
from ditbench.sampling.pictures import write_grid
from ditbench.storage.files import sha256_of
from ditbench.tracks.track import Track, load_track

ARCHITECTURES = {  # label -> the level that its FID ends at, million MACs, images/s
    "diffit:nano": (0.60, 7.54, 1093.0),
    "dit:nano": (1.31, 7.56, 1553.0),
    "mdt:nano": (1.38, 7.56, 723.0),
    "mdtv2:nano": (1.05, 7.6, 690.0),
    "uvit:nano": (1.88, 7.61, 1588.0),
}
CLIPS = TRACK.model_copy(update={"name": "clips", "data": TRACK.data.model_copy(update={"frames": 3})})
H100 = ENVIRONMENT.model_copy(update={"gpu": "NVIDIA H100 80GB HBM3", "cuda": "13.2", "gpu_driver": "590.44"})
A100 = ENVIRONMENT.model_copy(update={"gpu": "NVIDIA A100-SXM4-40GB", "cuda": "13.2", "gpu_driver": "590.44"})
OLDER = {"fashion32": Path(__file__).parents[1] / "older" / "fashion32-v1.toml"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)><b>b</b><a href='https://a'>&lt;'\"{{7*7}}"


def track(name, **changes):
    """An installed track, or the version of it that ranked by FID, changed."""
    older = OLDER.get(name)
    return load_track(older or Registry.installed().tracks[name]).model_copy(update=changes)


def run(label, seed, fid, macs=7.56, rate=1500.0, on=TRACK, milestones=(0.25, 0.5, 0.75), curve=50, **changes):
    """A finished run with all that the site can show of one. The same arguments give the same record."""
    name, _, choice = label.partition(":")
    size, *options = choice.split("+")
    plain = finished(f"{name}:{size.replace('/', '-')}", fid, seed, on)
    chosen = {"label": label, "size": size, "options": dict(option.split("=") for option in options)}
    chance = random.Random(f"{label} {seed} {on.name} {fid}")
    steps, batch = 640, 100
    times = [batch / rate * chance.uniform(0.95, 1.15) for _ in range(steps)]
    digest = hashlib.sha256(f"{on.name} {label} {seed} {changes}".encode()).hexdigest()
    facts = {
        "run_id": f"{plain.run_id[:-9]}-{digest[:8]}",
        "architecture": plain.architecture.model_copy(update=chosen),
        "created": datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=seed, minutes=int(10 * fid)),
        "cost": Cost(
            parameters=int(macs * 96_000), trainable_parameters=int(macs * 95_000), train_only_parameters=0,
            macs_per_image=int(macs * 1e6), training_macs_per_image=int(3 * macs * 1e6),
        ),
        "training": plain.training.model_copy(
            update={
                "steps": steps, "images": steps * batch, "seconds": sum(times), "flops": steps * batch * 6e6 * macs,
                "step_seconds": [round(time, 6) for time in times], "images_per_second": rate,
                "curve": list(_curve(chance, fid, steps, batch, rate, curve)),
            }
        ),
        "sampling": plain.sampling.model_copy(update={"images_per_second": rate / 7}),
        "memory": Memory(
            resident_at_start=2**29, training=PeakMemory(resident=int((600 + 20 * macs + rate / 40) * 2**20)),
            sampling=PeakMemory(),
        ),
        "metrics": _metrics(fid, chance),
        "milestones": [
            Milestone(
                at=at, steps=int(steps * at), images=int(steps * batch * at), seconds=steps * batch * at / rate,
                flops=steps * batch * at * 6e6 * macs, metrics=_metrics(fid * at**-1.3, chance),
            )
            for at in milestones
        ],
    }  # fmt: skip
    return plain.model_copy(update={**facts, **changes})


def _curve(chance, fid, steps, batch, rate, points):
    for point in range(1, points + 1):
        images = steps * batch * point // points
        loss = 0.2 + 0.05 * fid + 0.9 / (1 + 0.3 * point) + chance.gauss(0, 0.006)
        yield CurvePoint(step=images // batch, images=images, seconds=images / rate, loss=loss)


def _metrics(fid, chance):
    kid = measurement("kid", fid / 24).model_copy(
        update={"spread": 0.004, "raw": {"values": [fid / 24 + chance.gauss(0, 0.004) for _ in range(10)]}}
    )
    hits = round(1000 * (0.97 - fid / 80))
    return [
        measurement("fid", fid).model_copy(update={"raw": {"terms": [fid / 3, fid - fid / 3]}}),
        kid,
        measurement("is", 5 - fid / 2, higher=True).model_copy(update={"spread": 0.1}),
        measurement("knn", hits / 1000, higher=True).model_copy(update={"raw": {"counts": [hits, 1000]}}),
    ]


def conference():
    """Three tracks: ties, a provisional row, one that diverged, two classes of GPUs, an unranked board."""
    chance = random.Random(6)
    digits = TRACK.model_copy(update={"target": 2.0})
    found = [
        run(label, seed, fid + chance.gauss(0, 0.05), macs, rate, digits)
        for label, (fid, macs, rate) in ARCHITECTURES.items()
        for seed in range(3)
    ]
    found += [run("dit:nano+conditioning=in-context", seed, 1.55 + 0.1 * seed, 8.4, 1210.0, digits) for seed in (0, 1)]
    lost = [
        unfinished("toy:nano", seed=2),
        *(run("toy:nano", seed, 3.2 + seed / 9, 5.1, 1900.0, digits) for seed in (0, 1)),
    ]
    found += [record.model_copy(update={"track": digits, "track_hash": digits.hash}) for record in lost]
    clothes = track("fashion32")
    data = DataFacts(name="fashion-mnist", examples=60_000, shape=(1, 32, 32), classes=10)
    for name, (fid, macs, rate) in ARCHITECTURES.items():
        label = name.replace("nano", "nano/4")
        for machine, speed in ((H100, 4.0), (A100, 2.2)) if label.startswith("dit:") else ((H100, 4.0),):
            found += [
                run(
                    label, seed, 9 * fid + chance.gauss(0, 0.2), 6 * macs, rate * speed, clothes,
                    device="cuda", environment=machine, data=data, budget="1200k-images", milestones=(),
                )
                for seed in range(3)
            ]  # fmt: skip
    short = {"deviations": ["200 samples, not 1000"], "milestones": (), "curve": 0}
    found += [run(label, 0, 2 * fid, macs, rate, digits, **short) for label, (fid, macs, rate) in ARCHITECTURES.items()]
    return found


def alone(records):
    """Their boards, with the speed that each run says of itself as that of a profile."""
    done = [record for record in records if record.status == "finished"]
    profiles = [timed(one, one.training.images_per_second, 25 * one.sampling.images_per_second) for one in done]
    return with_profiles(boards(records), profiles)


def with_pictures(records, folder):
    """The records with grids of samples, which this writes below a folder as ``<track>/<run-id>.png``."""
    return [_with_picture(record, folder) for record in records]


def _with_picture(record, folder):
    path = folder / record.track.name / f"{record.run_id}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = (record.track.data.frames,) * (record.track.data.frames > 1)
    pixels = np.random.default_rng(record.seed).integers(0, 256, (20, *frames, 1, 8, 8), dtype=np.uint8)
    write_grid(path, pixels, np.arange(20) % 10, [str(digit) for digit in range(10)])
    return record.model_copy(update={"files": {GRID_FILE: sha256_of(path)}})


def hostile(text=HOSTILE, seed=0):
    """A run that has `text` in every field that the schema and the boards let be any text."""
    environment = ENVIRONMENT.model_copy(update={"gpu": "a", "gpu_driver": "a", "cuda": "a", "timm": "a"})
    plain = run("dit:nano", seed, 1.0, curve=5, environment=environment, deviations=["a"], left_out=[])
    content = plain.model_copy(update={"submission": Submission(by="a", date=date(2026, 3, 1))}).model_dump(mode="json")
    for parent, key in list(_texts(content)):
        kept, parent[key] = parent[key], text
        if not _is_record(content):
            parent[key] = kept
    for part in (content["architecture"]["options"], content["architecture"]["settings"]):
        part[text] = text
    return _record(content)


def _texts(content):
    """Where the texts are: (object or list, key or place)."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in pairs:
        if isinstance(value, str):
            yield content, key
        elif isinstance(value, dict | list):
            yield from _texts(value)


def _record(content):
    track_hash = Track.model_validate(content["track"]).hash
    return Record.model_validate_json(json.dumps({**content, "track_hash": track_hash}))


def _is_record(content):
    try:
        return bool(boards([_record(content)]))
    except (ValidationError, DitbenchError):
        return False
