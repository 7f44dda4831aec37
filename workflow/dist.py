"""Build the package, and try it where nothing of this project is: python -m workflow.dist [--out dist]

The source distribution is made of the files that git knows, and the wheel of that source distribution. The wheel is
then installed into a new environment, which sees the libraries of this one, so that nothing is downloaded; there it
is imported, its command prints its help, and it explains a small network.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

from workflow import ROOT

TRY = """
import cam_utils, sys, torch
from torch import nn

assert cam_utils.__file__.startswith(sys.prefix), cam_utils.__file__
net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
found = cam_utils.explain(net, torch.rand(2, 3, 32, 32), [[0, 3], [1]], method="minmax-cam")
assert found.maps.shape == (3, 32, 32) and bool(found.maps.isfinite().all())
print("cam_utils", cam_utils.__version__, "explains", len(found), "pairs")
"""


def build(out: Path, source: Path = ROOT) -> tuple[Path, Path]:
    """Write the source distribution and the wheel into `out` and return both.

    Raises CalledProcessError with the output of the step that failed on the terminal.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=source, check=True, capture_output=True, text=True)
        for name in filter(None, listed.stdout.split("\0")):
            if (source / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / name, tree / name)
        hook = "import sys; from setuptools.build_meta import build_sdist; print(build_sdist(sys.argv[1]))"
        sdist = out / _last_line([sys.executable, "-c", hook, str(out)], tree)
        with tarfile.open(sdist) as packed:
            packed.extractall(folder, filter="data")
        unpacked = Path(folder) / sdist.name.removesuffix(".tar.gz")
        hook = hook.replace("build_sdist", "build_wheel")
        return sdist, out / _last_line([sys.executable, "-c", hook, str(out)], unpacked)


def smoke(wheel: Path) -> str:
    """Install the wheel into a new environment, use it there, and return what it printed last.

    Raises CalledProcessError if any of this fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
        python = place / "bin" / "python"
        install = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
        subprocess.run([*install, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
        (site,) = place.glob("lib/python*/site-packages")
        # A line of a .pth is a folder to search after this one; the .pth files in it are not read, so that an
        # editable installation of this project stays out.
        (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        run = [str(python), "-I"]
        subprocess.run([*run, "-m", "cam_utils", "--help"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return _last_line([*run, "-c", TRY], Path(folder))


def _last_line(program: list[str], folder: Path) -> str:
    done = subprocess.run(program, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the two files (default: dist)")
    built = build(parser.parse_args().out)
    print(smoke(built[1]))
    print(*built, sep="\n")
