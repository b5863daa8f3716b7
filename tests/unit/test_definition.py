"""Reading sequence files: forms that are understood, places that are remembered, files that are refused."""

from datetime import time, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.engine.definition import (
    DEFAULT_OPT_OUT,
    Definition,
    parse_definition,
    parse_definition_bytes,
)
from outreach.engine.graph import Graph, Window
from outreach.engine.kinds import ActionKind, EntryKind, TriggerKind
from outreach.engine.problems import CODES, Problem, Severity
from outreach.engine.reading import MAX_ACTIONS
from outreach.engine.source import MAX_ALIASES, MAX_BYTES

ROOT = Path(__file__).parents[2]
ALL_KINDS = ROOT / "tests" / "data" / "all-kinds.yaml"
SMALLEST = "sequence: a\nactions: {hello: {do: WAIT, for: 1d}}\n"


def parsed(text: str) -> Definition:
    found = parse_definition(text, "a.yaml")
    assert isinstance(found, Definition), found
    return found


def problems(text: str) -> list[Problem]:
    found = parse_definition(text, "a.yaml")
    assert isinstance(found, list), found
    return found


def codes(text: str) -> list[str]:
    return [problem.code for problem in problems(text)]


# --- what is understood ----------------------------------------------------------------------------------------


def test_every_kind_of_action_and_edge_can_be_written() -> None:
    found = parsed(ALL_KINDS.read_text(encoding="utf-8"))
    assert {spec.kind for spec in found.actions.values()} == set(ActionKind)
    assert {edge.kind for spec in found.actions.values() for edge in spec.edges} == set(TriggerKind)


def test_the_smallest_file_gets_the_defaults() -> None:
    found = parsed(SMALLEST)
    assert (found.name, found.title, found.on_reply, found.exclude_already_contacted) == (
        "a",
        "",
        "stop",
        False,
    )
    assert found.window is None
    assert found.opt_out.value == DEFAULT_OPT_OUT == Graph(sequence="a", start="a", nodes={}).opt_out_line


def test_next_may_be_a_key_an_edge_or_a_list_of_either() -> None:
    found = parsed(
        """
        sequence: a
        actions:
          key: {do: BRANCH, next: list}
          edge: {do: BRANCH, next: {to: list, after: 1d}}
          list: {do: BRANCH, next: [{on: REPLIED, to: key}, END]}
        """
    )
    key, edge, listed = (found.actions[name].edges for name in ("key", "edge", "list"))
    assert [(e.kind, e.to and e.to.value, e.after) for e in key] == [(TriggerKind.NORMAL_EDGE, "list", None)]
    assert [(e.kind, e.after) for e in edge] == [(TriggerKind.NORMAL_EDGE, timedelta(days=1))]
    assert [(e.kind, e.to and e.to.value) for e in listed] == [
        (TriggerKind.REPLIED, "key"),
        (TriggerKind.NORMAL_EDGE, None),
    ]


def test_words_that_yaml_takes_for_booleans_times_and_numbers_stay_words() -> None:
    found = parsed(
        """
        sequence: 007
        window: {from: 09:00, until: 18:30}
        variables: {code: 007, yes: no}
        actions:
          on: {do: BRANCH, next: off}
          off: {do: BRANCH, next: {on: END}}
        """
    )
    assert found.name == "007"
    assert found.window == Window(start=time(9), end=time(18, 30))
    assert {name: text.value for name, text in found.variables.items()} == {"code": "007", "yes": "no"}
    assert list(found.actions) == ["on", "off"]


def test_a_message_may_be_a_text_or_have_variants_that_inherit_the_subject() -> None:
    found = parsed(
        """
        sequence: a
        actions:
          short: {do: SEND_TWITTER_DM, message: Hello}
          long:
            do: SEND_EMAIL
            message:
              subject: Ours
              variants: {a: {weight: 3, body: One}, b: {body: Two, subject: Its own}, c: Three}
        """
    )
    short, long = (found.actions[name].message for name in ("short", "long"))
    assert short is not None and [(v.key, v.weight, v.body.value) for v in short.variants] == [
        ("a", 1, "Hello")
    ]
    assert long is not None
    assert [(v.key, v.weight, v.body.value, v.subject and v.subject.value) for v in long.variants] == [
        ("a", 3, "One", "Ours"),
        ("b", 1, "Two", "Its own"),
        ("c", 1, "Three", "Ours"),
    ]


def test_texts_remember_the_line_on_which_their_first_line_stands() -> None:
    found = parsed(
        "sequence: a\nactions:\n  b:\n    do: SEND_EMAIL\n    message:\n      subject: c\n      body: |\n        d\n"
    )
    message = found.actions["b"].message
    assert message is not None
    [variant] = message.variants
    assert variant.subject is not None and variant.subject.first_line == 6
    assert (variant.body.mark.line, variant.body.first_line) == (7, 8)


