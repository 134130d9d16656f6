"""Folds for the switch: code that is shown and proofs, once each, open."""

from small_book import SmallBook, claimed, code, markdown

PROOF = "# One\n\n```{prf:theorem} T\n:label: thm-t\n\nTrue.\n```\n\n```{prf:proof}\nSeen.\n```\n"


def test_code_and_proofs_are_folded_open(tmp_path):
    book = SmallBook(tmp_path, "sphinx_proof", "quiet_cells", "folds", "page_checks")
    checked = code("y = f(2)\nprint(y)\nclaim('c', measured=y)", {"text/html": claimed()})
    hidden = code("z = 4", tags=("hide-input",))
    book.write(one=[markdown(PROOF), code("x = 1\nprint(x)"), checked, hidden])
    assert book.passes()
    page = book.page("one")
    assert page.count('<details class="fold" data-fold="code" open>') == 2
    assert page.count('<details class="fold" data-fold="proofs" open>') == 1
    proof = page.partition('data-fold="proofs"')[2].partition("</details>")[0]
    assert "Seen." in proof
    assert "True." not in proof
    assert page.count("<details") == page.count("</details>")
    head = page.partition("</head>")[0]
    assert 'dataset.hide = localStorage.getItem("hide")' in head


def test_a_cell_that_is_all_checks_has_no_second_fold(tmp_path):
    book = SmallBook(tmp_path, "quiet_cells", "folds", "page_checks")
    book.write(one=[markdown("# One"), code("claim('c', measured=1)", {"text/html": claimed()})])
    assert book.passes()
    assert 'class="fold"' not in book.page("one")
