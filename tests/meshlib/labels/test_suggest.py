from __future__ import annotations

from meshlib.labels.suggest import Suggestions


def test_suggestions_compare_so_many_words_and_remember_them() -> None:
    suggestions = Suggestions(2)
    known = ("redirect", "internal_port")
    assert suggestions.nearest("redirct", known) == "redirect"
    assert suggestions.nearest("redirct", known) == "redirect"
    assert suggestions.nearest("internal_prot", known, 3) == "internal_port"
    assert suggestions.nearest("internal_pot", known) is None
    assert suggestions.nearest("redirct", known) == "redirect"


def test_the_first_word_that_is_near() -> None:
    suggestions = Suggestions(2)
    assert suggestions.first_near([], "mesh") is None
    assert suggestions.first_near(["x", "MESHH", "mesh"], "mesh") == "MESHH"
    assert suggestions.first_near(["other"], "mesh") is None
    assert suggestions.first_near(["mesh"], "mesh") is None
