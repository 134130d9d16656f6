"""Grade a folder of downloads: collect, autograde, feedback, a table of marks.

    python tools/course/grade.py DOWNLOADS [COURSE]     the course is by default _build/course

A download is a notebook. Whose it is follows from its folder (`ada/p1_batches.ipynb`) or from what
stands in its name before that of the practice (`ada_p1_batches.ipynb`); what Moodle and Colab add
is taken off (`Ada Lovelace_4711_assignsubmission_file_p1_batches.ipynb`, `Copy of ...`). Zip files
are opened. Of several files of one student the newest that can be read counts. The marks are in
`marks.csv`, the feedback in `feedback/`, of the course.

What a student has written into the cells of the tasks, and cells of their own, is taken; everything
else is taken from the release. So it does no harm if a cell was deleted, renamed or moved.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import shutil
import sys
import tempfile
import unicodedata
import zipfile
from datetime import datetime
from pathlib import Path, PurePosixPath

import practice_source
from make import nbgrader, write

LARGEST = 20 << 20  # bytes of a notebook that is read
MOODLE = re.compile(r"_\d+_assignsubmission_\w*?_?$")  # what it puts between student and file
COPY = re.compile(r"^(copy of|kopie von|copia de|copie de)\b", re.I)  # Colab
SOLUTION = "_solution"  # the student who knows everything: whoever grades is tested first
OTHERS = f"--CourseDirectory.student_id_exclude={SOLUTION}"


def downloads(folder):
    """Yield (time, name, bytes) of each notebook in a folder and in its zip files.

    What is neither yields None instead of bytes, so that nothing is passed over in silence.
    """
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or is_copy(name):
            continue
        if path.suffix.lower() == ".ipynb":
            yield path.stat().st_mtime, name, path.read_bytes()[: LARGEST + 1]
        elif path.suffix.lower() == ".zip":
            yield from inside(path, name)
        else:
            yield 0, name, None


def inside(path, name):
    """Yield the same for what is in a zip file: of one student, or of a class in folders."""
    try:
        with zipfile.ZipFile(path) as file:
            members = [i for i in file.infolist() if not i.is_dir() and not is_copy(i.filename)]
            notebooks = [i.filename for i in members if i.filename.lower().endswith(".ipynb")]
            folders = {str(PurePosixPath(notebook).parent) for notebook in notebooks}
            of_a_class = len(folders) > 1 or any(map(MOODLE.search, folders))
            for item in members:
                last = item.filename if of_a_class else PurePosixPath(item.filename).name
                known = item.filename in notebooks
                data = file.open(item).read(LARGEST + 1) if known else None
                when = datetime(*item.date_time).timestamp()
                yield when, f"{name[:-4]}/{last}", data
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, ValueError):
        yield 0, name, None


def is_copy(name):
    """Whether a file is what Jupyter or a Mac has put beside it."""
    hidden = (part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
    return any(hidden)


def whose(name, known):
    """Return (student, practice) of a download, or None where its name does not tell.

    >>> whose("ada/p1_batches.ipynb", ["p1_batches"])
    ('ada', 'p1_batches')
    >>> whose("Ada Lovelace_4711_assignsubmission_file_p1_batches (1).ipynb", ["p1_batches"])
    ('Ada-Lovelace', 'p1_batches')
    >>> whose("ada_lovelace/Copy of p1_batches.ipynb", ["p1_batches"])
    ('ada_lovelace', 'p1_batches')
    """
    path = PurePosixPath(unicodedata.normalize("NFC", name))
    for practice in known:
        before, found, _ = path.stem.partition(practice)
        if found:
            places = [before, *reversed(path.parent.parts)]
            names = (COPY.sub("", MOODLE.sub("", place)).strip("_- ") for place in places)
            names = (re.sub(r"[^\w.@]+", "-", n).strip("-._") for n in names)
            student = next((n for n in names if n and not n.startswith(practice)), "")
            return (student, practice) if student else None
    return None


def defined(text):
    """Return the names that a cell's code defines at its top level, or none if it is no code."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(re.findall(r"^(?:def|class) (\w+)", text, re.M))
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = {s.name for s in statements if isinstance(s, kinds)}
    assigned = (t for s in statements if isinstance(s, ast.Assign) for t in s.targets)
    return names | {target.id for target in assigned if isinstance(target, ast.Name)}


