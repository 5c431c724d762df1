"""Tokens of an identity provider."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway import admin
from gateway.auth.authenticate import Claimed, Verifier, authenticate, claimed, verifier
from gateway.auth.principal import Principal
from gateway.errors import DiscreetError, Forbidden, Unauthenticated, Unavailable
from tests.auth.conftest import Home

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER = "https://id.example.org"


class Provider:
    """Gives the provider's key, as ``PyJWKClient`` would, and counts how often it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self._error = error

    def get_signing_key_from_jwt(self, token: str | bytes) -> jwt.PyJWK:  # noqa: ARG002
        self.asked += 1
        if self._error is not None:
            raise self._error
        return jwt.PyJWK(rsa_key("one"))


def rsa_key(kid: str) -> dict[str, Any]:
    return {**jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "alg": "RS256", "kid": kid}


def token(key: Any = RSA, algorithm: str = "RS256", kid: str = "one", **changes: Any) -> str:
    now = int(time.time())
    said = {"iss": ISSUER, "aud": "discreet", "sub": "auth0|ada", "iat": now, "exp": now + 60, "jti": "t-1"}
    said = {name: value for name, value in {**said, **changes}.items() if value is not None}
    return jwt.encode(said, key, algorithm=algorithm, headers={"kid": kid})


def enter(home: Home, text: str, provider: Provider | None = None) -> Principal:
    who = claimed(Verifier(home.settings, home.key, provider or Provider()), text)
    with home.control.connect() as conn:
        return authenticate(conn, text, who)


def refused(home: Home, text: str, provider: Provider | None = None) -> DiscreetError:
    with pytest.raises(DiscreetError) as caught:
        enter(home, text, provider)
    return caught.value


def test_a_provider_that_says_nothing_of_the_role_vouches_for_an_analyst(home: Home) -> None:
    admin.add_analyst(home.control, "auth0|ada", actor="test")
    assert enter(home, token()) == Principal("auth0|ada", "analyst")
    assert enter(home, token(role="analyst")) == Principal("auth0|ada", "analyst")


def test_the_provider_and_the_store_must_agree_on_the_role(home: Home) -> None:
    admin.add_analyst(home.control, "auth0|ada", actor="test")
    admin.add_analyst(home.control, "boss", actor="test", role="admin")
    assert refused(home, token(role="admin")).code == "token-invalid"
    assert refused(home, token(sub="boss")).code == "token-invalid"
    assert refused(home, token(sub="boss", role="analyst")).code == "token-invalid"
    assert enter(home, token(sub="boss", role="admin")) == Principal("boss", "admin")


def test_only_principals_of_the_store_are_let_in(home: Home) -> None:
    assert isinstance(refused(home, token()), Unauthenticated)


@pytest.mark.parametrize(
    "forge",
    [
        lambda: token(OTHER),
        lambda: token(aud="another"),
        lambda: token(iss="https://id.example.org/"),
        lambda: token(jti=None),
        lambda: token(exp=None),
        lambda: token(sub="a b"),
        lambda: token(role=7),
        lambda: token(jti=""),
        lambda: token(jti="a\nb"),
    ],
)
def test_forged_and_incomplete(home: Home, forge: Callable[[], str]) -> None:
    admin.add_analyst(home.control, "auth0|ada", actor="test")
    assert refused(home, forge()).code == "token-invalid"


@pytest.mark.parametrize(
    ("key", "algorithm"), [("x" * 32, "HS256"), (ec.generate_private_key(ec.SECP256R1()), "ES256"), (RSA, "PS256")]
)
def test_an_algorithm_that_is_not_set_is_refused_before_the_provider_is_asked(
    home: Home, key: Any, algorithm: str
) -> None:
    admin.add_analyst(home.control, "auth0|ada", actor="test")
    provider = Provider()
    assert refused(home, token(key, algorithm), provider).code == "token-invalid"
    assert provider.asked == 0


