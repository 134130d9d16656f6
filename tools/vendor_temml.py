"""Put other versions of Temml and of the font of formulas into ``_assets``, with their licences.

    python tools/vendor_temml.py 0.13.5 0.13

Temml comes from the npm registry, through ``npm pack``; the font, STIX Two Math, from the wheel of
ziamath on PyPI, the second version, through pip. It is compressed, and nothing else is done to it
here. Put the versions into ``_assets/README.md`` too, and look at a page with many formulas.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from fontTools.ttLib import TTFont

ASSETS = Path(__file__).resolve().parent.parent / "_assets"
KEPT = ("package/LICENSE", "package/dist/temml.min.js")
FONT = "ziamath/fonts/STIXTwoMath-Regular.ttf"


def temml(version):
    """Fetch the package and replace what is kept of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"temml@{version}"]
        subprocess.run(command, cwd=folder, check=True)
        [path] = Path(folder).glob("*.tgz")
        with tarfile.open(path) as package:
            for name in KEPT:
                target = ASSETS / "temml" / Path(name).name
                target.write_bytes(package.extractfile(name).read())


def font(version):
    """Fetch the wheel and replace the font, compressed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", folder, f"ziamath=={version}"], check=True)
        [path] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(path) as wheel:
            loaded = TTFont(io.BytesIO(wheel.read(FONT)))
    loaded.flavor = "woff2"
    loaded.save(ASSETS / "formulas" / Path(FONT).with_suffix(".woff2").name)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    temml(sys.argv[1])
    font(sys.argv[2])
