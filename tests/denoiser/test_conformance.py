"""Each fault that the suite is there for, planted in a network and caught by the name of its check."""

import random
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from toy_net import Toy

from ditbench import Architecture, BadValue, DenoiserSpec, Option
from ditbench.denoiser.conformance import places
from ditbench.denoiser.conformance.findings import Finding, Report
from ditbench.denoiser.conformance.subject import subject_of
from ditbench.denoiser.conformance.suite import CHECKS, examine
from ditbench.denoiser.interface import DIGITS_SPEC
from ditbench.errors import UnknownName
from ditbench.registry import Registry
from ditbench.testing import ContractBroken, check_architecture


class Deaf(Toy):
    def forward(self, x, t, y):
        return super().forward(x, torch.full_like(t, 500), y)


class Leaving(Toy):
    def __init__(self, spec, **settings):
        raise SystemExit(0)


class Blind(Toy):
    def forward(self, x, t, y):
        return super().forward(0 * x, t, y)


class LabelBlind(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, torch.zeros_like(y)) + 0 * self.label(y).sum()


class NullIsZero(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y % 10)


class NullOutOfRange(Toy):
    def __init__(self, spec, **settings):
        super().__init__(spec, **settings)
        self.label = nn.Embedding(spec.classes, settings["width"])


class Leaky(Toy):
    def forward(self, x, t, y):
        out = super().forward(x, t, y)
        return out - out.mean(0, keepdim=True)


class BatchNormed(Toy):
    def __init__(self, spec, **settings):
        super().__init__(spec, **settings)
        self.norm = nn.BatchNorm2d(spec.out_channels)

    def forward(self, x, t, y):
        return self.norm(super().forward(x, t, y))


