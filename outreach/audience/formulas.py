"""PURE: spreadsheet formulas that stand in cells, read as what the sheet showed. Nothing is ever computed."""

import re

_TEXT = r'"((?:[^"]|"")*)"'
_LINK = re.compile(rf"=\s*HYPERLINK\(\s*{_TEXT}\s*(?:[;,]\s*{_TEXT}\s*)?\)", re.IGNORECASE)
#: Excel's way to keep the zeros of ="0049"
_QUOTED = re.compile(rf"=\s*{_TEXT}")


def is_formula(text: str) -> bool:
    """Something that a spreadsheet would compute; what is read by `readings` is none."""
    return text.lstrip().startswith("=")


def readings(text: str) -> list[str]:
    """What a cell says: of `=HYPERLINK("url";"text")` the text, then the url; of anything else the cell as it stands."""
    plain = text.strip()
    if link := _LINK.fullmatch(plain):
        found = [_unquoted(part) for part in (link[2], link[1]) if part]
        return [word.removeprefix("mailto:") for word in found if word.strip()] or [""]
    if quoted := _QUOTED.fullmatch(plain):
        return [_unquoted(quoted[1])]
    return [text]


def _unquoted(part: str) -> str:
    return part.replace('""', '"')


#: What a spreadsheet may take for the begin of something to compute; the wide ones are typed in East Asia.
_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def defused(text: str) -> str:
    """The text for a cell that no spreadsheet computes: an apostrophe before whatever might begin a formula. Numbers are no texts."""
    return f"'{text}" if text.startswith(_STARTS) or text.lstrip(" ").startswith(_STARTS) else text