def test_an_own_token_never_reaches_the_provider(home: Home) -> None:
    admin.add_analyst(home.control, "ada", actor="test")
    text, _ = admin.issue_token(home.control, home.settings, home.key, "ada", "analyst", actor="test")
    provider = Provider()
    assert enter(home, text, provider).name == "ada"
    assert provider.asked == 0


def test_the_provider_cannot_speak_for_the_gateway(home: Home) -> None:
    admin.add_analyst(home.control, "ada", actor="test")
    _, issued = admin.issue_token(home.control, home.settings, home.key, "ada", "analyst", actor="test")
    assert refused(home, token(iss="discreet", sub="ada", role="analyst", jti=issued.id)).code == "token-invalid"


def test_expired(home: Home) -> None:
    assert refused(home, token(exp=int(time.time()) - 60)).code == "token-expired"


def test_a_provider_out_of_reach_is_no_fault_of_the_token(home: Home) -> None:
    error = refused(home, token(), Provider(jwt.PyJWKClientConnectionError("a name")))
    assert isinstance(error, Unavailable)
    assert "a name" not in error.message


def test_a_key_that_the_provider_does_not_know(home: Home) -> None:
    assert refused(home, token(), Provider(jwt.PyJWKClientError("none"))).code == "token-invalid"


def test_revoking_by_issuer_and_id(home: Home) -> None:
    admin.add_analyst(home.control, "auth0|ada", actor="test")
    admin.revoke_token(home.control, home.settings, "t-1", issuer=ISSUER, actor="root")
    assert refused(home, token()).code == "token-revoked"
    assert enter(home, token(jti="t-2")).name == "auth0|ada"
    with pytest.raises(DiscreetError, match="No tokens of this issuer"):
        admin.revoke_token(home.control, home.settings, "t-1", issuer="https://other.example.org", actor="root")


def test_disabled(home: Home) -> None:
    admin.add_analyst(home.control, "auth0|ada", actor="test")
    admin.disable_analyst(home.control, "auth0|ada", actor="root")
    assert isinstance(refused(home, token()), Forbidden)


def test_without_a_provider_its_tokens_are_none(home: Home) -> None:
    plain = home.settings.model_copy(update={"oidc_issuer": None, "oidc_jwks_url": None})
    with pytest.raises(Unauthenticated):
        claimed(verifier(plain, home.key), token())


def test_the_provider_of_the_settings_is_asked_when_needed_and_not_before(home: Home) -> None:
    made = verifier(home.settings, home.key)
    assert isinstance(made.oidc, jwt.PyJWKClient)
    assert made.oidc.uri == home.settings.oidc_jwks_url


def test_withdrawn_keys_are_not_kept_and_unknown_ones_not_asked_for_without_end(home: Home) -> None:
    served = [{"keys": [rsa_key("one")]}, {"keys": [rsa_key("two")]}]
    made = verifier(home.settings, home.key)
    assert isinstance(made.oidc, jwt.PyJWKClient)
    fetched: list[int] = []

    def fetch() -> dict[str, Any]:
        fetched.append(1)
        made.oidc._last_successful_fetch = time.monotonic()  # type: ignore[union-attr]
        return served[min(len(fetched), 2) - 1]

    made.oidc.fetch_data = fetch  # type: ignore[method-assign]
    admin.add_analyst(home.control, "auth0|ada", actor="test")
    assert claimed(made, token()) is not None
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            claimed(made, token(kid="three"))
    assert len(fetched) == 1
    made.oidc.jwk_set_cache.lifespan = 0  # type: ignore[union-attr]
    with pytest.raises(Unauthenticated):
        claimed(made, token())


def test_what_a_token_claims_is_kept_apart_by_issuer(home: Home) -> None:
    who = claimed(Verifier(home.settings, home.key, Provider()), token())
    assert who == Claimed("auth0|ada", "analyst", ISSUER, "t-1")
