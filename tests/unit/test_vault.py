"""The vault: what is sealed opens in its own place only, and a ring of secrets says nothing of itself."""

from dataclasses import replace

import pytest

from outreach.errors import ConfigurationError
from outreach.peppers import ID_CHARACTERS, Peppers
from outreach.settings import Settings
from outreach.vault import CannotOpen, Place, Vault, new_key, ring_of

OLD, NEW = new_key(), new_key()
PLACE = Place("account", "access_token", "twitter/7")
TOKEN = "canary-token"


def test_what_is_sealed_opens_where_it_was_sealed_for() -> None:
    vault = Vault.of(NEW)
    sealed = vault.seal(TOKEN, PLACE)
    assert vault.open(sealed, PLACE) == TOKEN
    assert TOKEN not in sealed
    assert vault.seal(TOKEN, PLACE) != sealed, "a nonce is never used twice"


@pytest.mark.parametrize("elsewhere", [{"table": "app"}, {"column": "refresh_token"}, {"row": "twitter/8"}])
def test_it_opens_nowhere_else(elsewhere: dict[str, str]) -> None:
    vault = Vault.of(NEW)
    with pytest.raises(CannotOpen, match="moved there"):
        vault.open(vault.seal(TOKEN, PLACE), replace(PLACE, **elsewhere))


def test_places_whose_parts_run_together_are_different_places() -> None:
    vault = Vault.of(NEW)
    with pytest.raises(CannotOpen):
        vault.open(vault.seal(TOKEN, Place("app", "client_secret", "x")), Place("appclient", "_secret", "x"))


def test_not_one_character_of_it_may_be_changed() -> None:
    vault = Vault.of(NEW)
    sealed = vault.seal(TOKEN, PLACE)
    for n, character in enumerate(sealed):
        changed = f"{sealed[:n]}{'A' if character != 'A' else 'B'}{sealed[n + 1 :]}"
        with pytest.raises(CannotOpen):
            vault.open(changed, PLACE)


@pytest.mark.parametrize("plain", ["canary-token", "", "a:b", "x1:key:abc", "v1:key", "v:key:abc"])
def test_what_nobody_sealed_is_refused_and_not_repeated(plain: str) -> None:
    with pytest.raises(CannotOpen, match="is not sealed") as refused:
        Vault.of(NEW).open(plain, PLACE)
    assert not plain or plain not in str(refused.value)


def test_a_newer_envelope_is_left_to_a_newer_release() -> None:
    vault = Vault.of(NEW)
    with pytest.raises(CannotOpen, match="newer release"):
        vault.open(vault.seal(TOKEN, PLACE).replace("v1:", "v2:", 1), PLACE)


def test_the_first_key_seals_and_every_one_opens() -> None:
    old, both, new = Vault.of(OLD), Vault.of(f"{NEW},{OLD}"), Vault.of(NEW)
    assert both.open(old.seal(TOKEN, PLACE), PLACE) == TOKEN
    assert new.open(both.seal(TOKEN, PLACE), PLACE) == TOKEN
    with pytest.raises(CannotOpen, match=f"under key {old.current}, which is not in OUTREACH_KEYS"):
        new.open(old.seal(TOKEN, PLACE), PLACE)


def test_a_ring_is_spelt_with_commas_or_line_ends() -> None:
    assert ring_of(f" {NEW}, {OLD}\n{NEW}\n") == [NEW, OLD]
    assert Vault.of(f"{NEW}\n{OLD}\n").ids == (*Vault.of(NEW).ids, *Vault.of(OLD).ids)
    assert len(Peppers.of("a b").ids) == 1, "a pepper may hold a blank"


@pytest.mark.parametrize("text", ["", " , ", "short", "NEW,short"])
def test_a_ring_without_a_good_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError, match="OUTREACH_KEYS") as refused:
        Vault.of(text.replace("NEW", NEW))
    assert "short" not in str(refused.value)
    assert "keys new" in str(refused.value)


def test_neither_ring_shows_a_secret() -> None:
    shown = repr((Vault.of(f"{NEW},{OLD}"), Peppers.of("pepper-a,pepper-b")))
    assert not [word for word in (NEW, OLD, "pepper-a", "pepper-b") if word in shown]


def test_a_digest_says_its_pepper_and_a_ring_looks_under_all() -> None:
    old, both = Peppers.of("old"), Peppers.of("new,old")
    assert both.digests("email", "a@b.test") == [
        Peppers.of("new").digest("email", "a@b.test"),
        old.digest("email", "a@b.test"),
    ]
    assert both.digest("email", "a@b.test")[:ID_CHARACTERS] == both.current != old.current
    assert (
        len({both.digest("email", "x"), both.digest("twitter_handle", "x"), both.digest("email", "y")}) == 3
    )
    assert set(both.digest("email", "x")) <= set("0123456789abcdef"), "the index walks from pepper to pepper"


def test_production_takes_no_key_that_everybody_knows() -> None:
    said = {"DYNO": "web.1", "OUTREACH_PEPPER": "p", "OUTREACH_LINK_SECRET": "l", "OUTREACH_INSTANCE": "i"}
    for keys in ({}, {"OUTREACH_KEYS": "development"}, {"OUTREACH_KEYS": f"development,{NEW}"}):
        with pytest.raises(ConfigurationError, match="OUTREACH_KEYS"):
            Settings.from_environment(said | keys)
    ring = f"{NEW},development"
    assert Settings.from_environment(said | {"OUTREACH_KEYS": ring}).keys == ring