def mended(submitted, release):
    """Return the release with the student's answers, and with the cells that a student has added.

    An answer is found by the id that nbgrader gave its cell, or else by the names it defines.
    """
    cells = [c for c in submitted.get("cells", []) if c.get("cell_type") in ("code", "markdown")]
    answers = {practice_source.task(c).get("grade_id"): c for c in cells}  # of copies, the last
    wanted = [c for c in release["cells"] if practice_source.task(c).get("solution")]
    ids = {practice_source.task(c).get("grade_id") for c in release["cells"]} - {None}
    used, found = set(), {}
    for cell in wanted:
        name, names = practice_source.task(cell)["grade_id"], defined(practice_source.source(cell))
        answer = answers.get(name)
        if answer is None:
            same = [c for c in cells if c["cell_type"] == "code" and _unknown(c, ids)]
            same = [c for c in same if names & defined(practice_source.source(c))]
            answer = same[-1] if same else None
        if answer is not None:
            found[name] = practice_source.source(answer)
            used.add(id(answer))
    texts = {practice_source.source(c).strip() for c in release["cells"]}
    notebook, after = json.loads(json.dumps(release)), {}
    place = None  # the student's own cells come after the task, or the text, that they stood after
    for cell in cells:
        text = practice_source.source(cell)
        name = practice_source.task(cell).get("grade_id")
        if id(cell) in used or name in ids or text.strip() in texts:
            place = name or text.strip()
        elif cell["cell_type"] == "code" and text.strip():
            after.setdefault(place, []).append(text)
    out = []
    for cell in notebook["cells"]:
        name = practice_source.task(cell).get("grade_id")
        own = after.pop(name or practice_source.source(cell).strip(), [])
        if name in found:
            cell["source"] = found[name]
        out += [cell, *map(_code, own)]
    first = [_code(text) for texts in after.values() for text in texts]
    notebook["cells"] = first + out
    return notebook


def _unknown(cell, ids):
    return practice_source.task(cell).get("grade_id") not in ids


def _code(text):
    return {
        "cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": text,
    }  # fmt: skip


def read(data):
    """Return a notebook, or raise ValueError with what is wrong with the file."""
    if len(data) > LARGEST:
        raise ValueError(f"larger than {LARGEST >> 20} MB")
    notebook = json.load(io.BytesIO(data))
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError("no notebook of version 4")
    for cell in notebook["cells"]:
        cell.setdefault("metadata", {})
        practice_source.source(cell)
    return notebook


def collect(folder, course):
    """Put the downloads where nbgrader expects them; return notes {(student, practice): words}."""
    known = {path.stem: path for path in sorted((course / "source").glob("*/*.ipynb"))}
    notes, unknown, files = {}, [], {}
    for when, name, data in downloads(folder):
        owner = whose(name, known) if data is not None else None
        if owner is None:
            unknown.append(name)
        else:
            files.setdefault(owner, []).append((when, name, data))
    for owner, versions in files.items():
        student, practice = owner
        release = practice_source.load(course / "release" / practice / f"{practice}.ipynb")
        notebook = None
        for _, name, data in sorted(versions, reverse=True):  # the newest first
            try:
                notebook = mended(read(data), release)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                notes.setdefault(owner, f"unreadable: {type(error).__name__}: {error}")
                continue
            notes[owner] = f"{len(versions)} files, graded: {name}" if len(versions) > 1 else ""
            break
        if notebook is None:
            notebook = release
        place = course / "submitted" / student / practice
        shutil.rmtree(place, ignore_errors=True)
        for cell in notebook["cells"]:
            cell.pop("id", None)  # of two copies they would be the same
        notebook |= {"nbformat": 4, "nbformat_minor": 4}
        write(place / f"{practice}.ipynb", notebook)
    for name in unknown:
        print(f"left out, since it is no notebook of a practice and a student: {name}")
    return notes


