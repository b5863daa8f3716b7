"""PURE: what somebody wrote themselves, without what they quoted, forwarded or signed; and texts made comparable."""

import re
import unicodedata
from dataclasses import dataclass

_GONE = dict.fromkeys(
    [ord(c) for c in "'’‘`´ʼ\u00ad\ufeff"]
    + [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A)]
)
_LETTERS = str.maketrans({"ı": "i", "ł": "l", "ø": "o", "đ": "d", "ё": "е", "æ": "ae", "œ": "oe"}) | _GONE
#: Accents and vowel points, where they only decorate; the marks of kana and of й make other letters.
_MARKS = re.compile("(?<=[a-z\u0590-\u06ff])[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]+")
_LINK = re.compile(r"https?://\S+|www\.\S+|\S+@\S+\.\S+")

_QUOTE_LINE = re.compile(r"\s*[>|]")
_QUOTE_OPENS = tuple(
    re.compile(pattern)
    for pattern in (
        r"^(?:on|am|le|el|il|em|op|w dniu|dnia) .{6,120}(?:wrote|schrieb.{0,60}|a ecrit|escribio|ha scritto|escreveu|schreef.{0,60}|napisal\w*) ?:$",
        r"^.{4,120}(?:wrote|schrieb|a ecrit|escribio|ha scritto|escreveu|schreef|napisal\w*|yazdi|написал\w*|пишет|写道|寫道)\s*[:：]$",
        r"^.{4,80}(?:のメール|さんは書きました)\s*[:：]?$",
        r"^-{2,}\s*(?:original message|ursprungliche nachricht|message dorigine|mensaje original|messaggio originale|mensagem original|oorspronkelijk bericht|исходное сообщение)",
        r"^(?:from|von|de|da|van|od|от)\s*:\s*\S.*$",
        r"^_{10,}$",
    )
)
_FORWARD_OPENS = re.compile(
    r"^(?:-{2,}\s*|begin )?(?:forwarded message|weitergeleitete nachricht|message transfere|mensaje reenviado|messaggio inoltrato|mensagem encaminhada|doorgestuurd bericht|пересланное сообщение)"
)
_HEADER = re.compile(r"\s*\*?\w[\w -]{1,20}\*?\s*[:：]")
_SIGNS_OFF = re.compile(
    r"^(?:-- ?|(?:sent|gesendet|envoye|enviado|inviato|verzonden|wyslano|отправлено) (?:from|von|de|desde|da|vanaf|vanuit|z|с) .*|get outlook for .*|[-–—] ?\w+(?: \w+)?|"
    r"(?:with )?(?:best|kind|warm)(?: regards| wishes)?|regards|sincerely|yours|cheers|br|(?:mit )?(?:freundliche[nr]?|viele|beste|liebe) grusse?n?|mfg|lg|vg|(?:bien )?cordialement|bien a vous|un saludo|saludos(?: cordiales)?|"
    r"(?:cordiali|distinti) saluti|saluti|atenciosamente|abracos?|(?:met )?vriendelijke groet(?:en)?|groet(?:en|jes)?|mvg|pozdrawiam|z powazaniem|saygilarimla|с уважением)[,.!]?$"
)


def fold(text: str) -> str:
    """The text without case, accents, apostrophes, invisible characters and stretched letters (stooop: stop)."""
    bare = _MARKS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    folded = unicodedata.normalize("NFC", bare).translate(_LETTERS)
    return re.sub(r"([^\W\d])\1{2,}", r"\1", folded)


def without_links(text: str) -> str:
    """Links and addresses become the word `link`."""
    return _LINK.sub(" link ", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A reply taken apart."""

    #: their own words, line by line, as written
    own: tuple[str, ...]
    #: what they forwarded from somebody else, as written
    forwarded: str


def take_apart(text: str) -> Written:
    """Their own lines end at the first quote header, forward or signature; lines marked as quoted are left out."""
    own: list[str] = []
    lines = text.replace("\r\n", "\n").split("\n")
    for index, line in enumerate(lines):
        plain = fold(line).strip()
        if _FORWARD_OPENS.match(plain):
            return Written(own=tuple(own), forwarded=_body(lines[index + 1 :]))
        if _opens_quote(plain, lines, index) or (own and _SIGNS_OFF.match(plain)):
            break
        if plain and not _QUOTE_LINE.match(line):
            own.append(line.strip())
    return Written(own=tuple(own), forwarded="")


def _body(lines: list[str]) -> str:
    """What comes after a forwarded message's header lines (From: …, Subject: …)."""
    heads = next((i for i, line in enumerate(lines) if line.strip() and not _HEADER.match(line)), len(lines))
    return "\n".join(lines[heads:])


def _opens_quote(plain: str, lines: list[str], index: int) -> bool:
    # Mail programs wrap "On …, … wrote:" over two lines.
    wrapped = f"{plain} {fold(lines[index + 1]).strip()}" if index + 1 < len(lines) else plain
    return any(opens.match(plain) for opens in _QUOTE_OPENS) or bool(_QUOTE_OPENS[0].match(wrapped))
