"""Fetch URLs until each answers; print them as JSON.

usage: urls.py SECONDS URLS HTTP…
URLS: {service: url}. Those of HTTP must answer with status 200; of the others whatever they say will do, be it no HTTP.
"""

import http.client
import ipaddress
import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

from components.scripts.awaited import awaited


def opener(url: str) -> urllib.request.OpenerDirector:
    """To an address: through no proxy that the host may have for the internet, and whatever its certificate."""
    try:
        ipaddress.ip_address(urllib.parse.urlsplit(url).hostname or "")
    except ValueError:
        return urllib.request.build_opener()
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unverified))


def status(url: str) -> int | str:
    """Of the answer over HTTP; "no HTTP" where something else answered. Raises OSError: nothing did."""
    try:
        with opener(url).open(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (http.client.HTTPException, ConnectionResetError):
        return "no HTTP"


def problem(service: str, url: str, *, demanding: bool) -> str:
    """What is wrong with it; nothing if nothing is."""
    try:
        code = status(url)
    except OSError as error:
        return f"{service}: nothing answers at {url}: {error}"
    return f"{service}: {url} answered {code}, not 200" if demanding and code != 200 else ""


def main(seconds: float, urls: dict[str, str], services: list[str]) -> str:
    def missing() -> str:
        wrong = (problem(name, url, demanding=name in services) for name, url in urls.items())
        return "\n".join(filter(None, wrong))

    if said := awaited(seconds, "exposed URLs", missing):
        sys.exit(f"exposed URLs: not within {seconds:.0f} s; last seen:\n{said}")
    return json.dumps(urls)


if __name__ == "__main__":
    print(main(float(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]))
