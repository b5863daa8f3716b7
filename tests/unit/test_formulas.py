"""Cells that leave for a spreadsheet: what it would compute is text, everything else is left alone."""

import pytest

from outreach.audience.formulas import defused

EVIL = ['=HYPERLINK("http://x.test","click")', "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "  =1+1", "＝1"]


@pytest.mark.parametrize("text", EVIL)
def test_a_cell_that_a_spreadsheet_would_compute_is_text(text: str) -> None:
    assert defused(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "Ada", "a=b", "1-2", "'=1", "<script>", "{{7*7}}"])
def test_any_other_cell_is_left_alone(text: str) -> None:
    assert defused(text) == text
