"""Connections to services: only to URLs of one, and only to one whose certificate is vouched for."""

import asyncio
import http.client

import aiohttp
import pytest

from fedpriv.errors import UserError
from fedpriv.services.outgoing import connections, healthy, plain_connection, tls
from fedpriv.services.settings import HttpLimits
from tests.services.serving import Serving


@pytest.mark.parametrize("url", ["", "x", "ftp://x", "http://", "http://x:99999", "http://[x", "//x"])
def test_what_is_no_url_of_a_service_is_refused(url) -> None:
    with pytest.raises(UserError, match=r"is no URL of a service, e\.g\. http://"):
        plain_connection(url, None, 1.0)


def test_the_scheme_says_whether_a_connection_is_encrypted() -> None:
    plain = plain_connection("http://x:81", None, 1.0)
    assert (type(plain), plain.host, plain.port) == (http.client.HTTPConnection, "x", 81)
    sealed = plain_connection("https://x", None, 1.0)
    assert (type(sealed), sealed.host, sealed.port) == (http.client.HTTPSConnection, "x", 443)


def test_an_authority_that_is_no_certificate_is_named(tmp_path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in (tmp_path / "ca.pem", tmp_path / "none.pem"):
        with pytest.raises(UserError, match=rf"{path.name}: is no PEM file of certificates"):
            tls(path)


def test_only_a_service_that_answers_is_healthy() -> None:
    with Serving(HttpLimits()) as serving:
        assert healthy(serving.url)
        assert not healthy(serving.url.replace("http", "https"))
    assert not healthy(serving.url)


def test_no_proxy_of_the_environment_and_no_cookie_is_used(monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def go(url: str) -> tuple[int, int]:
        async with connections() as http, http.get(url + "/healthz") as reply:
            http.cookie_jar.update_cookies({"a": "b"})
            return reply.status, len(http.cookie_jar)

    with Serving(HttpLimits()) as serving:
        assert asyncio.run(go(serving.url)) == (200, 0)
    with pytest.raises(aiohttp.ClientError):
        asyncio.run(go(serving.url))