def test_aliases_repeat_what_they_name() -> None:
    found = parsed(
        "sequence: a\nactions:\n  b: {do: WAIT, for: &long 3d, next: c}\n  c: {do: WAIT, for: *long}\n"
    )
    assert found.actions["c"].wait == timedelta(days=3)


@pytest.mark.parametrize(
    "window",
    ['{from: "9"}', '{until: "24:00"}', "{days: fun}", "{zone: Atlantis}", '{from: "18:00"}', "{days: []}"],
)
def test_a_window_that_cannot_be_read_is_one_problem(window: str) -> None:
    assert codes(f"sequence: a\nwindow: {window}\nactions: {{b: {{do: WAIT, for: 1d}}}}") == ["S109"]


def test_a_window_may_run_over_midnight_and_name_its_days_in_a_list() -> None:
    found = parsed(
        'sequence: a\nwindow: {days: [sat, sun], from: "22:00", until: "06:00", zone: account}\n'
        + SMALLEST[12:]
    )
    assert found.window == Window(days=(5, 6), start=time(22), end=time(6), zone="account")


# --- files that are refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "S001"),
        (b"\n\n# only this\n", "S001"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "S002"),
        (b"sequence: a\0", "S002"),
        (SMALLEST.encode("utf-16"), "S003"),
        (SMALLEST.encode("utf-16-le"), "S003"),
        (SMALLEST.encode("utf-16-be"), "S003"),
        (SMALLEST.encode("utf-32"), "S003"),
        (b"sequence: a\ntitle: caf\xe9\n", "S003"),
        (b"#" * (MAX_BYTES + 1), "S004"),
        (b"just a sentence", "S103"),
        (b"- a\n- list\n", "S103"),
        (SMALLEST.encode() + b"---\n" + SMALLEST.encode(), "S005"),
    ],
)
def test_a_file_that_is_no_sequence_says_so_in_one_problem(data: bytes, code: str) -> None:
    found = parse_definition_bytes(data, "a.yaml")
    assert isinstance(found, list)
    assert [problem.code for problem in found] == [code]


def test_a_byte_order_mark_does_no_harm() -> None:
    assert isinstance(parse_definition_bytes(b"\xef\xbb\xbf" + SMALLEST.encode(), "a.yaml"), Definition)
    assert isinstance(parse_definition("\ufeff" + SMALLEST, "a.yaml"), Definition)


def test_a_byte_that_is_not_utf8_is_shown_where_it_stands() -> None:
    found = parse_definition_bytes(b"sequence: a\ntitle: caf\xe9\n", "a.yaml")
    assert isinstance(found, list)
    assert (found[0].line, found[0].column) == (2, 11)


def test_an_alias_bomb_is_defused() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join(['*' + before] * 9)}]"
        for before, name in zip("abcdefghijkl", "bcdefghijklm", strict=True)
    ]
    assert "S006" in codes("\n".join(lines))


def test_aliases_are_counted_not_forbidden() -> None:
    text = "sequence: a\nactions: {b: &b {do: WAIT, for: 1d}"
    assert isinstance(parse_definition(f"{text}, c: *b}}", "a.yaml"), Definition)
    many = "".join(f", c{i}: *b" for i in range(MAX_ALIASES + 1))
    assert codes(f"{text}{many}}}") == ["S006"]


def test_a_recursive_alias_ends() -> None:
    assert sorted(codes("sequence: a\nactions: &a {b: *a}")) == ["S101", "S102"]


def test_a_hundred_thousand_brackets_are_too_deep_and_not_a_crash() -> None:
    assert codes("[" * 100_000) == ["S006"]


def test_more_actions_than_the_limit_are_refused() -> None:
    actions = "".join(f"  a{i}: {{do: WAIT, for: 1d}}\n" for i in range(MAX_ACTIONS + 1))
    assert codes(f"sequence: a\nactions:\n{actions}") == ["S113"]


def test_merge_keys_and_list_keys_are_no_keys() -> None:
    found = codes("sequence: a\nactions: {b: &b {do: WAIT, for: 1d}, c: {<<: *b, [d]: e}}")
    assert sorted(found) == ["S008", "S102", "S103"]


# --- problems are complete and located -------------------------------------------------------------------------


def test_all_problems_come_at_once_in_the_order_of_the_lines() -> None:
    found = problems(
        "sequence: A!\non_reply: halt\nwindow: {zone: Mars}\nactions:\n  one: {do: JUMP}\n  two: {do: WAIT, for: long}\n  END: {do: BRANCH}\n"
    )
    assert [(p.line, p.code) for p in found] == [
        (1, "S104"),
        (2, "S108"),
        (3, "S109"),
        (5, "S105"),
        (6, "S107"),
        (7, "S104"),
    ]


