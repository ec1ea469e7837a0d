"""Serve the page of `tools/export.py --to web` to the phones in the same network.

python tools/serve_page.py exports

https, with a certificate that is made for this run and that browsers warn of, and the headers that they ask for before
they run WebAssembly in several threads.
"""

import shutil
import socket
import ssl
import subprocess
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from mmiformer.engine.cli import command
from mmiformer.errors import MissingFile, UserError


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, isolated from other sites."""

    protocol_version = 'HTTP/1.1'
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        '.mjs': 'text/javascript',
        '.wasm': 'application/wasm',
    }

    def end_headers(self):
        self.send_header('Cross-Origin-Opener-Policy', 'same-origin')
        self.send_header('Cross-Origin-Embedder-Policy', 'require-corp')
        self.send_header('Cache-Control', 'no-cache')
        super().end_headers()

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    """The server; a client that does not like the certificate, or hangs up, is no news."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('folder', metavar='DIR', type=Path, help='what tools/export.py --to web has written')
    parser.add_argument('--port', type=int, default=8443, help='default: %(default)s')
    args = parser.parse_args()
    if not 0 <= args.port < 65536:
        parser.error('--port takes a number up to 65535')
    return args


def own_addresses() -> list[str]:
    """This machine's names and numbers: for itself, and for others."""
    addresses = ['localhost', '127.0.0.1']
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(('192.0.2.1', 9))  # sends nothing, and chooses the network that leads outside
            addresses.append(probe.getsockname()[0])
        except OSError:
            pass  # no network
    return list(dict.fromkeys(addresses))


def certificate(addresses: list[str]) -> ssl.SSLContext:
    """A certificate for these addresses that this machine signs itself.

    Raises:
        UserError: There is no openssl.
    """
    if shutil.which('openssl') is None:
        raise UserError(
            'the certificate is made by openssl, and there is none here: install it, or serve without https, on '
            'which phones have no WebGPU, no live camera and one thread: python -m http.server -d DIR'
        )
    names = ','.join(f'{"IP" if name[0].isdigit() else "DNS"}:{name}' for name in addresses)
    with TemporaryDirectory() as folder:
        files = Path(folder, 'certificate.pem'), Path(folder, 'key.pem')
        making = ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '30', '-subj', '/CN=mmiformer']
        making += ['-addext', f'subjectAltName={names}', '-out', files[0], '-keyout', files[1]]
        done = subprocess.run(making, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f'openssl makes no certificate:\n{done.stderr.strip()}')
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    return context


@command('the page is no longer served')
def main() -> None:
    args = parse_args()
    folder = args.folder.expanduser()
    if not (folder / 'index.html').is_file():
        raise MissingFile(f'{folder} has no index.html: write a page by tools/export.py CONFIG_OR_ARCH --to web')
    addresses = own_addresses()
    context = certificate(addresses)
    try:
        server = Server(('', args.port), partial(Handler, directory=folder))
    except OSError as error:
        raise UserError(f'port {args.port} cannot be used ({error.strerror}); choose another by --port') from error
    with server:
        # Hands are shaken in the thread of each client, so that a slow one keeps no other waiting.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        print('The page, with a certificate of its own: let the browser go on where it warns of it.')
        for address in addresses:
            if address != '127.0.0.1':
                print(f'  https://{address}:{server.server_port}', flush=True)
        print('Ctrl-C ends it.', flush=True)
        server.serve_forever()


if __name__ == '__main__':
    main()
