"""PURE: every spelling of an identifier in, one value out. Two spellings of the same mailbox, handle or wallet must
never become two persons: an opt-out given under one spelling has to hold for the other.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

import base58
import email_validator
from eth_hash.auto import keccak

from outreach.audience.links import Link, link_of, near_miss
from outreach.engine.kinds import Channel


class IdentityKind(StrEnum):
    """What an identifier is, strongest first: ids that never change hands stand before names that do."""

    TWITTER_ID = "twitter_id"
    TWITTER_HANDLE = "twitter_handle"
    LINKEDIN_MEMBER = "linkedin_member"
    LINKEDIN_URN = "linkedin_urn"
    LINKEDIN_SLUG = "linkedin_slug"
    EMAIL = "email"
    EVM_ADDRESS = "evm_address"
    SOLANA_ADDRESS = "solana_address"


_CHANNEL = {
    IdentityKind.TWITTER_ID: Channel.TWITTER,
    IdentityKind.TWITTER_HANDLE: Channel.TWITTER,
    IdentityKind.LINKEDIN_MEMBER: Channel.LINKEDIN,
    IdentityKind.LINKEDIN_URN: Channel.LINKEDIN,
    IdentityKind.LINKEDIN_SLUG: Channel.LINKEDIN,
    IdentityKind.EMAIL: Channel.EMAIL,
    IdentityKind.EVM_ADDRESS: Channel.XMTP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """`value` is compared, `shown` is what was written. LinkedIn slugs carry their kind: `in/ada`, `company/acme`."""

    kind: IdentityKind
    value: str
    shown: str

    @property
    def channel(self) -> Channel | None:
        """Where a message to it would go. None: nowhere (Solana addresses; LinkedIn pages that are not a member's)."""
        if self.kind is IdentityKind.LINKEDIN_SLUG and not self.value.startswith("in/"):
            return None
        return _CHANNEL.get(self.kind)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Not an identifier of the wanted kind: why, and how to mend it."""

    reason: str
    hint: str | None = None


Reading = Identifier | Rejected


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: What spreadsheets write where there is nothing.
_PLACEHOLDERS = frozenset(
    {"", "-", "--", "n/a", "na", "nan", "nil", "none", "null", "tbd", "undefined", "unknown"}
)
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))


def _clean(text: str) -> str:
    """Without the dirt of copying: blanks, invisible characters, full-width forms, angle brackets."""
    plain = unicodedata.normalize("NFKC", text).translate(_INVISIBLE).strip()
    return plain[1:-1].strip() if plain.startswith("<") and plain.endswith(">") else plain


def is_placeholder(text: str) -> bool:
    """Does the cell say, in one of the usual ways, that there is nothing?"""
    return _clean(text).lower() in _PLACEHOLDERS


# --- Twitter ------------------------------------------------------------------------------------------------

_HANDLE = re.compile(r"[a-z0-9_]{1,15}")
_TWITTER_HOSTS = ("twitter.com", "x.com")
#: First path segments that are pages of the site itself.
_TWITTER_PAGES = _words(
    "about compose explore hashtag home i intent jobs login messages notifications privacy search "
    "settings share signup tos"
)


def read_twitter(text: str) -> Reading:
    """A handle or a profile's address: @h, twitter.com/h, mobile.x.com/h/status/1?s=20, x.com/i/user/12."""
    plain = _clean(text)
    if link := link_of(plain):
        return _twitter_link(link, text)
    if plain.isascii() and plain.isdigit() and len(plain) > 15:
        return read_twitter_id(text)
    return _handle(plain.removeprefix("@"), text)


def read_twitter_id(text: str) -> Reading:
    """The numeric id, as digits. Spreadsheets ruin long ids: 1.23E+18 is rejected, not guessed."""
    return _number(_clean(text), text)


def _number(plain: str, shown: str) -> Reading:
    if re.fullmatch(r"[1-9][0-9]{0,19}", plain):
        return Identifier(kind=IdentityKind.TWITTER_ID, value=plain, shown=shown.strip())
    if re.fullmatch(r"[0-9.,]+[eE]\+?[0-9]+", plain):
        return Rejected("a spreadsheet has rounded this Twitter id", "export the column as text")
    return Rejected("a Twitter id is a number of up to 20 digits")


def _twitter_link(link: Link, shown: str) -> Reading:
    if link.host not in _TWITTER_HOSTS:
        return Rejected(f"an address at {link.host}, not at Twitter", near_miss(link.host, _TWITTER_HOSTS))
    match link.segments:
        case ["i", "user", number, *_]:
            return _number(number, shown)
        case ["intent", *_] if "screen_name" in link.query:
            return _handle(link.query["screen_name"], shown)
        case ["intent", *_] if "user_id" in link.query:
            return _number(link.query["user_id"], shown)
        case [first, *_] if first.lower() in _TWITTER_PAGES:
            return Rejected(f"a page of Twitter ({first}), nobody's profile")
        case [first, *_]:
            return _handle(first.removeprefix("@"), shown)
        case _:
            return Rejected("Twitter's front page, nobody's profile")


def _handle(name: str, shown: str) -> Reading:
    value = name.strip().lower()
    if _HANDLE.fullmatch(value):
        return Identifier(kind=IdentityKind.TWITTER_HANDLE, value=value, shown=shown.strip())
    if "@" in value:
        return Rejected(
            "an address with a second @: an email, or another network's handle",
            "put it into a column of its own",
        )
    if len(value) > 15 and re.fullmatch(r"\w+", value, re.ASCII):
        return Rejected(f"a Twitter handle has at most 15 characters, this one has {len(value)}")
    return Rejected("a Twitter handle is made of a-z, 0-9 and _")


# --- email --------------------------------------------------------------------------------------------------

#: Mailboxes of an office, not of a human: each belongs to one person or organisation here, never joins two.
ROLE_MAILBOXES = _words(
    "abuse admin billing business careers community contact contacts enquiries enquiry feedback "
    "general hello help hi hr info inquiries jobs legal mail marketing media office partners "
    "partnership partnerships postmaster press privacy sales security service social support team "
    "webmaster"
)
_NOBODY = _words("noreply no-reply donotreply do-not-reply mailer-daemon bounce bounces")


def is_role_mailbox(value: str) -> bool:
    """Is this normalised email an office's mailbox (contact@, info+web@)?"""
    return value.partition("@")[0].partition("+")[0] in ROLE_MAILBOXES


def read_email(text: str) -> Reading:
    """A mailbox, bare, as `mailto:` or with a display name. Syntax only: nothing is looked up.

    The local part is lower-cased too. The standard lets a server tell Ada@ from ada@; none that matters does, and
    two spellings would be two persons, of whom only one had opted out.
    """
    plain = re.sub(r"^mailto:", "", _clean(text), flags=re.IGNORECASE).partition("?")[0].rstrip(" .,;")
    if "://" in plain:
        return Rejected("a web address, not an email")
    try:
        # Test domains (example.test) are welcome: sample data lives there, and no mail can reach them.
        parsed = email_validator.validate_email(
            plain, check_deliverability=False, test_environment=True, allow_display_name=True
        )
    except email_validator.EmailNotValidError as error:
        return Rejected(f"not an email: {str(error).rstrip('.')}")
    if parsed.local_part.lower() in _NOBODY:
        return Rejected("a mailbox that nobody reads")
    return Identifier(kind=IdentityKind.EMAIL, value=parsed.normalized.lower(), shown=text.strip())


# --- wallets ------------------------------------------------------------------------------------------------

#: Burn addresses. Whoever sends to them has nothing in common.
_BURNT = frozenset({"0" * 40, "0" * 36 + "dead", "dead" + "0" * 32 + "dead", "0" * 39 + "1"})


def read_address(text: str) -> Reading:
    """A wallet of either kind, told apart by its shape."""
    plain = _clean(text)
    if re.fullmatch(r"[\w-]+(\.[\w-]+)*\.(eth|sol)", plain, re.IGNORECASE):
        return Rejected("a name, not an address", "resolve it first; names change hands")
    return (
        read_evm_address(text) if plain[:2].lower() == "0x" or ":0x" in plain else read_solana_address(text)
    )


def read_evm_address(text: str) -> Reading:
    """0x and 40 hex digits, or CAIP-10 (eip155:1:0x…). Kept in lower case; a mixed-case spelling must pass EIP-55."""
    written = re.fullmatch(r"(?:eip155:\d+:)?0[xX]([0-9a-fA-F]{40})", _clean(text))
    if not written:
        return Rejected("an address is 0x and 40 hex digits")
    digits = written[1]
    if digits.lower() in _BURNT:
        return Rejected("a burn address, nobody's wallet")
    if digits not in (digits.lower(), digits.upper()) and f"0x{digits}" != checksummed(f"0x{digits}"):
        return Rejected("the capitals do not match the EIP-55 checksum: a digit is wrong", "copy it again")
    return Identifier(kind=IdentityKind.EVM_ADDRESS, value=f"0x{digits.lower()}", shown=text.strip())


def checksummed(address: str) -> str:
    """The EIP-55 spelling of an address (https://eips.ethereum.org/EIPS/eip-55): capitals carry the checksum."""
    digits = address[2:].lower()
    nibbles = keccak(digits.encode()).hex()
    return "0x" + "".join(d.upper() if int(n, 16) > 7 else d for d, n in zip(digits, nibbles, strict=False))


def read_solana_address(text: str) -> Reading:
    """Base58 of 32 bytes. Case matters and is kept."""
    plain = _clean(text)
    try:
        # The length is looked at first: decoding takes time quadratic in it.
        size = len(base58.b58decode(plain)) if len(plain) <= 64 else 0
    except ValueError:
        return Rejected("neither a 0x address nor base58")
    if size != 32:
        return Rejected(f"a Solana address holds 32 bytes, this {f'holds {size}' if size else 'is too long'}")
    if plain == "1" * 32:
        return Rejected("the system program, nobody's wallet")
    return Identifier(kind=IdentityKind.SOLANA_ADDRESS, value=plain, shown=text.strip())


# --- LinkedIn -----------------------------------------------------------------------------------------------

_LINKEDIN_HOSTS = ("linkedin.com",)
_SLUG = re.compile(r"[\w.%&'’+-]{2,150}")
_PAGES = {
    "company": "company",
    "company-beta": "company",
    "organization": "company",
    "showcase": "showcase",
    "school": "school",
    "in": "in",
}


def read_linkedin(text: str) -> Reading:
    """/in/… and /company/… addresses (kept apart), urn:li:person, urn:li:member, urn:li:organization, or a bare slug."""
    plain = _clean(text)
    if plain.lower().startswith("urn:li:"):
        return _linkedin_urn(plain, text)
    if link := link_of(plain):
        return _linkedin_link(link, text)
    page, _, slug = plain.strip("/").rpartition("/")
    return _slug(page.lower() or "in", slug.removeprefix("@"), text)


def _linkedin_urn(urn: str, shown: str) -> Reading:
    kind, _, key = urn[len("urn:li:") :].partition(":")
    if kind.lower() == "member" and re.fullmatch(r"[1-9][0-9]*", key):
        return Identifier(kind=IdentityKind.LINKEDIN_MEMBER, value=key, shown=shown.strip())
    if kind.lower() == "person" and re.fullmatch(r"[\w-]+", key, re.ASCII):
        return Identifier(kind=IdentityKind.LINKEDIN_URN, value=f"urn:li:person:{key}", shown=shown.strip())
    if kind.lower() == "organization":
        return _slug("company", key, shown)
    return Rejected(f"urn:li:{kind} names no member", "urn:li:person:… and urn:li:member:… do")


def _linkedin_link(link: Link, shown: str) -> Reading:
    if link.host not in _LINKEDIN_HOSTS and not link.host.endswith(".linkedin.com"):
        return Rejected(f"an address at {link.host}, not at LinkedIn", near_miss(link.host, _LINKEDIN_HOSTS))
    match link.segments:
        case [page, slug, *_] if page.lower() in _PAGES:
            return _slug(page.lower(), slug, shown)
        case [page, *_]:
            return Rejected(
                f"a LinkedIn /{page}/ page names no member", "use the public address: linkedin.com/in/…"
            )
        case _:
            return Rejected("LinkedIn's front page, nobody's profile")


def _slug(page: str, slug: str, shown: str) -> Reading:
    value = unicodedata.normalize("NFC", unquote(slug)).strip().lower()
    if page in _PAGES and _SLUG.fullmatch(value):
        return Identifier(
            kind=IdentityKind.LINKEDIN_SLUG, value=f"{_PAGES[page]}/{value}", shown=shown.strip()
        )
    return Rejected("not a LinkedIn profile", "write linkedin.com/in/…, urn:li:person:… or urn:li:member:…")


# --- by name of the field, and by looks ---------------------------------------------------------------------


def _read_member(text: str) -> Reading:
    return read_linkedin(text if text.strip().lower().startswith("urn:") else f"urn:li:member:{text.strip()}")


#: What a column may be called, and who reads it. `address` takes both kinds of wallet.
READERS: dict[str, Callable[[str], Reading]] = {
    "twitter": read_twitter,
    "twitter_handle": read_twitter,
    "twitter_id": read_twitter_id,
    "email": read_email,
    "address": read_address,
    "evm_address": read_evm_address,
    "solana_address": read_solana_address,
    "linkedin": read_linkedin,
    "linkedin_slug": read_linkedin,
    "linkedin_urn": read_linkedin,
    "linkedin_member": _read_member,
}


def normalise(kind: str, text: str) -> Reading:
    """The identifier that `text` spells, where it is known what it should be (a key of READERS)."""
    if not text.startswith("@") and is_placeholder(text):
        return Rejected("a placeholder, not an identifier")
    return READERS[kind](text)


def recognise(text: str) -> Reading:
    """The identifier that `text` spells, told by its looks: `@` makes a handle, `twitter_id:12` says the kind itself."""
    plain = _clean(text)
    kind, colon, rest = plain.partition(":")
    if colon and kind.lower() in READERS:
        return normalise(kind.lower(), rest)
    return _READER_BY_LOOKS[_looks(plain)](text)


def _looks(plain: str) -> str:
    link = link_of(plain)
    if plain.lower().startswith("urn:li:") or (link and "linkedin" in link.host):
        return "linkedin"
    if plain.startswith("@") or (link and link.host in _TWITTER_HOSTS):
        return "twitter"
    if plain.lower().startswith("mailto:") or "@" in plain:
        return "email"
    if re.match(r"(eip155:\d+:)?0[xX]", plain) or re.fullmatch(
        r"[1-9A-HJ-NP-Za-km-z]{32,44}|\S+\.(eth|sol)", plain
    ):
        return "address"
    return "link" if link else "nothing"


def _not_a_profile(text: str) -> Reading:
    link = link_of(_clean(text))
    guess = near_miss(link.host, _TWITTER_HOSTS + _LINKEDIN_HOSTS) if link else None
    return Rejected(
        f"{text.strip()} is no profile that we know",
        guess or "addresses at twitter.com, x.com and linkedin.com are",
    )


def _not_an_identifier(text: str) -> Reading:
    return Rejected(
        f"{text.strip()!r} does not look like an identifier",
        "write @name for a Twitter handle, or kind:value, as in twitter_id:12",
    )


_READER_BY_LOOKS: dict[str, Callable[[str], Reading]] = {
    "linkedin": read_linkedin,
    "email": read_email,
    "twitter": read_twitter,
    "address": read_address,
    "link": _not_a_profile,
    "nothing": _not_an_identifier,
}
