"""I3D with random weights: the published names and numbers of parameters, and how it takes clips."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from ditbench.components import Weights
from ditbench.errors import BadFile, BadValue
from ditbench.metrics.extractors.i3d import I3D, SHORTEST, i3d, prepared
from ditbench.metrics.features import check_shape, load_extractor
from ditbench.registry import Registry
from ditbench.storage.files import sha256_of

EXTRACTOR = Registry.installed().extractors["i3d-rgb-imagenet"]
CLIPS = torch.randint(0, 256, (1, 9, 1, 20, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return I3D().state_dict()


def test_parameters_are_those_of_the_published_file(weights):
    learned = [tensor for name, tensor in weights.items() if "running" not in name and "tracked" not in name]
    assert sum(tensor.numel() for tensor in learned) == 12_697_264
    assert {"Conv3d_1a_7x7.conv3d.weight", "Mixed_5c.b2b.bn.running_var", "logits.conv3d.bias"} <= weights.keys()
    assert weights["Mixed_3b.b1b.conv3d.weight"].shape == (128, 96, 3, 3, 3)


def test_a_file_of_old_is_read_without_running_it(weights, tmp_path):
    """As torch 0.3 wrote them, without the counters of batch norms; grey clips become RGB of 224 pixels in [-1, 1]."""
    path = tmp_path / "old.pt"
    published = {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
    torch.save(published, path, _use_new_zipfile_serialization=False)
    pinned = replace(EXTRACTOR, weights=Weights(file=path.name, sha256=sha256_of(path), url="file:///nowhere"))
    network = load_extractor(pinned, path)
    x = prepared(CLIPS)
    assert x.shape == (1, 3, 9, 224, 224) and x.min() >= -1 and x.max() <= 1
    whole = F.interpolate(CLIPS[:, 4].float(), (224, 224), mode="bilinear") / 127.5 - 1
    torch.testing.assert_close(x[:, 1:2, 4], whole, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        maps, found = network.maps(x), network(CLIPS)
    assert maps.shape == (1, 1024, 2, 7, 7) and found["features"].shape == found["logits"].shape == (1, 400)
    head = weights["logits.conv3d.weight"].flatten(1) @ maps.mean((2, 3, 4))[0] + weights["logits.conv3d.bias"]
    torch.testing.assert_close(found["features"][0], head, atol=1e-4, rtol=1e-4)


def test_other_weights_are_refused_by_name(weights):
    fewer = {name: tensor for name, tensor in weights.items() if name != "Mixed_4d.b0.bn.bias"}
    for wrong, name in ((fewer, "Mixed_4d.b0.bn.bias"), ({**weights, "more": torch.zeros(1)}, "more")):
        with pytest.raises(BadFile, match=f"'{name}' is missing or unknown"):
            i3d(wrong)


def test_shorter_clips_and_images_are_refused():
    check_shape(EXTRACTOR, (SHORTEST, 3, 64, 48))
    with pytest.raises(BadValue, match="takes clips of 9 frames or more, not 8"):
        check_shape(EXTRACTOR, (8, 3, 64, 64))
    with pytest.raises(BadValue, match="sees clips, and these are images"):
        check_shape(EXTRACTOR, (3, 64, 64))
