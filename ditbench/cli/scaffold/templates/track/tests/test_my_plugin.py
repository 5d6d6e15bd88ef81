"""The track is read, all that it names is installed, and it has no other's name."""

from ditbench import Registry, load_track


def test_the_track():
    registry = Registry.installed()
    track = load_track(registry.tracks["my_plugin"])
    assert track.name == "my_plugin"
    assert track.objective.name in registry.objectives
    assert track.objective.name in registry.samplers[track.sampler.name].objectives
    assert all(name in registry.metrics for name, _ in track.evaluation.choices)
