"""An Iceberg REST catalog: a thin HTTP shell around pyiceberg, which judges requirements and applies updates itself.

It speaks the paths of the published OpenAPI that a client of tables needs. Its first argument is the folder of its database;
it prints its port, serves until its standard input ends, and never outlives it. What a person may do to it:
`POST /faults` with a JSON list says how the next commits fail: {"apply": true|false, "status": 500} each.
"""

import json
import os
import secrets
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableRequest

FOLDER = sys.argv[1]
PREFIX = "lake"
TOKENS = {"static-token"}
CREDENTIAL = ("client", "secret")
LOCK = threading.Lock()
FAULTS = []
CATALOG = SqlCatalog("rest", uri=f"sqlite:///{FOLDER}/catalog.db", warehouse=f"file://{FOLDER}", **json.loads(os.environ.get("FILES", "{}")))


class Refused(Exception):
    def __init__(self, status, kind, text):
        self.status, self.kind, self.text = status, kind, text


def loaded(table):
    return {
        "metadata-location": table.metadata_location,
        "metadata": json.loads(table.metadata.model_dump_json()),
        "config": {},
    }


def namespaces(method, rest, body):
    if not rest:
        if method == "POST":
            CATALOG.create_namespace(tuple(body["namespace"]), body.get("properties", {}))
            return {"namespace": body["namespace"], "properties": {}}
        return {"namespaces": [list(name) for name in CATALOG.list_namespaces()], "next-page-token": None}
    name, *rest = rest
    if not rest:
        properties = CATALOG.load_namespace_properties(name)
        return {"namespace": [name], "properties": properties}
    assert rest[0] == "tables", rest
    if len(rest) == 1 and method == "GET":
        found = CATALOG.list_tables(name)
        return {"identifiers": [{"namespace": [name], "name": table[-1]} for table in found]}
    if len(rest) == 1:
        return create(name, body)
    identifier = (name, rest[1])
    if method in ("GET", "HEAD"):
        return loaded(CATALOG.load_table(identifier))
    return commit(identifier, body)


def create(name, body):
    spec = PartitionSpec.model_validate(body["partition-spec"]) if body.get("partition-spec") else PartitionSpec()
    table = CATALOG.create_table(
        (name, body["name"]),
        schema=Schema.model_validate(body["schema"]),
        location=body.get("location"),
        partition_spec=spec,
        properties=body.get("properties", {}),
    )
    return loaded(table)


def commit(identifier, body):
    fault = FAULTS.pop(0) if FAULTS else None
    if fault and not fault["apply"]:
        raise Refused(fault["status"], "Fault", "this commit was made to fail")
    request = CommitTableRequest.model_validate(body)
    done = CATALOG.commit_table(CATALOG.load_table(identifier), request.requirements, request.updates)
    if fault:
        raise Refused(fault["status"], "Fault", "this commit was made to lose its answer")
    return {"metadata-location": done.metadata_location, "metadata": json.loads(done.metadata.model_dump_json())}


def token(form):
    given = tuple(form.get(name, [""])[0] for name in ("client_id", "client_secret"))
    if given != CREDENTIAL or form.get("grant_type") != ["client_credentials"]:
        raise Refused(401, "invalid_client", "unknown client")
    TOKENS.add(granted := secrets.token_hex(8))
    return {"access_token": granted, "token_type": "bearer", "expires_in": 3600}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_one(self, method):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            with LOCK:
                answer, status = self.answer(method, body), 200
        except Refused as refused:
            answer, status = {"error": {"message": refused.text, "type": refused.kind, "code": refused.status}}, refused.status
        except Exception as error:
            status = 500
            for kinds, code in (
                ((NoSuchTableError, NoSuchNamespaceError), 404),
                ((CommitFailedException, TableAlreadyExistsError, NamespaceAlreadyExistsError), 409),
            ):
                if isinstance(error, kinds):
                    status = code
            answer = {"error": {"message": str(error), "type": type(error).__name__, "code": status}}
            if status == 500:
                import traceback

                traceback.print_exc()
        encoded = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        if method != "HEAD":
            self.wfile.write(encoded)

    def answer(self, method, body):
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts == ["faults"]:
            FAULTS.extend(json.loads(body))
            return {}
        if parts == ["v1", "oauth", "tokens"]:
            return token(parse_qs(body.decode()))
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in TOKENS:
            raise Refused(401, "NotAuthorizedException", "no token that is good here")
        if parts == ["v1", "config"]:
            return {"defaults": {}, "overrides": {"prefix": PREFIX}}
        if parts[:3] == ["v1", PREFIX, "namespaces"]:
            return namespaces(method, parts[3:], json.loads(body) if body else None)
        raise Refused(404, "NoSuchPath", self.path)

    def do_GET(self):
        self.handle_one("GET")

    def do_HEAD(self):
        self.handle_one("HEAD")

    def do_POST(self):
        self.handle_one("POST")


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
os._exit(0)
