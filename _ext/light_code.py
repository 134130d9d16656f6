"""Code is light: spans that colour nothing go, and folded code is coloured when it is opened.

A highlighter puts every name and comma into an element of its own, a third of a page's nodes. What
the style sheet gives no look of its own is plain text here. Code that is folded away stands as
plain text too, with its coloured copy in a `template` beside it, which the browser does not lay
out: `_static/folds.js` puts it in place when the fold opens. In signatures, and in code within a
line, spans around words and commas colour nothing at all.

What may be wider than a phone (code, tables) can be reached by the keyboard from the beginning;
`_static/a11y.js` takes that back, near the reader, where nothing scrolls.
"""

import html
import re

from pygments.styles import get_style_by_name
from pygments.token import STANDARD_TYPES

BLOCK = re.compile(r"(<div class=\"highlight\"><pre(?: tabindex=\"0\")?>)(.*?)(</pre></div>)", re.S)
SPAN = re.compile(r"<span class=\"(\w+)\">([^<]*)</span>")
FOLD = re.compile(r"<details class=\"[^\"]*\b(?:hide|checks|sd-\w+)\b.*?</details>", re.S)
TABLE = re.compile(
    r"<div class=\"(?:pst-scrollable-table-container|output text_html)\"(?=>\s*<table)"
)
SIGNATURE = re.compile(r"<dt class=\"sig .*?</dt>", re.S)
WORD = re.compile(r"<span class=\"pre\">([^<]*)</span>")
TOKEN = re.compile(
    r"<span class=\"(?:[a-z]{1,2}\d?|colon|default_value|sig-return-icon)\">([^<]*)</span>"
)
PHONE = 30  # characters of code that a phone shows in a line
MARKUP = re.compile(r"<[^>]*>")


def coloured(styles):
    """Collect the classes to which one of the Pygments styles gives a look of its own."""
    classes = set()
    for name in styles:
        style = get_style_by_name(name)
        looks = {short: style.style_for_token(token) for token, short in STANDARD_TYPES.items()}
        classes |= {short for short, look in looks.items() if look != looks["n"]}
    return classes - {"w"}  # white space shows no look


def lighten(app, pagename, templatename, context, doctree):
    """Handle ``html-page-context``: look at every block of code in the page's text."""
    if "body" not in context:
        return
    theme = app.config.html_theme_options
    tones = ("light", "dark")
    kept = coloured(theme.get(f"pygments_{t}_style", f"a11y-high-contrast-{t}") for t in tones)

    def plain(match):
        return match[0] if match[1] in kept else match[2]

    def light(match):
        lines = html.unescape(MARKUP.sub("", match[2])).split("\n")
        wide = max(map(len, lines)) > PHONE
        start = match[1].replace("<pre>", '<pre tabindex="0">') if wide else match[1]
        return start + SPAN.sub(plain, match[2]) + match[3]

    def asleep(match):
        if "<span" not in match[2]:
            return match[0]
        text = MARKUP.sub("", match[2])
        return f'{match[1]}{text}</pre><template class="code">{match[2]}</template></div>'

    def signature(match):
        return TOKEN.sub(r"\1", TOKEN.sub(r"\1", match[0]))

    body = SIGNATURE.sub(signature, WORD.sub(r"\1", BLOCK.sub(light, context["body"])))
    body = TABLE.sub(r'\g<0> tabindex="0" role="group" aria-label="table"', body)
    context["body"] = FOLD.sub(lambda fold: BLOCK.sub(asleep, fold[0]), body)


def setup(app):
    """Register the event."""
    app.connect("html-page-context", lighten, priority=800)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
