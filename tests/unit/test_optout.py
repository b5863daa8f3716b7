"""Reading replies: the corpus row by row, the legal keywords, and the traps that fool naive readers."""

import csv
import io
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from outreach.compliance.languages import load_languages
from outreach.compliance.matching import shipped
from outreach.compliance.optout import classify_reply
from outreach.compliance.quoting import fold, take_apart
from outreach.engine.graph import Graph
from outreach.engine.kinds import ReplyClass

CORPUS = Path(__file__).parent.parent / "data" / "optout_corpus.csv"
ROWS = list(csv.DictReader(io.StringIO(CORPUS.read_text(encoding="utf-8"))))
#: 47 CFR 64.1200(a)(10)
TCPA = ("stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe")
LANGUAGES = {"en", "de", "fr", "es", "it", "pt", "nl", "pl", "tr", "ru", "ja", "zh"}


def _class(text: str, **told: object) -> ReplyClass:
    return classify_reply(text, **told).reply_class  # type: ignore[arg-type]


# --- the corpus ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['language']}-{i}" for i, row in enumerate(ROWS)])
def test_every_line_of_the_corpus_is_read_as_it_is_meant(row: dict[str, str]) -> None:
    assert _class(row["text"]) == row["expected"], classify_reply(row["text"])


def test_the_corpus_has_opt_outs_and_other_replies_in_twelve_languages() -> None:
    opt_outs = Counter(row["language"] for row in ROWS if row["expected"] == "unsubscribe")
    others = Counter(row["language"] for row in ROWS if row["expected"] != "unsubscribe")
    assert all(opt_outs[language] >= 10 for language in LANGUAGES), opt_outs
    assert all(others[language] >= 8 for language in LANGUAGES), others
    assert len(ROWS) >= 600


def test_the_corpus_says_nothing_twice() -> None:
    counted = Counter(row["text"] for row in ROWS)
    assert [text for text, times in counted.items() if times > 1] == []


# --- the law's own words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", TCPA)
@pytest.mark.parametrize(
    "shape", ["{}", "{}.", "{}!!!", " {} ", "please {}", "{}, thanks", '"{}"', "{}\n\nBest,\nMarion"]
)
def test_every_keyword_of_the_law_is_an_opt_out_in_every_dress(keyword: str, shape: str) -> None:
    for text in (keyword, keyword.upper(), keyword.title()):
        assert _class(shape.format(text)) is ReplyClass.UNSUBSCRIBE


# --- traps ---------------------------------------------------------------------------------------------------


def test_our_footer_quoted_back_is_nobodys_opt_out() -> None:
    line = Graph(sequence="s", start="a", nodes={}).opt_out_line
    assert _class(f"> {line}") is ReplyClass.UNKNOWN
    assert _class(f"Sounds good, tell me more\n\n{line}") is ReplyClass.POSITIVE
    assert _class(f"No thanks\n\n> Hello\n> {line}") is ReplyClass.NEGATIVE


def test_a_footer_of_ours_in_any_wording_is_known_when_it_is_told() -> None:
    footer = "Une parole et je me tais : dites stop."
    assert _class(f"Avec plaisir\n{footer}") is ReplyClass.UNCLEAR
    assert _class(f"Avec plaisir\n{footer}", ours=[footer]) is ReplyClass.POSITIVE


def test_our_instruction_alone_is_not_ignored_somebody_may_have_copied_it() -> None:
    assert _class("Reply STOP") is ReplyClass.UNCLEAR


def test_a_stop_above_our_quoted_message_is_an_opt_out() -> None:
    text = "stop\n\nOn Mon, 5 Jan 2026 at 09:12,\nAda <ada@example.test> wrote:\n> would you like to see it?"
    assert _class(text) is ReplyClass.UNSUBSCRIBE


def test_a_stop_that_stands_only_in_what_they_quote_is_none() -> None:
    text = "Thanks!\n\nAm 05.01.2026 um 10:12 schrieb Ada <ada@example.test>:\n> Schreiben Sie STOP"
    assert _class(text) is ReplyClass.NEUTRAL


@pytest.mark.parametrize(
    "text", ["stop by our booth", "don't stop", "I can't stop smiling", "Next stop: Berlin"]
)
def test_a_stop_word_inside_a_sentence_asks_a_human(text: str) -> None:
    assert _class(text) is ReplyClass.UNCLEAR


def test_a_narrowed_opt_out_asks_a_human() -> None:
    assert _class("unsubscribe me from the webinar but keep talking") is ReplyClass.UNCLEAR
    assert _class("Unsubscribe me, but keep me posted about the demo") is ReplyClass.UNCLEAR


def test_not_now_is_a_refusal_and_no_opt_out() -> None:
    assert _class("not interested right now, ping me next quarter") is ReplyClass.NEGATIVE


def test_a_refusal_with_an_opt_out_is_an_opt_out() -> None:
    assert _class("Not interested, but please take me off your list") is ReplyClass.UNSUBSCRIBE


