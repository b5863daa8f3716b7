"""PURE: what a reply says. Deterministic, no model: words and phrases per language, and the cost of being wrong.

A reply that *is* an opt-out is one. A reply that merely contains one is `unclear`: the person is paused and a human looks,
because going on would be worse than asking. An opt-out outranks everything else that is said; a text that no rule knows
is `unknown`, which sends nothing by itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from outreach.compliance.matching import shipped
from outreach.compliance.quoting import fold, take_apart, without_links
from outreach.engine.kinds import ReplyClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The class of a reply, and the words that decided it ("" if none did)."""

    reply_class: ReplyClass
    phrase: str = ""


class _Act(Enum):
    """How much a clause says about stopping."""

    #: names whom or what: "remove me from your list"
    PHRASE = "phrase"
    #: a bare word: "stop"
    WORD = "word"


#: Emoji that speak without words. A stop sign is a hint, not a word: a human looks.
_EMOJI = (
    (ReplyClass.UNCLEAR, "🛑⛔🚫✋🖕🙅🤬😡"),
    (ReplyClass.NEGATIVE, "👎❌🙄"),
    (ReplyClass.POSITIVE, "👍✅🙌💯🔥🤝😍👏🚀👌🤩"),
)
_QUESTION_MARKS = "?？؟"
#: Characters. Beyond this nobody replies, somebody pasted: the rules read so far, and a human reads the rest.
_LONGEST = 8_000
_ANSWERED_SUBJECT = re.compile(r"(?:re|aw|sv|antw|fwd?|wg|tr|rv|ynt|odp|回复|答复|返信)\s*[:：]")
_SENTENCE_ENDS = re.compile(r"[.!?…。！？؟\n]+(?:\s+|$)|[。！？؟\n]+")
_CLAUSE_ENDS = re.compile(r"[.,;:!?…。、،؟()\[\]\"“”«»„¿¡]+|\s[-–—]+\s")
_NOISE = re.compile(r"[^\w\s&-]+")
_SPELLED_OUT = re.compile(r"(?:\w[\s.*_-]+){2,}\w")


def classify_reply(text: str, *, subject: str = "", ours: Sequence[str] = ()) -> Reading:
    """Read one reply. `subject`: an e-mail's; `ours`: texts of ours that may come back unmarked (messages, opt-out lines)."""
    written = take_apart(text[:_LONGEST])
    fresh_subject = [] if _ANSWERED_SUBJECT.match(fold(subject)) else [subject]
    lines = [line for line in (*fresh_subject, *written.own) if line]
    said, instructed = _sentences(lines, ours)
    clauses = [clause for sentence in said for clause in _clauses(sentence)]
    return (
        _as_opt_out(clauses)
        or _as_hinted(clauses, written.forwarded)
        or (Reading(reply_class=ReplyClass.UNCLEAR) if len(text) > _LONGEST else None)
        or _as_automatic(said)
        or _as_contained(said, instructed)
        or _as_emoji(lines)
        or _as_attitude(clauses)
        or _as_question(lines)
        or Reading(reply_class=ReplyClass.UNKNOWN)
    )


# --- taking a text to pieces ---------------------------------------------------------------------------------


def _sentences(lines: Sequence[str], ours: Sequence[str]) -> tuple[list[str], list[str]]:
    """Their sentences, folded; and those that only tell how to opt out, or that we had written."""
    known = {sentence for text in ours for line in text.split("\n") for sentence in _split(line)}
    said: list[str] = []
    instructed: list[str] = []
    for sentence in (s for line in lines for s in _split(line)):
        nobodys_act = sentence in known or shipped().instructions.found(sentence)
        (instructed if nobodys_act else said).append(sentence)
    return said, instructed


def _split(line: str) -> list[str]:
    folded = without_links(fold(line))
    spelled = _SPELLED_OUT.fullmatch(folded.strip(" .!"))
    whole = re.sub(r"[\s.*_-]+", "", spelled[0]) if spelled else folded  # s t o p and s.t.o.p are stop
    return [s for s in (part.strip() for part in _SENTENCE_ENDS.split(whole)) if s]


def _clauses(sentence: str) -> list[str]:
    """The sentence's clauses without courtesy and noise; those that then say nothing are left out."""
    plain = (" ".join(_NOISE.sub(" ", part).split()) for part in _CLAUSE_ENDS.split(sentence))
    bare = ((clause, " ".join(shipped().courtesy.sub(" ", clause).split()).strip(" -")) for clause in plain)
    return [left or clause for clause, left in bare if left or clause in shipped().thanks]