def test_a_problem_names_its_path_its_place_and_its_remedy() -> None:
    [found] = problems(
        "sequence: a\nactions:\n  b:\n    do: BRANCH\n    next:\n      - {on: REPLYED, to: END}\n"
    )
    assert (found.path, found.line, found.column, found.severity) == (
        "actions.b.next[0].on",
        6,
        14,
        Severity.ERROR,
    )
    assert found.describe("a.yaml") == (
        "a.yaml:6:14: error S106: REPLYED is no kind of edge.\n    Did you mean REPLIED?"
    )


@pytest.mark.parametrize("name", ["opt_out", "sender_name", "sequence", "_x", "first-name", "a b", "1st"])
def test_variables_have_usable_names_that_the_engine_does_not_fill_in_itself(name: str) -> None:
    assert codes(f"sequence: a\nvariables: {{{name}: x}}\nrequires: [{name}]\n{SMALLEST[12:]}") == [
        "S104",
        "S104",
    ]


@pytest.mark.parametrize("value", ["''", "'  '", "~", "null"])
def test_a_blank_default_is_no_default(value: str) -> None:
    assert codes(f"sequence: a\nvariables: {{name: {value}}}\n{SMALLEST[12:]}") == ["S103"]


def test_every_code_is_explained_to_users() -> None:
    lines = (ROOT / "docs" / "sequences.md").read_text(encoding="utf-8").splitlines()
    for code, (severity, meaning) in CODES.items():
        assert [line for line in lines if line.startswith(f"| {code} | {severity} | {meaning} |")], code


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    found = parse_definition(text, "a.yaml")
    assert isinstance(found, Definition) or found


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail(data: bytes) -> None:
    found = parse_definition_bytes(data, "a.yaml")
    assert isinstance(found, Definition) or found


_WORDS = st.sampled_from(
    [
        "sequence",
        "actions",
        "do",
        "for",
        "message",
        "next",
        "on",
        "to",
        "after",
        "body",
        "variants",
        "END",
        "WAIT",
        "SEND_EMAIL",
        "1d",
        "a",
        "~",
        "8",
    ]
)
_TREES = st.recursive(
    _WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=5),
    max_leaves=20,
)


def as_yaml(tree: object) -> str:
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(as_yaml, tree)) + "]"
    return str(tree)


@settings(deadline=None)
@given(
    st.dictionaries(_WORDS, _TREES, max_size=6),
    st.dictionaries(st.sampled_from(["a", "b"]), _TREES, max_size=2),
)
def test_no_shape_makes_the_reader_fail(top: dict[str, object], actions: dict[str, object]) -> None:
    found = parse_definition(as_yaml({**top, "sequence": "a", "actions": actions}), "a.yaml")
    assert isinstance(found, Definition) or found


# --- entries ---------------------------------------------------------------------------------------------------


def entry(text: str) -> str:
    return f"sequence: a\nentry: {text}\nactions: {{hello: {{do: WAIT, for: 1d}}}}\n"


def test_entries_may_be_one_or_a_list_and_names_one_or_a_list() -> None:
    (one,) = parsed(entry("{segment: founders, account: acme}")).entries
    assert (one.value.kind, one.value.name, one.value.accounts) == (EntryKind.SEGMENT, "founders", ("acme",))
    several = parsed(
        entry(
            "[{on: message_in, words: [info, no, Info, info], pool: [a, b]}, {on: form, form: web, cool_off: 1h}]"
        )
    )
    message, form = (spec.value for spec in several.entries)
    assert (message.words, message.pools, message.cool_off) == (("info", "no", "Info"), ("a", "b"), None)
    assert (form.kind, form.name, form.cool_off) == (EntryKind.FORM, "web", timedelta(hours=1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{on: message_in, cool_off: 0s}", ["S107"]),
        ("{on: message_in, cool_off: 59m}", ["S107"]),
        ("{on: message_in, cool_off: soon}", ["S107"]),
        ("{on: message}", ["S108"]),
        ("{on: form}", ["S102"]),
        ("{on: form, form: My Site}", ["S104"]),
        ("{on: message_in, words: [' ']}", ["S103"]),
        ("{on: message_in, words: {a: b}}", ["S103"]),
        ("{on: message_in, wrods: [a]}", ["S101"]),
        ("everybody", ["S103"]),
        ("[]", []),
        ("[everybody]", ["S103"]),
        ("{on: message_in, segment: founders}", ["S402"]),
        ("{on: form, form: web, words: [a]}", ["S402"]),
        (f"{{on: message_in, words: [{', '.join(f'w{n}' for n in range(101))}]}}", ["S113"]),
        (f"[{', '.join(f'{{segment: s{n}}}' for n in range(21))}]", ["S113"]),
    ],
)
def test_what_is_wrong_with_an_entry(text: str, expected: list[str]) -> None:
    found = parse_definition(entry(text), "a.yaml")
    assert [p.code for p in found] == expected if isinstance(found, list) else expected == []
