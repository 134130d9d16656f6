"""Put another version of KaTeX into ``_assets/katex``: script, style sheet, fonts and licence.

    python tools/vendor_katex.py 0.19.1

The package comes from the npm registry, through ``npm pack``. Put the version into
``_assets/README.md`` too, and look at a page with many formulas afterwards.
"""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

TARGET = Path(__file__).resolve().parent.parent / "_assets/katex"
KEPT = ("LICENSE", "dist/katex.min.js", "dist/katex.min.css", "dist/fonts/*.woff2")


def vendor(version):
    """Fetch the package and replace what is kept of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"katex@{version}"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        with tarfile.open(Path(folder, done.stdout.strip())) as package:
            for member in package.getmembers():
                name = PurePosixPath(member.name).relative_to("package")
                if not any(name.match(pattern) for pattern in KEPT):
                    continue
                parts = [part for part in name.parts if part != "dist"]
                target = TARGET.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(package.extractfile(member).read())
                print(target.relative_to(TARGET))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    vendor(sys.argv[1])