class Dead(Toy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.unused = nn.Linear(2, 2)


class Exploding(Toy):
    def training_loss(self, loss):
        return loss() * float("inf")


class ByItsParts(Toy):
    """A good one, whose own loss looks at all that a forward pass tells."""

    def training_loss(self, loss):
        seen = loss.forward()
        tokens = (seen.error * (1 + seen.y[:, None, None, None] % 2)).flatten(1).mean(1)
        against = (seen.denoised - seen.x_0).square().mean() + (seen.x_t - seen.noise + seen.out).square().mean()
        return (tokens + seen.rest).mean() + 0.1 * against


class Vector(Toy):
    def training_loss(self, loss):
        return loss()[None]


class Random(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y) + 0.1 * torch.randn_like(x)


class SecretlyRandom(Toy):
    def forward(self, x, t, y):
        torch.rand(1)
        return super().forward(x, t, y)


class NumpyRandom(Toy):
    def forward(self, x, t, y):
        np.random.rand()
        return super().forward(x, t, y)


class Doubled(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y).repeat(1, 2, 1, 1)


class Wide(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y).double()


class InPlace(Toy):
    def forward(self, x, t, y):
        return super().forward(x.mul_(2) if not x.requires_grad else x, t, y)


class Undefined(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y) + (0 * torch.log(t))[:, None, None, None]


class Overflowing(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y) + (0 * torch.log(1000 - t))[:, None, None, None]


class Forgetful(Toy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.hidden_scale = [1.0]

    def forward(self, x, t, y):
        if self.training:
            self.hidden_scale[0] = 1.5
        return super().forward(x, t, y) * self.hidden_scale[0]


class Breaking(Toy):
    def forward(self, x, t, y):
        torch._dynamo.graph_break()
        return super().forward(x, t, y)


class Upcasting(Toy):
    def forward(self, x, t, y):
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float(), t, y)


class WithGamma(Toy):
    """Its float32 is in no matrix product: once the letters mm in an operation's name made it one."""

    def forward(self, x, t, y):
        return super().forward(x, t, y) + 0 * torch.lgamma(2 + t.float()).mean()


class Reading(Toy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        (Path(__file__).parents[1] / "tiny.toml").read_text()


class ReadingOnce(Toy):
    cached = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if ReadingOnce.cached is None:
            ReadingOnce.cached = (Path(__file__).parents[1] / "tiny.toml").read_text()


class Writing(Toy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write("# a secret\n")


class Sending(Toy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.sendto(b"", ("127.0.0.1", 9))


class Spawning(Toy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        subprocess.run(["true"], check=True)


class UndefinedInTraining(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y) + ((0 * torch.log(t))[:, None, None, None] if self.training else 0)


class InPlaceInTraining(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t.add_(1) if self.training else t, y)


class Calling(Toy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        with socket.socket() as line:
            line.connect_ex(("127.0.0.1", 9))


class Counting(Toy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = float(self.time.weight.abs().mean())


class Rigid(Toy):
    def __init__(self, spec, **settings):
        super().__init__(spec, **settings)
        self.place = nn.Parameter(torch.zeros(spec.channels, 8, 8))

    def forward(self, x, t, y):
        return super().forward(x + self.place, t, y)


class Huge(Toy):
    def __init__(self, spec, **settings):
        super().__init__(spec, **{**settings, "width": 160})


class PythonRandom(Toy):
    def forward(self, x, t, y):
        random.random()
        return super().forward(x, t, y)


class Training(Toy):
    def forward(self, x, t, y):
        out = super().forward(x, t, y)
        self.time.bias.data += 1
        return out


class Sparing(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y) if x.any() else self.outward(self.inward(x))


FAULTS = [
    (Deaf, "depends-on-t", "does not depend on t"),
    (Blind, "depends-on-x", "does not depend on x"),
    (LabelBlind, "depends-on-y", "labels 0 and 1 give the same"),
    (NullIsZero, "null-label", "the same as label 0"),
    (NullOutOfRange, "null-label", "out of range"),
    (Leaky, "any-batch", "batch 1 differs"),
    (Leaky, "no-leak-in-training", "depends on the others"),
    (BatchNormed, "no-leak-in-training", "batch norm"),
    (Dead, "gradients", "no gradient for 'unused.weight'"),
    (Exploding, "gradients", "not finite is the gradient of"),
    (Vector, "gradients", r"shape (1,)"),
    (Random, "deterministic", "differ"),
    (SecretlyRandom, "no-global-rng", "torch's"),
    (NumpyRandom, "no-global-rng", "NumPy's"),
    (Doubled, "output-shape", "(7, 2, 8, 8), not (7, 1, 8, 8)"),
    (Wide, "output-shape", "float64"),
    (InPlace, "leaves-its-input", "it changes x"),
    (Undefined, "finite-at-t-0", "not finite"),
    (Overflowing, "finite-at-t-1000", "not finite"),
    (Forgetful, "saves-and-loads", "another output"),
    (PythonRandom, "changes-nothing", "changed Python's generator"),
    (Training, "changes-nothing", "changed its weights"),
    (Sparing, "counted-as-trained", "it computes less while it is counted"),
    (Breaking, "compiles", "Unsupported"),
    (Upcasting, "autocast-bfloat16", "torch.float32"),
    (Reading, "builds-alone", "tiny.toml"),
    (Calling, "builds-alone", "it connects"),
    (ReadingOnce, "builds-alone", "tiny.toml"),
    (Writing, "builds-alone", ".py"),
    (Sending, "builds-alone", "it connects"),
    (Spawning, "builds-alone", "it starts a process"),
    (UndefinedInTraining, "finite-at-t-0", "in training mode"),
    (InPlaceInTraining, "leaves-its-input", "it changes t in training mode"),
    (Counting, "builds-on-meta", "meta"),
    (Rigid, "other-inputs", "RuntimeError"),
    (Huge, "macs-in-class", "times the reference's"),
]


LADDERS = {"ladder", "width-pair", "coord-check"}  # which test_scaling.py and test_parametrization.py have


def broken(network):
    return Architecture(name="broken", build=network, sizes={"nano": {"width": 16}}, specs={"nano": DIGITS_SPEC})


@pytest.mark.parametrize(("network", "check", "words"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_fault_is_caught_by_name(network, check, words):
    (finding,) = examine(subject_of(broken(network), "nano", DIGITS_SPEC, None), [check]).findings
    assert finding.status == "failed" and words in finding.seen, finding.seen
    assert finding.expected and finding.mend


@pytest.mark.parametrize("network", [Toy, ByItsParts])
def test_the_healthy_network_passes_everything(toy, network):
    """So every fault above is the fault's, not the network's that it was planted in."""
    report = examine(subject_of(broken(network), "nano", DIGITS_SPEC, None, "toy"))
    assert not report.failed, report.failed
    assert {f.check for f in report.findings if f.status == "skipped"} <= {"cuda", *LADDERS}


def test_every_check_but_those_of_the_machine_has_a_planted_fault():
    assert set(CHECKS) - {check for _, check, _ in FAULTS} == {
        "registers-lightly", "tells-times-apart", "cuda", *LADDERS,
    }  # fmt: skip


def test_times_that_are_hardly_told_apart_are_a_warning_and_no_failure():
    """The toy's time enters along a straight line; the sinusoids of published weights see it no better."""
    subjects = [subject_of(broken(Toy), "nano", DIGITS_SPEC, None)]
    lightning = Registry.installed().architectures["lightningdit"]
    subjects += [subject_of(lightning, "nano", DIGITS_SPEC, {"time": time}) for time in ("unit", "thousand")]
    subjects += [subject_of(broken(Deaf), "nano", DIGITS_SPEC, None)]
    reports = [examine(subject, ["tells-times-apart"]) for subject in subjects]
    assert [report.findings[0].status for report in reports] == ["warned", "warned", "passed", "skipped"]
    assert not reports[0].failed and reports[0].summary.endswith(": 1 warned")
    assert "0.02 times as much" in reports[1].markdown and "embed t in \\[0, 1000\\]" in reports[1].markdown


def test_the_readme_counts_the_checks():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"makes {len(CHECKS)} checks" in readme


def test_a_size_without_a_spec_has_its_classs_cap():
    huge = Architecture(name="huge", build=Huge, sizes={"nano": {"width": 16}})
    (finding,) = examine(subject_of(huge, "nano", DIGITS_SPEC, None), ["macs-in-class"]).findings
    assert finding.status == "failed"


def test_of_one_class_there_is_nothing_to_compare():
    spec = DenoiserSpec(channels=1, resolution=8, classes=1, space="pixel")
    found = examine(subject_of(broken(Toy), "nano", spec, None), ["depends-on-y", "null-label"])
    assert [finding.status for finding in found.findings] == ["skipped", "passed"]


@pytest.mark.parametrize(
    ("source", "words"),
    [("import torch", "it imports torch"), ("import time; time.sleep(1.1)", " s"), ("import nowhere", "nowhere")],
)
def test_a_heavy_registration_is_caught(install, source, words):
    install("ditbench-heavy", "heavy_plugin", source)
    subject = subject_of(broken(Toy), "nano", DIGITS_SPEC, None, "heavy_plugin")
    (finding,) = examine(subject, ["registers-lightly"]).findings
    assert finding.status == "failed" and words in finding.seen


def test_what_a_network_refuses_is_told_and_no_fault():
    class Picky(Toy):
        def __init__(self, spec, **settings):
            super().__init__(spec, **settings)
            if spec.resolution > 8:
                raise BadValue("only 8x8")

    (finding,) = examine(subject_of(broken(Picky), "nano", DIGITS_SPEC, None), ["other-inputs"]).findings
    assert finding.status == "passed" and "resolution 16: refused (only 8x8)" in finding.seen


def test_an_error_says_where_in_the_network_it_was_raised():
    (finding,) = examine(subject_of(broken(NullOutOfRange), "nano", DIGITS_SPEC, None), ["output-shape"]).findings
    assert "toy_net.py" in finding.seen


def test_a_plugins_own_test_names_every_failed_check():
    with pytest.raises(ContractBroken, match=r"(?s)1 failed.*depends-on-t: .*To fix it"):
        check_architecture(broken(Deaf), only=["depends-on-t", "depends-on-x"])
    check_architecture(broken(Toy), only=["depends-on-t"])


def test_what_there_is_not_is_a_mistake():
    with pytest.raises(UnknownName, match="Did you mean 'depends-on-t'"):
        check_architecture(broken(Toy), only=["depend-on-t"])
    with pytest.raises(UnknownName, match="No size of broken named 'tiny'"):
        check_architecture(broken(Toy), size="tiny")
    with pytest.raises(UnknownName, match="No option of broken named 'skip'"):
        check_architecture(broken(Toy), options={"skip": True})


def test_a_network_that_can_not_be_built_is_one_failure():
    def unbuildable(spec, *, size):
        raise AssertionError("never called: the size gives width")

    report = examine(subject_of(broken(unbuildable), "nano", DIGITS_SPEC, None))
    (fault,) = report.failed
    assert "unexpected keyword argument 'width'" in fault.seen and "build(spec, **sizes[size]" in fault.mend
    assert fault.mend.startswith("take 'width' out of the record's sizes['nano'], or let build take it: ")
    told = [finding.seen for finding in report.findings if "can't be built" in finding.seen]
    assert len(told) > 15 and set(told) == {f"not made: the network can't be built; see {fault.check}"}


def test_a_module_that_can_not_be_imported_is_one_failure(install):
    install("ditbench-lacking", "lacking_model", "import nowhere_to_be_found")
    mine = replace(broken(Toy), build="lacking_model:Net")
    (fault,) = examine(subject_of(mine, "nano", DIGITS_SPEC, None)).failed
    assert "No module named 'nowhere_to_be_found'" in fault.seen and "`dependencies`" in fault.mend


def test_ditbench_itself_is_no_plugin_where_a_wheel_has_put_it(tmp_path, monkeypatch):
    installed = tmp_path / "site-packages"
    monkeypatch.setattr(places, "_OURS", installed / "ditbench")
    assert not places._is_plugins(str(installed / "ditbench" / "components.py"))
    assert places._is_plugins(str(installed / "ditbench_mine" / "model.py"))


def test_an_option_that_build_does_not_take_is_named():
    mine = replace(broken(Toy), options={"skip": Option(default=False)})
    (fault,) = examine(subject_of(mine, "nano", DIGITS_SPEC, None), ["builds-alone", "builds-on-meta"]).failed
    assert fault.mend.startswith("take 'skip' out of the record's options, or let build take it: ")


WITHOUT_OUTPUT = {  # checks that go before the output, or need none
    "registers-lightly", "builds-alone", "builds-on-meta", "output-shape", "macs-in-class", "ladder", "width-pair",
}  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda out: None, "the output is None, not a tensor"),
        (lambda out: (out,), "the output is of type tuple, not a tensor"),
        (lambda out: out * float("nan"), "the output is not finite"),
        (lambda out: out.flatten(1), "the output has shape (7, 64), not (7, 1, 8, 8)"),
    ],
    ids=["none", "tuple", "nan", "shape"],
)
def test_an_output_of_no_use_is_one_failure(spoil, words):
    class Spoilt(Toy):
        def forward(self, x, t, y):
            return spoil(super().forward(x, t, y))

    report = examine(subject_of(broken(Spoilt), "nano", DIGITS_SPEC, None))
    (fault,) = report.failed
    assert fault.check == "output-shape" and words in fault.seen
    others = [finding for finding in report.findings if finding.check not in WITHOUT_OUTPUT]
    assert {finding.seen for finding in others} == {"not made: the output is of no use; see output-shape"}
    assert len(others) == len(CHECKS) - len(WITHOUT_OUTPUT)


def test_an_error_of_every_pass_is_one_failure_with_the_frames_of_plugin_and_library_and_the_layer():
    class Misshapen(Toy):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.inward = nn.Sequential(self.inward, nn.Conv2d(3, 3, 1))

    report = examine(subject_of(broken(Misshapen), "nano", DIGITS_SPEC, None))
    (fault,) = report.failed
    assert fault.check == "output-shape"
    seen, traceback = fault.seen, fault.traceback
    assert "toy_net.py:" in seen and "and there torch/nn/modules/conv.py:" in seen and "layer 'inward.1'" in seen
    assert traceback.startswith("Traceback") and traceback.count("toy_net.py") == 1 and "suite.py" not in traceback


@pytest.mark.parametrize(("network", "check"), [(Upcasting, "autocast-bfloat16"), (Breaking, "compiles")])
def test_the_layer_is_named_where_autocast_or_compile_fails(network, check):
    class Around(nn.Module):
        def __init__(self, spec, **settings):
            super().__init__()
            self.inner = network(spec, **settings)

        def forward(self, x, t, y):
            return self.inner(x, t, y)

    (finding,) = examine(subject_of(broken(Around), "nano", DIGITS_SPEC, None), [check]).findings
    assert "layer 'inner" in finding.seen and finding.mend == CHECKS[check].mend
    assert check != "compiles" or "from user code" in finding.seen  # the last that dynamo says


def test_a_missing_null_label_is_told_first():
    subject = subject_of(broken(NullOutOfRange), "nano", DIGITS_SPEC, None)
    first, *_ = examine(subject, ["output-shape", "any-batch", "depends-on-y", "null-label"]).faults
    assert first.check == "null-label" and "label 10 is out of range" in first.seen and "classes + 1" in first.mend


def test_without_classes_there_is_no_null_label():
    spec = DenoiserSpec(channels=1, resolution=8, classes=0, space="pixel")
    found = examine(subject_of(broken(Toy), "nano", spec, None), ["depends-on-y", "null-label"])
    assert [finding.status for finding in found.findings] == ["skipped", "skipped"]


def test_the_report_escapes_what_a_plugin_says():
    finding = Finding(check="a", status="failed", expected="b", seen="<script>|\n[x](y)", mend="c")
    page = Report(label="mine:nano", spec="8x8x1 pixel", findings=[finding]).markdown
    assert "<script" not in page and "\\|" in page and "\\[x\\]" in page
    assert page.count("\n| ") == 2


def test_the_letters_of_an_operation_make_it_no_matrix_product():
    (finding,) = examine(subject_of(broken(WithGamma), "nano", DIGITS_SPEC, None), ["autocast-bfloat16"]).findings
    assert finding.status == "passed", finding.seen


def test_a_network_that_leaves_fails_its_checks():
    architecture = Architecture(name="leaving", build=Leaving, sizes={"nano": {}})
    report = examine(subject_of(architecture, "nano", DIGITS_SPEC, {}), only=["builds-alone", "builds-on-meta"])
    assert [one.status for one in report.findings] == ["failed", "skipped"]
    assert report.failed[0].seen.partition(" (in ")[0] == "SystemExit: 0"