# --- opt-outs ------------------------------------------------------------------------------------------------


def _as_opt_out(clauses: Sequence[str]) -> Reading | None:
    acts = [(clause, act) for clause in clauses if (act := _act(clause))]
    if not acts:
        return None
    besides = [c for c in clauses if _act(c) is None and not _goes_with_stopping(c)]
    narrowed = any(shipped().contrast.search(c) for c in besides)
    plain = not besides or any(act is _Act.PHRASE for _, act in acts)
    verdict = ReplyClass.UNSUBSCRIBE if plain and not narrowed else ReplyClass.UNCLEAR
    return Reading(reply_class=verdict, phrase=acts[0][0])


def _act(clause: str) -> _Act | None:
    """Is the whole clause an opt-out?"""
    bare = shipped().leading.sub("", clause)
    if shipped().phrases.whole(clause) or shipped().phrases.whole(bare):
        return _Act.PHRASE
    if bare in shipped().stops or all(word in shipped().words for word in bare.split()):
        return _Act.WORD
    parts = shipped().joining.split(bare)
    acts = [_act(part) for part in parts] if len(parts) > 1 else []
    if any(acts) and all(act or _goes_with_stopping(part) for act, part in zip(acts, parts, strict=True)):
        return _Act.PHRASE
    return None


def _goes_with_stopping(clause: str) -> bool:
    """Greetings, thanks, refusals and complaints take nothing from an opt-out."""
    return bool(
        clause in shipped().no
        or clause in shipped().thanks
        or shipped().greeting.fullmatch(clause)
        or shipped().negative.found(clause)
        or shipped().complaints.found(clause)
    )


def _as_hinted(clauses: Sequence[str], forwarded: str) -> Reading | None:
    """An opt-out inside a longer clause, or in what they passed on from somebody else: a human looks."""
    for clause in clauses:
        if found := shipped().phrases.found(clause):
            return Reading(reply_class=ReplyClass.UNCLEAR, phrase=found)
    passed_on = classify_reply(forwarded) if forwarded.strip() else None
    if passed_on and passed_on.reply_class in (ReplyClass.UNSUBSCRIBE, ReplyClass.UNCLEAR):
        return Reading(reply_class=ReplyClass.UNCLEAR, phrase=passed_on.phrase)
    return None


def _as_contained(said: Sequence[str], instructed: Sequence[str]) -> Reading | None:
    for sentence in said:
        word = shipped().contained.search(sentence)
        if found := word[0] if word else shipped().hints.found(sentence):
            return Reading(reply_class=ReplyClass.UNCLEAR, phrase=found)
    if instructed and not said:
        # Nothing but "reply STOP": our footer sent back, or somebody who took it at its word.
        return Reading(reply_class=ReplyClass.UNCLEAR, phrase=instructed[0])
    return None


# --- everything else -----------------------------------------------------------------------------------------


def _as_automatic(said: Sequence[str]) -> Reading | None:
    for reply_class, patterns in (
        (ReplyClass.BOUNCE, shipped().bounce),
        (ReplyClass.OUT_OF_OFFICE, shipped().out_of_office),
    ):
        for sentence in said:
            if found := patterns.found(sentence):
                return Reading(reply_class=reply_class, phrase=found)
    return None


def _as_emoji(lines: Sequence[str]) -> Reading | None:
    """A reply without a single letter or digit."""
    text = "".join(lines)
    if re.search(r"\w", text):
        return None
    for reply_class, emoji in _EMOJI:
        if found := next((c for c in text if c in emoji), None):
            return Reading(reply_class=reply_class, phrase=found)
    return None


def _as_attitude(clauses: Sequence[str]) -> Reading | None:
    for reply_class, exact, patterns in (
        (ReplyClass.NEGATIVE, shipped().no, shipped().negative),
        (ReplyClass.POSITIVE, shipped().yes, shipped().positive),
        (ReplyClass.NEUTRAL, shipped().thanks, None),
    ):
        for clause in clauses:
            if clause in exact:
                return Reading(reply_class=reply_class, phrase=clause)
            if patterns and (found := patterns.found(clause)):
                return Reading(reply_class=reply_class, phrase=found)
    return None


def _as_question(lines: Sequence[str]) -> Reading | None:
    mark = next((c for line in lines for c in line if c in _QUESTION_MARKS), None)
    return Reading(reply_class=ReplyClass.NEUTRAL, phrase=mark) if mark else None
