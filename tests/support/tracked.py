"""What trackers have written, read with their own libraries."""

import json
import struct

from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray
from wandb.proto.wandb_internal_pb2 import Record as WandbRecord


class Events:
    """What TensorBoard shows of a run's directory."""

    def __init__(self, directory):
        self.files = sorted((directory / "tensorboard").iterdir())
        self._read = EventAccumulator(str(directory / "tensorboard"), {"tensors": 0})
        self._read.Reload()
        self.tags = set(self._read.Tags()["tensors"])

    def points(self, tag):
        return [(event.step, make_ndarray(event.tensor_proto)) for event in self._read.Tensors(tag)]

    def steps(self, tag):
        return [step for step, _ in self.points(tag)]

    @property
    def status(self):
        return [text.item().decode() for _, text in self.points("status")]

    @property
    def config(self):
        content = self._read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        values = HParamsPluginData.FromString(content).session_start_info.hparams
        return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def wandb_records(path):
    """The records of a ``.wandb`` file: protocol buffers in LevelDB's log format, in blocks of 32 KiB."""
    data, at, parts = path.read_bytes(), 7, b""
    while at < len(data):
        if 2**15 - at % 2**15 < 7:  # the rest of a block that can't hold a header is padding
            at += 2**15 - at % 2**15
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield WandbRecord.FromString(parts)
            parts = b""


def values_of(items):
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


class WandbRun:
    """What wandb would upload of a run."""

    def __init__(self, path):
        self.history, self.summary = [], {}
        for record in wandb_records(path):
            if record.HasField("history"):
                self.history.append(values_of(record.history.item))
            elif record.HasField("summary"):
                self.summary |= values_of(record.summary.update)
            elif record.HasField("run"):
                self.run, self.config = record.run, values_of(record.run.config.update)
            elif record.HasField("exit"):
                self.exit_code = record.exit.exit_code
