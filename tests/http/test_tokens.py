"""Who is let in, over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway import admin
from gateway.auth.authenticate import KEPT, Verified
from tests.http.shapes import problem
from tests.http.world import World


def claims(world: World, name: str = "ada", **changes: Any) -> dict[str, Any]:
    """Return the claims of a token that the gateway issued, changed."""
    real = jwt.decode(world.tokens[name], options={"verify_signature": False})
    return {key: value for key, value in {**real, **changes}.items() if value is not None}


def test_a_token_of_the_gateways_own_claims_and_key_is_good(here: World) -> None:
    token = jwt.encode(claims(here), here.service.key.private, algorithm="EdDSA")
    assert here.client().get("/v1/budget", headers={"Authorization": f"bearer {token}"}).status_code == 200


def unsigned(world: World) -> str:
    return jwt.encode(claims(world), None, algorithm="none")  # type: ignore[arg-type]


def public_key_as_secret(world: World) -> str:
    """The old confusion: the public key, which anybody may know, taken for the secret of HS256."""
    public = world.service.key.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return jwt.encode(claims(world), public, algorithm="HS256")


def another_key(world: World) -> str:
    return jwt.encode(claims(world), Ed25519PrivateKey.generate(), algorithm="EdDSA")


def another_algorithm(world: World) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(claims(world), key, algorithm="RS256")


def tampered(world: World) -> str:
    head, _, signature = world.tokens["ada"].split(".")
    body = jwt.encode(claims(world, role="admin", sub="root"), "x" * 32, algorithm="HS256").split(".")[1]
    return f"{head}.{body}.{signature}"


# Fixed times, so that every worker of a parallel run collects the same tests.
LONG_AGO, FAR_AHEAD = 1_000_000_000, 4_000_000_000


@pytest.mark.parametrize("forge", [unsigned, public_key_as_secret, another_key, another_algorithm, tampered])
def test_forged(here: World, forge: Callable[[World], str]) -> None:
    response = here.client().get("/v1/budget", headers={"Authorization": f"Bearer {forge(here)}"})
    problem(response, 401, "token-invalid")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": LONG_AGO}, "token-expired"),
        ({"exp": None}, "token-invalid"),
        ({"exp": "soon"}, "token-invalid"),
        ({"exp": float("inf")}, "token-invalid"),
        ({"aud": "another"}, "token-invalid"),
        ({"aud": None}, "token-invalid"),
        ({"iss": "another"}, "token-invalid"),
        ({"iss": None}, "token-invalid"),
        ({"iss": ["discreet"]}, "token-invalid"),
        ({"sub": None}, "token-invalid"),
        ({"sub": "nobody"}, "token-invalid"),
        ({"sub": "bob"}, "token-invalid"),
        ({"sub": "a b"}, "token-invalid"),
        ({"iat": None}, "token-invalid"),
        ({"iat": FAR_AHEAD}, "token-invalid"),
        ({"nbf": FAR_AHEAD}, "token-invalid"),
        ({"jti": None}, "token-invalid"),
        ({"jti": "0" * 32}, "token-invalid"),
        ({"jti": "x" * 1000}, "token-invalid"),
        ({"role": None}, "token-invalid"),
        ({"role": "admin"}, "token-invalid"),
        ({"role": "root"}, "token-invalid"),
        ({"role": ["analyst"]}, "token-invalid"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_well_signed_and_yet_not_good(here: World, changes: dict[str, Any], code: str) -> None:
    # Signed by hand: the library refuses to encode some of what it must refuse to decode.
    payload = json.dumps(claims(here, **changes)).encode()
    token = jwt.PyJWS().encode(payload, here.service.key.private, algorithm="EdDSA")
    problem(here.client().get("/v1/budget", headers={"Authorization": f"Bearer {token}"}), 401, code)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Token x", "bearer"], ids=lambda value: repr(value)
)
@pytest.mark.parametrize("path", ["/v1/budget", "/v1/admin/analysts", "/metrics"])
def test_no_token(here: World, header: str | None, path: str) -> None:
    headers = {} if header is None else {"Authorization": header}
    problem(here.client().get(path, headers=headers), 401, "token-missing")


@pytest.mark.parametrize("token", ["x", "a.b.c", "dsc_", "dsc_nonsense", "é", "x" * 9000, "..", "null"])
def test_nonsense(here: World, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}".encode()}
    problem(here.client().get("/v1/budget", headers=headers), 401, "token-invalid")


def test_two_tokens_are_none(here: World) -> None:
    headers = [("Authorization", f"Bearer {here.tokens[name]}") for name in ("ada", "root")]
    problem(here.client().get("/v1/budget", headers=headers), 401, "token-missing")


def test_who_asks_is_settled_before_the_body_is_read(here: World) -> None:
    problem(here.client().post("/v1/query", content=b"{"), 401, "token-missing")
    problem(here.client().post("/v1/admin/analysts", content=b"{", headers=here.bearer()), 403, "admin-only")


def test_an_analyst_enters_no_route_of_admins(here: World) -> None:
    client = here.client()
    paths = client.get("/openapi.json").json()["paths"]
    guarded = [
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/v1/admin") or path == "/metrics"
    ]
    assert len(guarded) >= 18
    for method, path in guarded:
        problem(
            client.request(method, path.replace("{", "").replace("}", ""), headers=here.bearer()), 403, "admin-only"
        )


def test_api_tokens(fresh: World) -> None:
    service = fresh.service
    text, issued = admin.issue_token(
        service.control, service.settings, service.key, "ada", "analyst", kind="api", actor="test"
    )
    client = fresh.client()
    headers = {"Authorization": f"Bearer {text}"}
    assert client.get("/v1/budget", headers=headers).status_code == 200
    assert issued.id not in text
    problem(client.get("/v1/budget", headers={"Authorization": f"Bearer {text[:-1]}"}), 401, "token-invalid")
    admin.revoke_token(service.control, service.settings, issued.id, actor="test")
    problem(client.get("/v1/budget", headers=headers), 401, "token-revoked")


def test_an_api_token_expires(fresh: World) -> None:
    service = fresh.service
    text, _ = admin.issue_token(
        service.control, service.settings, service.key, "ada", "analyst", kind="api", seconds=1, actor="test"
    )
    time.sleep(1.1)
    problem(fresh.client().get("/v1/budget", headers={"Authorization": f"Bearer {text}"}), 401, "token-expired")


def test_disabling_and_revoking_take_effect_at_the_next_request(fresh: World) -> None:
    client = fresh.client()
    root = fresh.bearer("root")
    assert client.get("/v1/budget", headers=fresh.bearer()).status_code == 200
    assert client.post("/v1/admin/analysts/ada/disable", headers=root).json()["disabled"] is True
    problem(client.get("/v1/budget", headers=fresh.bearer()), 403, "principal-disabled")
    assert client.post("/v1/admin/analysts/ada/enable", headers=root).json()["disabled"] is False
    assert client.get("/v1/budget", headers=fresh.bearer()).status_code == 200
    token_id = claims(fresh)["jti"]
    assert client.request("DELETE", f"/v1/admin/tokens/{token_id}", headers=root).status_code == 200
    problem(client.get("/v1/budget", headers=fresh.bearer()), 401, "token-revoked")
    assert client.request("DELETE", f"/v1/admin/tokens/{token_id}", headers=root).status_code == 200


def test_a_disabled_admin_is_out_too(fresh: World) -> None:
    client = fresh.client()
    assert client.post("/v1/admin/analysts/root/disable", headers=fresh.bearer("root")).status_code == 200
    problem(client.post("/v1/admin/analysts/root/enable", headers=fresh.bearer("root")), 403, "principal-disabled")


def test_a_token_whose_signature_is_known_is_no_better_for_it(fresh: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was verified once is not verified again; expired, revoked or disabled it is refused all the same."""
    client = fresh.client()

    def seen() -> httpx.Response:
        return client.get("/v1/budget", headers=fresh.bearer())

    assert seen().status_code == 200
    with monkeypatch.context() as context:
        context.setattr(jwt, "decode", lambda *_, **__: pytest.fail("verified again"))
        assert seen().status_code == 200
    admin.disable_analyst(fresh.service.control, "ada", actor="test")
    problem(seen(), 403, "principal-disabled")
    admin.enable_analyst(fresh.service.control, "ada", actor="test")
    with monkeypatch.context() as context:
        later = time.time() + 10 * 86_400
        context.setattr("gateway.auth.authenticate.time.time", lambda: later)
        assert fresh.service.verifier.verified.find(fresh.tokens["ada"], 10) is None, "it has expired"
    assert seen().status_code == 200
    text = fresh.tokens["ada"]
    token_id = jwt.decode(text, options={"verify_signature": False})["jti"]
    admin.revoke_token(fresh.service.control, fresh.service.settings, token_id, actor="test")
    problem(seen(), 401, "token-revoked")


def test_of_verified_tokens_the_last_are_kept() -> None:
    kept = Verified()
    for number in range(KEPT + 1):
        kept.keep(str(number), {"exp": FAR_AHEAD, "jti": number})
    assert kept.find("0", 0) is None
    assert kept.find(str(KEPT), 0) == {"exp": FAR_AHEAD, "jti": KEPT}
