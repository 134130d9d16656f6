"""Light pages: one style sheet, small fonts, no script before the text.

- All style sheets become one. Rules for icons that no template or script of the theme names are
  left out of it, and rules for classes that no page has and no script gives (`used_css`).
- The theme's icons come from its font, cut down to the icons that are left, instead of a script
  of 542 kB (the templates beside this file leave the script out).
- The font of formulas is cut down to the characters that the book's formulas show.
- Every script waits until the page is there; search scripts are on the search page only.
- The theme's scripts and Bootstrap are left out; `_static/page.js` does what this book needs.
"""

import base64
import hashlib
import io
import logging
import posixpath
import re
from importlib.resources import files
from pathlib import Path

import used_css
from fontTools import subset
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.pens.transformPen import TransformPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from sphinx.builders.html._assets import _CascadingStyleSheet, _JavaScript

MATH_FONT = Path(__file__).resolve().parent.parent / "_assets/formulas/STIXTwoMath-Regular.woff2"
PRIMES = "ss04"  # primes as superscripts want them
WIDEST = dict.fromkeys("()[]{}⟨⟩⌈⌉⌊⌋", 1.25) | {"√": 1.0}  # the forms of a character to its first
ICON_FONTS = files("pydata_sphinx_theme") / (
    "theme/pydata_sphinx_theme/static/vendor/fontawesome/webfonts"
)
THEME_SHEETS = ("styles/theme.css", "styles/pydata-sphinx-theme.css")
ONE_SHEET = "pages.css"
ICON_USERS = ("pydata_sphinx_theme", "sphinx_book_theme")

THEME_SCRIPT = "scripts/sphinx-book-theme.js"
COMMENT = re.compile(r"/\*[^!].*?\*/", re.S)
IMPORT = re.compile(r"@import \"([^\"]+)\";")
ADDRESS = re.compile(r"url\((?![\"']?(?:[a-z]+:|#))[\"']?([^\"')]+)[\"']?\)")
FONT_RULE = re.compile(r"@font-face\{([^}]*?)src:[^}]*?([\w-]+)\.woff2[^}]*\}")
ICON_RULE = re.compile(r"((?:\.fa-[a-z0-9-]+:before,?)+)\{content:\"[^\"]*\"\}")
ICON_CODE = re.compile(r"\\([ef][0-9a-f]{3})|([\ue000-\uf8ff])")


def icons_named():
    """Collect the icons that the theme's templates, scripts and Python code name."""
    names = set()
    for package in ICON_USERS:
        for path in Path(str(files(package))).rglob("*"):
            if path.suffix in (".html", ".py", ".js") and path.name != "fontawesome.js":
                text = path.read_text(encoding="utf-8")
                names.update(re.findall(r"\bfa-[a-z0-9-]+", text))
    return names


def cut(font, characters, *, formulas=False):
    """Cut a font down to some characters; None if it has none of them."""
    features = [] if formulas else ["*"]
    options = subset.Options(flavor="woff2", hinting=False, layout_features=features)
    loaded = subset.load_font(str(font), options)
    if not characters & {chr(code) for code in loaded.getBestCmap()}:
        return None
    if formulas:
        take(loaded, PRIMES)
        narrow(loaded)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(characters))
    subsetter.subset(loaded)
    out = io.BytesIO()
    subset.save_font(loaded, out, options)
    return out.getvalue()


def take(font, feature):
    """Let the characters that a feature of a font replaces have these forms always."""
    table = font["GSUB"].table
    records = [r.Feature for r in table.FeatureList.FeatureRecord if r.FeatureTag == feature]
    for number in {number for record in records for number in record.LookupListIndex}:
        for part in table.LookupList.Lookup[number].SubTable:
            forms = getattr(part, "ExtSubTable", part).mapping
            for codes in font["cmap"].tables:
                codes.cmap = {code: forms.get(name, name) for code, name in codes.cmap.items()}


def narrow(font):
    """Let the higher forms of brackets and of the root be no wider, or not much, than the first.

    Chromium keeps room for the widest of all forms beside each of them.
    """
    variants, codes = font["MATH"].table.MathVariants, font.getBestCmap()
    forms = dict(
        zip(variants.VertGlyphCoverage.glyphs, variants.VertGlyphConstruction, strict=True)
    )
    widths, drawn = font["hmtx"], font.getGlyphSet()
    for char, room in WIDEST.items():
        first = codes[ord(char)]
        limit = round(room * widths[first][0])
        assembly = forms[first].GlyphAssembly
        names = {form.VariantGlyph for form in forms[first].MathGlyphVariantRecord}
        names |= {part.glyph for part in assembly.PartRecords} if assembly else set()
        for name in sorted(name for name in names if widths[name][0] > limit):
            pen = TTGlyphPen(None)
            scale = limit / widths[name][0]
            outline = DecomposingRecordingPen(drawn)
            drawn[name].draw(outline)
            outline.replay(TransformPen(pen, (scale, 0, 0, 1, 0, 0)))
            font["glyf"][name] = pen.glyph()
            font["glyf"][name].recalcBounds(font["glyf"])
            widths[name] = (limit, round(scale * widths[name][1]))


