"""A plugin whose networks end the process that builds them, or change it, and whose hooks and parts do so to order."""

DEADLY = """
import faulthandler, os, signal, sys
import ditbench

def exits(spec, **settings):
    sys.exit(0)

def dies(spec, **settings):
    os._exit(0)

def crashes(spec, **settings):
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)

def raises(spec, **settings):
    raise RuntimeError("no such layer")

def refuses(spec, **settings):
    raise ditbench.BadValue("a width of 16 does not do.")

def patches(spec, **settings):
    import torch, toy_net
    torch.nn.functional.gelu = torch.nn.functional.relu
    torch.set_num_threads(2)
    return toy_net.Toy(spec, width=4)

def fatal_recipe(space, resolution, size):
    os._exit(0)

def odd_recipe(space, resolution, size):
    return {"learning_rate": 1.0}

def good_recipe(space, resolution, size):
    return ditbench.Native(source="none", recipe={"learning_rate": 0.5, "betas": (0.5, 0.75)})

def convert(state):
    return state

SPEC = ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
BUILDS = (exits, dies, crashes, raises, refuses, patches)
NATIVES = {"dies": fatal_recipe, "exits": odd_recipe, "patches": good_recipe}

@ditbench.hookimpl
def ditbench_architectures():
    for build in BUILDS:
        yield ditbench.Architecture(
            name=build.__name__, build=build, sizes={"nano": {}}, specs={"nano": SPEC}, convert_reference=convert,
            native=NATIVES.get(build.__name__),
        )
"""
