"""Style sheets without the rules that nothing on any page can meet.

The theme brings Bootstrap, of which a book needs a tenth. A rule goes if each of its selectors asks
for a class that no page has and that no script names; what is in doubt stays.
"""

import re

CLASS = re.compile(r"\.(-?[a-zA-Z_][\w-]*)")
ATTRIBUTE = re.compile(r"\sclass=(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"']+))")
WORD = re.compile(r"[a-zA-Z_][\w-]*")
CHOICE = re.compile(r":(?:is|where|not|has)\((?:[^()]|\([^()]*\))*\)|\[[^\]]*\]")
COMMENT = re.compile(r"/\*.*?\*/", re.S)  # a licence: the others are gone
GROUPS = ("@media", "@supports", "@layer", "@container")


def words(out):
    """Collect the classes of all pages in a folder and every word of its scripts."""
    found = set()
    for page in out.rglob("*.html"):
        for values in ATTRIBUTE.findall(page.read_text(encoding="utf-8")):
            found.update("".join(values).split())
    for script in (out / "_static").glob("*.js"):
        found.update(WORD.findall(script.read_text(encoding="utf-8")))
    return found


def keep_used(css, known):
    """Return the rules that may be met where only the classes `known` occur.

    >>> keep_used("a{x:1}.b,.c d{y:2}.c{z:3}@media print{.c{x:1}}", {"b"})
    'a{x:1}.b{y:2}'
    >>> keep_used("@font-face{f:1}.d:not(.c){x:1}@media print{.b{x:1}}", {"b", "d"})
    '@font-face{f:1}.d:not(.c){x:1}@media print{.b{x:1}}'
    >>> keep_used("/*! by a, b */.c,.b{x:1}", {"b"})
    '/*! by a, b */.b{x:1}'
    """
    kept = []
    for prelude, body in rules(css):
        kept += COMMENT.findall(prelude)
        prelude = COMMENT.sub("", prelude).strip()
        if body is None or (prelude.startswith("@") and not prelude.startswith(GROUPS)):
            kept.append(prelude if body is None else f"{prelude}{{{body}}}")
        elif prelude.startswith("@"):
            inside = keep_used(body, known)
            kept += [f"{prelude}{{{inside}}}"] if inside.strip() else []
        else:
            some = ",".join(s for s in selectors(prelude) if may_be_met(s, known))
            kept += [f"{some}{{{body}}}"] if some else []
    return "".join(kept)


def may_be_met(selector, known):
    """Whether every class that a selector asks for is known; what it only excludes is no matter."""
    return set(CLASS.findall(CHOICE.sub("", selector))) <= known


def selectors(prelude):
    """Split a list of selectors at its own commas, not at those in brackets."""
    depth, start = 0, 0
    for i, char in enumerate(prelude):
        depth += (char in "([") - (char in ")]")
        if char == "," and not depth:
            yield prelude[start:i]
            start = i + 1
    yield prelude[start:]


def rules(css):
    """Yield each rule as its prelude and what is in its braces; a statement's body is None."""
    position = 0
    for match in re.finditer(r"[^{};]*([{;])", css):
        if match.start() < position:
            continue
        prelude = css[position : match.end() - 1].strip()
        if match[1] == ";":
            position = match.end()
            if prelude:
                yield prelude + ";", None
            continue
        depth, end = 1, match.end()
        while depth:
            brace = re.compile(r"[{}]").search(css, end)
            depth += 1 if brace[0] == "{" else -1
            end = brace.end()
        yield prelude, css[match.end() : end - 1]
        position = end