def sheet(static, name):
    """Read one style sheet, with its imports put in and its addresses relative to ``_static``."""

    def from_static(address):
        return posixpath.normpath(posixpath.join(posixpath.dirname(name), address))

    text = COMMENT.sub("", (static / name).read_text(encoding="utf-8"))
    text = ADDRESS.sub(lambda match: f"url({from_static(match[1])})", text)
    return IMPORT.sub(lambda match: sheet(static, from_static(match[1])), text)


def one_sheet(static, names, math_characters):
    """Make one text of all style sheets, with the fonts in it."""
    text = "\n".join(sheet(static, name) for name in names)
    named = icons_named()
    text = ICON_RULE.sub(
        lambda m: m[0] if named & set(re.findall(r"fa-[a-z0-9-]+", m[1])) else "", text
    )
    icons = {chr(int(code, 16)) if code else char for code, char in ICON_CODE.findall(text)}

    def small_font(match):
        rule, name = match[1], match[2]
        if name == "formulas":
            data = cut(MATH_FONT, math_characters, formulas=True)
        else:
            data = cut(ICON_FONTS / f"{name}.woff2", icons)
        if data is None:
            return ""
        address = "data:font/woff2;base64," + base64.b64encode(data).decode()
        return f'@font-face{{{rule}src:url({address}) format("woff2")}}'

    return FONT_RULE.sub(small_font, text)


class Pages:
    """Changes what each page loads, and makes the style sheet when all pages are written."""

    def __init__(self):
        self.sheets = None

    def lighten(self, app, pagename, templatename, context, doctree):
        """Handle ``html-page-context``, after everyone else."""
        others = [css for css in context["css_files"] if css.attributes["rel"] != "stylesheet"]
        if self.sheets is None:
            sheets = [css for css in context["css_files"] if css not in others]
            linked = [str(css.filename).removeprefix("_static/") for css in sheets]
            self.sheets = list(dict.fromkeys([*THEME_SHEETS, *linked]))
            self.promise(app)
        context["css_files"][:] = [_CascadingStyleSheet(f"_static/{ONE_SHEET}"), *others]
        scripts = context["script_files"]
        scripts[:] = [script for script in scripts if THEME_SCRIPT not in str(script.filename)]
        if pagename != "search":  # its scripts call each other while the page is read
            scripts[:] = [deferred(Path(app.outdir), script) for script in scripts]
        if "<" in context.get("title", ""):  # formulas have no place in a window's title
            context["title"] = app.env.titles[pagename].astext()

    def promise(self, app):
        """Write what the sheet depends on: its digest, in the pages' links, changes with that."""
        static = Path(app.outdir, "_static")
        there = [static / name for name in self.sheets if (static / name).exists()]
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in there]
        text = repr((self.sheets, digests, sorted(math_characters(app.env))))
        (static / ONE_SHEET).write_text(text, encoding="utf-8")

    def keep_promise(self, app, exception):
        """Handle ``build-finished``, after the extensions that bring style sheets only then."""
        if self.sheets and not exception:
            static = Path(app.outdir, "_static")
            text = one_sheet(static, self.sheets, math_characters(app.env))
            text = used_css.keep_used(text, used_css.words(Path(app.outdir)))
            (static / ONE_SHEET).write_text(text, encoding="utf-8")


def math_characters(env):
    """Collect the characters that formulas show anywhere in the book."""
    return set().union(*env.math_characters.values())


def deferred(out, script):
    """Defer a script; put the page's settings, which scripts in the page need, into the page."""
    if not script.filename:
        return script
    if str(script.filename) == "_static/documentation_options.js":
        body = (out / script.filename).read_text(encoding="utf-8")
        return _JavaScript("", priority=script.priority, body=body)
    attributes = {**script.attributes, "defer": "defer"}
    return _JavaScript(script.filename, priority=script.priority, **attributes)


def setup(app):
    """Register the events."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    pages = Pages()
    app.connect("html-page-context", pages.lighten, priority=999)
    app.connect("build-finished", pages.keep_promise, priority=900)
    return {"version": "1", "parallel_read_safe": True}
