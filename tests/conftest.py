"""What all tests share: the --goldens option, and the toy plugin as if pip had installed it."""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from answered import check_answer

from ditbench import cli
from ditbench.executors import jobs, local, remote, torchrun, verifying
from ditbench.profiling import profiler
from ditbench.registry import Registry

TESTS = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--goldens",
        type=Path,
        default=TESTS / "goldens",
        help="folder of golden files for tests/test_goldens.py",
    )


def pytest_collection_finish():
    """Who looks for garbage, as every run does, passes over what all tests have imported: that takes 0.3 s a time."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    """And at the end all is garbage, which some libraries complain of if it stays."""
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """No test reads or writes the user's caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DITBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        yield


@pytest.fixture(autouse=True, scope="session")
def one_server_for_all():
    """A test process forks all from one server: whichever test starts it, it has what all others need, too.

    Else each of their processes would load scikit-learn, diffusers or the optimisers by itself, for seconds.
    """
    late = ("torch._dynamo", "ditbench.metrics.neighbours", "ditbench.sampling.schedulers", "ditbench.datasets.bundled")
    loaded = (*jobs.PRELOAD, *late)
    with pytest.MonkeyPatch.context() as patch:
        for module in (profiler, remote, torchrun, verifying):
            patch.setattr(module, "PRELOAD", loaded)
        patch.setattr(local, "preload", lambda configs, registry: loaded)
        yield


@pytest.fixture(autouse=True)
def ctrl_c_is_as_it_was():
    """What a test leaves of Ctrl-C, the tests after it would meet."""
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that installs modules as distributions for this test and its subprocesses."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(TESTS)]))

    def install(distribution, module, source=None, version="0.1", entry=None, requires=()):
        if source is not None:
            (site / f"{module}.py").write_text(source)
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        asks = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{asks}")
        (info / "entry_points.txt").write_text(f"[ditbench]\n{entry or module} = {module}\n")

    yield install
    for name in [name for name, m in sys.modules.items() if str(site) in (getattr(m, "__file__", None) or "")]:
        del sys.modules[name]


@pytest.fixture
def toy(install):
    """The toy plugin, installed; its architecture record."""
    install("ditbench-toy", "toy")
    return Registry.installed().architectures["toy"]


@pytest.fixture
def ditbench(monkeypatch, capsys):
    """A function that runs the command in this process, which has the libraries loaded.

    It gives the command's stdout, or its stderr if it should end with code 2, or 130 as by Ctrl-C. With --json its
    stdout must be what the command says that it gives.
    """

    def ditbench(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["ditbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, errors = capsys.readouterr()
        assert (ended.value.code or 0) == code, out + errors
        if "--json" in arguments:
            check_answer(arguments, out, code)
        return errors if code in (2, 130) else out

    return ditbench
