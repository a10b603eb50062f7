# SPDX-License-Identifier: Apache-2.0
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarivox.errors import AccessError, BusyError, NotFoundError, OptionError
from clarivox.server.auth import Auth, Scope, check_start, digest, tls_options
from clarivox.server.keys import Keys
from clarivox.server.ledger import Ledger
from clarivox.server.oidc import Provider
from clarivox.server.settings import Settings
from tests.issuer import Issuer, issuer


@pytest.fixture
def keys() -> Iterator[Keys]:
    ledger = Ledger("sqlite://", settings=Settings())
    ledger.open()
    yield Keys(ledger.database)
    ledger.close()


@pytest.fixture(scope="module")
def provider() -> Iterator[Issuer]:
    with issuer() as running:
        yield running


def test_a_key_is_kept_as_a_digest_only(keys: Keys):
    key, row = keys.create("ward 3", ["read"])
    assert row.hash == digest(key) and key.split("_", 2)[2] not in repr(keys.list())
    assert len(key.split("_", 2)[2]) >= 43  # 256 bits


def test_a_key_that_is_revoked_is_refused_within_a_second(keys: Keys):
    auth = Auth(Settings(auth="on"), keys)
    key, row = keys.create("ward 3", ["read"])
    assert auth.caller(key).scopes == {Scope.READ}
    assert auth.remembered(key) is not None
    keys.revoke(row.id)
    with pytest.raises(AccessError):
        auth.caller(key)
    assert auth.remembered(key) is None


def test_what_was_good_is_remembered_for_a_second_only(keys: Keys, monkeypatch: pytest.MonkeyPatch):
    auth = Auth(Settings(auth="on"), keys)
    key, _ = keys.create("ward 3", ["read"])
    auth.caller(key)
    later = time.monotonic() + 1.1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert auth.remembered(key) is None


def test_revoking_twice_keeps_the_first_time_and_an_unknown_key_is_said(keys: Keys):
    _, row = keys.create("ward 3", ["read"])
    first = keys.revoke(row.id).revoked
    assert first is not None and keys.revoke(row.id).revoked == first
    with pytest.raises(NotFoundError):
        keys.revoke("none")


def test_a_use_is_noted(keys: Keys):
    key, row = keys.create("ward 3", ["read"])
    Auth(Settings(auth="on"), keys).caller(key)
    found = keys.find(row.id)
    assert found is not None and found.last_used is not None


@pytest.mark.parametrize("scopes", [[], ["write"], ["read", "root"]])
def test_a_key_has_known_scopes(keys: Keys, scopes: list[str]):
    with pytest.raises(OptionError):
        keys.create("ward 3", scopes)


def test_without_keys_everyone_here_may_do_all(keys: Keys):
    assert Auth(Settings(auth="off"), keys).caller(None).scopes == set(Scope)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "server.hospital.example", "localhost.evil.example"])
