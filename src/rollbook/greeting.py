"""What a server says when it begins."""

import sys

import click

from rollbook import __version__
from rollbook.register import beginnings


def greet(url: str, address: str, beginning: beginnings.Beginning | None) -> None:
    """Print where the server is, and for a new register its key with lines to paste."""
    click.echo(f"Rollbook {__version__} listens on {address}. The documentation is at {url}/docs")
    if beginning is None:
        click.echo("Secrets are shown only when they are made; for a new key: rollbook keys create")
    else:
        key = beginning.key
        click.echo(
            f"""
This database was empty. It has now a site and a key; note them, the secret is shown this once:

  site id        {beginning.site.id}
  client_id      {key.client_id}
  client_secret  {key.client_secret}

Paste these lines into another terminal, one after the other: get a token, create, read, list.

TOKEN=$(curl -sS -w '%{{stderr}}%{{http_code}}\n' {url}/v1/oauth/token -d grant_type=client_credentials \
-d client_id={key.client_id} \
-d client_secret={key.client_secret} | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')

CONTACT=$(curl -sS -w '%{{stderr}}%{{http_code}}\n' {url}/v1/contacts -H "Authorization: Bearer $TOKEN" \
-H 'Content-Type: application/vnd.api+json' -d '{{"data":{{"type":"contacts",\
"attributes":{{"name":"John Doe","email":"john.doe@example.com"}},\
"relationships":{{"site":{{"data":{{"type":"sites","id":"{beginning.site.id}"}}}}}}}}}}'); echo "$CONTACT"

curl -sS -w '\n%{{http_code}}\n' -H "Authorization: Bearer $TOKEN" \
{url}/v1/contacts/$(echo "$CONTACT" | grep -oE '"(existing_)?id":"[0-9]+' | head -1 | grep -oE '[0-9]+')

curl -sS -w '\n%{{http_code}}\n' -g -H "Authorization: Bearer $TOKEN" '{url}/v1/contacts?page[size]=10'
"""
        )
    sys.stdout.flush()