def test_a_negated_opt_out_asks_a_human() -> None:
    assert _class("please do not unsubscribe me") is ReplyClass.UNCLEAR
    assert _class("I don't want you to stop writing to me") is ReplyClass.UNCLEAR


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("👍", ReplyClass.POSITIVE),
        ("👎", ReplyClass.NEGATIVE),
        ("🛑", ReplyClass.UNCLEAR),
        ("🥑", ReplyClass.UNKNOWN),
    ],
)
def test_a_reply_of_emoji_alone_is_read_by_its_emoji(text: str, expected: ReplyClass) -> None:
    assert _class(text) is expected


@pytest.mark.parametrize(
    "text", ["stpo", "unsuscribe", "Unsubcribe", "S.T.O.P", "s t o p", "stooooop", "STOP🛑", "ｓｔｏｐ"]
)
def test_typing_mistakes_and_ornaments_hide_no_opt_out(text: str) -> None:
    assert _class(text) is ReplyClass.UNSUBSCRIBE


def test_a_right_to_left_opt_out_with_direction_marks_is_one() -> None:
    assert _class("\u202bتوقف\u202c") is ReplyClass.UNSUBSCRIBE
    assert _class("\u200fהסר\u200f.") is ReplyClass.UNSUBSCRIBE


def test_stop_in_a_fresh_subject_is_an_opt_out_and_in_an_answered_one_it_is_ours() -> None:
    assert _class("", subject="STOP") is ReplyClass.UNSUBSCRIBE
    assert _class("Yes, gladly", subject="Re: stop losing leads") is ReplyClass.POSITIVE


def test_a_colleagues_opt_out_passed_on_asks_a_human_whom_it_concerns() -> None:
    text = "fyi\n\nBegin forwarded message:\nFrom: Rowan\nSubject: mails\n\nunsubscribe"
    assert _class(text) is ReplyClass.UNCLEAR


def test_an_automatic_reply_with_an_unsubscribe_link_is_automatic() -> None:
    text = "I am out of office until Monday.\nTo unsubscribe from our newsletter click here: https://example.test/u"
    assert _class(text) is ReplyClass.OUT_OF_OFFICE


def test_an_opt_out_outranks_an_absence_and_a_yes() -> None:
    assert _class("I am out of office. Remove me from your list.") is ReplyClass.UNSUBSCRIBE
    assert _class("Sounds good. Stop messaging me.") is ReplyClass.UNSUBSCRIBE


def test_a_bare_everyday_word_inside_a_sentence_means_nothing() -> None:
    assert _class("We will end the quarter strong") is ReplyClass.UNKNOWN
    assert _class("La calidad es muy baja") is ReplyClass.UNKNOWN


def test_an_empty_reply_is_unknown() -> None:
    assert _class("") is ReplyClass.UNKNOWN
    assert _class(" \n\t\n") is ReplyClass.UNKNOWN


def test_the_deciding_words_are_told() -> None:
    assert classify_reply("Bitte ABMELDEN!").phrase == "abmelden"
    assert classify_reply("The bus stop").phrase == "stop"


# --- limits of reading ---------------------------------------------------------------------------------------


def test_a_pasted_article_is_left_to_a_human() -> None:
    assert _class("Lorem ipsum dolor sit amet. " * 400) is ReplyClass.UNCLEAR


@pytest.mark.parametrize(
    "piece", ["no ", "please stop sending me these ", "给我", "i want to ", "ne me ", "\n", "> ", ". "]
)
def test_no_text_makes_the_reader_hang(piece: str) -> None:
    classify_reply("warm")
    began = time.perf_counter()
    classify_reply(piece * (50_000 // len(piece)))
    assert time.perf_counter() - began < 5


# --- the data ------------------------------------------------------------------------------------------------


def test_every_language_of_the_corpus_ships_and_compiles() -> None:
    codes = {language.code for language in load_languages()}
    assert {row["language"] for row in ROWS} - {"mixed"} == codes
    assert all(fold(word) in shipped().stops for language in load_languages() for word in language.words)


def test_no_phrase_matches_nothing_at_all() -> None:
    empty = [pattern.pattern for pattern in shipped().phrases.each if re.fullmatch(pattern, "")]
    assert empty == []


def test_no_word_is_both_an_opt_out_and_an_agreement() -> None:
    assert shipped().stops & shipped().yes == frozenset()
    assert shipped().stops & shipped().no == frozenset()


# --- taking apart --------------------------------------------------------------------------------------------


def test_folding_drops_case_accents_apostrophes_and_stretching_but_no_letters() -> None:
    assert fold("Désabonnez-MOI") == "desabonnez-moi"
    assert fold("don’t stooop") == "dont stop"
    assert fold("İPTAL ılık") == "iptal ilik"
    assert fold("ёлка й") == "елка й"
    assert fold("がぎ") == "がぎ"


def test_a_signature_is_not_their_word() -> None:
    taken = take_apart("Yes please\n\nKind regards,\nMarion\nStop & Shop Ltd")
    assert taken.own == ("Yes please",)


def test_lines_between_quotes_are_their_own() -> None:
    assert take_apart("> Are you in?\nYes\n> When?\nMonday").own == ("Yes", "Monday")
