"""What the README shows is what its program prints."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_program_prints_what_is_shown():
    program, shown = re.search(
        r"```python\n(.*?)```.*?```text\n(.*?)```", README.read_text("utf-8"), re.S
    ).groups()
    with redirect_stdout(StringIO()) as printed:
        exec(program, {})
    assert printed.getvalue() == shown