def test_the_server_does_not_start_open_where_others_can_connect(host: str):
    with pytest.raises(OptionError) as caught:
        check_start(Settings(host=host, auth="off"))
    assert caught.value.code == "open_address"
    assert Settings(host=host).needs_key
    assert any("anybody" in said for said in check_start(Settings(host=host, auth="off", allow_open=True)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_this_machine_alone_no_key_is_needed(host: str):
    assert check_start(Settings(host=host)) == []
    assert not Settings(host=host).needs_key


def test_keys_on_a_public_address_without_tls_are_said(tmp_path: Path):
    assert any("unencrypted" in said for said in check_start(Settings(host="0.0.0.0")))
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).touch()
    settings = Settings(host="0.0.0.0", tls_certificate=tmp_path / "c.pem", tls_key=tmp_path / "k.pem")
    assert check_start(settings) == []
    assert tls_options(settings) == {"ssl_certfile": str(tmp_path / "c.pem"), "ssl_keyfile": str(tmp_path / "k.pem")}


def test_half_of_tls_is_refused(tmp_path: Path):
    (tmp_path / "c.pem").touch()
    for settings in (
        Settings(tls_certificate=tmp_path / "c.pem"),
        Settings(tls_certificate=tmp_path / "c.pem", tls_key=tmp_path / "absent.pem"),
    ):
        with pytest.raises(OptionError) as caught:
            check_start(settings)
        assert caught.value.code == "tls_incomplete"


@pytest.mark.parametrize("address", ["http://login.example.org", "file:///etc/passwd", "login.example.org", "ftp://x"])
def test_an_issuer_whose_keys_could_be_replaced_is_refused(address: str):
    with pytest.raises(OptionError) as caught:
        check_start(Settings(oidc_issuer=address))
    assert caught.value.code == "bad_issuer"


def test_roles_give_scopes_at_the_claim_that_is_configured(provider: Issuer):
    settings = Settings(oidc_issuer=provider.url, oidc_roles_claim="groups", oidc_scopes={"radiology": ("read",)})
    caller = Provider(settings).caller(provider.token("admin", groups=["radiology", "admin", 7, None]))
    assert caller.scopes == {"read"}
    assert Provider(settings).caller(provider.token(groups="radiology other")).scopes == {"read"}
    assert Provider(settings).caller(provider.token(groups={"radiology": True})).scopes == set()


def test_a_caller_is_named_by_a_digest_that_stays_the_same(provider: Issuer):
    one = Provider(Settings(oidc_issuer=provider.url))
    first, second = one.caller(provider.token("user")), one.caller(provider.token("admin"))
    assert first.owner == second.owner != one.caller(provider.token("user", sub="another")).owner
    assert "Jane" not in repr(first)


def test_a_signature_of_rsa_is_taken(provider: Issuer):
    provider.add("rsa", strong=True)
    assert Provider(Settings(oidc_issuer=provider.url)).caller(provider.token("admin", kid="rsa")).may("admin")


def test_the_keys_are_fetched_once_and_not_at_a_stranger_s_word(provider: Issuer):
    one = Provider(Settings(oidc_issuer=provider.url))
    before = provider.asked
    for _ in range(3):
        one.caller(provider.token("user"))
    stranger = Issuer()
    stranger.close()
    for number in range(10):
        with pytest.raises(AccessError):
            one.caller(stranger.token("admin", iss=provider.url, kid="first", key=None) + "x" * number)
        with pytest.raises(AccessError):
            one.caller(provider.token("admin", kid=f"k{number}", key=stranger.keys["first"]))
    assert provider.asked - before == 1


def test_a_new_key_of_the_provider_is_found(provider: Issuer, monkeypatch: pytest.MonkeyPatch):
    one = Provider(Settings(oidc_issuer=provider.url))
    one.caller(provider.token("user"))
    provider.add("fresh")
    later = time.monotonic() + 31
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert one.caller(provider.token("user", kid="fresh")).may("read")


def test_a_provider_that_is_away_is_another_thing_than_a_bad_token(keys: Keys):
    with issuer() as away:
        away.down = True
        one = Provider(Settings(oidc_issuer=away.url))
        with pytest.raises(BusyError) as caught:
            one.caller(away.token("user"))
        assert caught.value.code == "issuer_unreachable"
        away.down = False
        with pytest.raises(BusyError):  # it is not asked again at once
            one.caller(away.token("user"))


def test_keys_that_are_known_serve_while_the_provider_is_away(provider: Issuer):
    one = Provider(Settings(oidc_issuer=provider.url))
    one.caller(provider.token("user"))
    provider.down = True
    try:
        assert one.caller(provider.token("user")).may("read")
    finally:
        provider.down = False


def test_a_provider_that_says_it_is_another_is_not_believed(provider: Issuer):
    one = Provider(Settings(oidc_issuer=provider.url + "/"))
    with pytest.raises(BusyError):
        one.caller(provider.token("admin", iss=provider.url + "/"))
