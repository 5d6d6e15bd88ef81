"""Environments of a test's own, in which pip installs plugins for real."""

import subprocess
import sysconfig
import venv


def make_environment(folder):
    """The python of a new environment that sees this one's libraries, which are too large to install again."""
    venv.create(folder, with_pip=True)
    here = sysconfig.get_path("purelib")
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return folder / "bin" / "python"


def quiet(*command, cwd):
    """The stdout of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], check=False, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(python, *arguments, cwd):
    """pip in that environment, without an index: what builds packages is in this one."""
    offline = ("--no-index", "--no-deps", "--no-build-isolation") if arguments[0] == "install" else ()
    return quiet(python, "-m", "pip", "--disable-pip-version-check", "-q", *arguments, *offline, cwd=cwd)