def scores(course):
    """Return what is in the gradebook: the most points of each practice, and those of students."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        most = {a.name: a.max_score for a in sorted(book.assignments, key=lambda a: a.name)}
        each = {(s.student.id, a.name): s.score for a in book.assignments for s in a.submissions}
    return most, each


def try_the_solutions(course, practices):
    """Grade the solutions: what does not give them all points would be unfair to students too."""
    for practice in practices:
        place = course / "submitted" / SOLUTION / practice / f"{practice}.ipynb"
        write(place, practice_source.load(course / "source" / practice / f"{practice}.ipynb"))
        _, said = nbgrader(course, "autograde", practice, "--student", SOLUTION, "--force")
        most, each = scores(course)
        got = each.get((SOLUTION, practice), 0)
        if got != most[practice]:
            (course / "autograde.log").write_text(said, encoding="utf-8")
            sys.exit(
                f"{practice}: the solution itself gets {got:g} of {most[practice]:g} points on "
                f"this machine, so nothing was graded; see autograded/{SOLUTION} in {course}, and "
                "autograde.log. Is sgdlib installed in the environment that grades?"
            )


def hide(folder, course):
    """Let no submission see the downloads, unless what it needs to run lies there too."""
    places = (sys.prefix, sys.base_prefix, tempfile.gettempdir(), Path.home())  # kernels talk there
    needed = [practice_source.ROOT, *(Path(place).resolve() for place in places)]
    hidden = (course / "hidden.txt").read_text(encoding="utf-8").splitlines()
    if str(folder) not in hidden and not any(path.is_relative_to(folder) for path in needed):
        text = "\n".join([*hidden, str(folder)]) + "\n"
        (course / "hidden.txt").write_text(text, encoding="utf-8")


def marks(course, notes):
    """Write the table of marks; return its rows."""
    most, score = scores(course)
    names = list(most)
    students = {student for student, _ in score} | {student for student, _ in notes}
    rows = [["student", *names, "sum", "notes"], ["(most)", *most.values(), sum(most.values()), ""]]
    for student in sorted(students - {SOLUTION}):
        got = [score.get((student, name)) for name in names]
        words = [f"{p}: {w}" for (s, p), w in sorted(notes.items()) if s == student and w]
        total = sum(value or 0 for value in got)
        rows.append([student, *("" if v is None else v for v in got), total, "; ".join(words)])
    with open(course / "marks.csv", "w", newline="", encoding="utf-8-sig") as file:  # for Excel
        csv.writer(file).writerows(rows)
    return rows


def grade(folder, course):
    """Grade all downloads of a folder; return the rows of the table of marks."""
    folder, course = Path(folder).expanduser(), Path(course).resolve()
    if not folder.is_dir():
        sys.exit(f"{folder}: expected the folder of the downloads")
    if not (course / "gradebook.db").exists():
        sys.exit(f"{course}: no course there; make one with: make course")
    notes = collect(folder, course)
    if not notes:
        sys.exit(f"{folder}: no notebook of a practice found")
    practices = sorted({practice for _, practice in notes})
    hide(folder.resolve(), course)
    try_the_solutions(course, practices)
    for practice in practices:
        good, said = nbgrader(course, "autograde", practice, "--force", OTHERS)
        if not good:
            for student in (s for s, p in notes if p == practice):
                if re.search(
                    rf"(?i)failed.*{re.escape(student)}|{re.escape(student)}.*failed", said
                ):
                    notes[student, practice] += "; not graded, see autograde.log"
            (course / "autograde.log").write_text(said, encoding="utf-8")
        nbgrader(course, "generate_feedback", practice, "--force", OTHERS)
        count = sum(p == practice for _, p in notes)
        print(f"{practice:24s} {count} graded", flush=True)
    return marks(course, notes)


def main():
    """Grade what the command line names."""
    if len(sys.argv) < 2 or not sys.argv[1]:
        sys.exit("which folder holds the downloads? make grade DOWNLOADS=folder")
    course = Path(sys.argv[2] if len(sys.argv) > 2 else practice_source.ROOT / "_build/course")
    rows = grade(sys.argv[1], course / "nbgrader")
    sys.path.insert(0, str(course / "nbgrader"))
    import guard

    if not guard.ISOLATED:
        print("This machine could not hide the network and the course from what was run.")
    width = max(len(str(row[0])) for row in rows)
    for row in rows:
        print(f"{row[0]!s:{width}s}", *(f"{v!s:>12s}" for v in row[1:-1]), row[-1])
    print(f"Marks: {course / 'nbgrader/marks.csv'}; feedback: {course / 'nbgrader/feedback'}")


if __name__ == "__main__":
    main()
