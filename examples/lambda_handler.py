"""A handler for AWS Lambda behind API Gateway (payload format 2.0). Needs the extra `httpx`."""

import base64
from typing import Any

import meshlib
from meshlib.redirects import location

ROUTES: dict[str, Any] = {
    "shop.example.com": ["10.0.0.5:8080", "10.0.0.6:8080"],
    "old.example.com": meshlib.redirect("https://shop.example.com"),
}
OWN = {"connection", "content-encoding", "content-length", "host", "set-cookie"}


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    mesh = meshlib.Mesh(ROUTES)  # for this invocation alone; it opens nothing
    method, host = event["requestContext"]["http"]["method"], event["headers"]["host"]
    target = f"{event['rawPath']}?{event.get('rawQueryString', '')}".rstrip("?")
    found = mesh.route(method, target, headers={"Host": host}, secure=True)
    if isinstance(found, meshlib.Redirect):
        place = {"location": location(found.rule, target.encode()).decode()}
        return {"statusCode": found.rule.status, "headers": place}
    if isinstance(found, meshlib.Respond):
        return {"statusCode": found.status, "body": found.reason}
    from httpx import Client  # not before something is forwarded

    from meshlib_adapters.httpx_transport import SyncMeshTransport

    body = event.get("body", "").encode()
    body = base64.b64decode(body) if event.get("isBase64Encoded") else body
    fields = {name: value for name, value in event["headers"].items() if name not in OWN}
    with Client(transport=SyncMeshTransport(mesh)) as client:
        got = client.request(method, f"https://{host}{target}", headers=fields, content=body)
    headers = {name: value for name, value in got.headers.items() if name not in OWN}
    cookies, encoded = got.headers.get_list("set-cookie"), base64.b64encode(got.content).decode()
    sent = {"statusCode": got.status_code, "headers": headers, "cookies": cookies}
    return {**sent, "body": encoded, "isBase64Encoded": True}
