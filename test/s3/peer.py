#!/usr/bin/python3
"""peer.py: a strict, scripted S3 server for tests, on 127.0.0.1.

  peer.py --dir DIR [--port N] [--bucket B]... [--key K] [--secret S]
          [--token T] [--region R] [--domain D]... [--tls CERT KEY] [--keep]
          [--durable]

It verifies what a careless store lets pass (signature, region, clock, digest,
size: see peer_s3.py), does what a script tells it to do wrong (see
peer_faults.py), and keeps a journal.  Path style, and virtual hosts
BUCKET.DOMAIN (default s3.peer.test and localhost, which libcurl resolves by
itself).

DIR/port, control_port and pid appear when it listens; port 0 is any free one.
DIR/journal has lines of JSON, written before the next step is done:

  {"phase": "before", "id", "time", "conn", "verb", "bucket", "key", "query",
   "bytes" (of the body), "size" (of all), "keys" (of a ?delete), "amz": its
   x-amz-* headers, but for date, digest and token}
  {"phase": "after", "id", "time", "verdict": status, "code", "acted", "fault"}
  {"phase": "sent", "id", "time", "bytes",
   "how": "sent", "cut", "gone", "stalled", "request cut"}

A test that kills a client between request and settle lets the peer "hold"
(not acted yet) or be "late" (acted, not answered).  Objects live in memory;
a stop by SIGTERM writes them to DIR/store and --keep starts from there.  With
--durable each change to an object also goes to DIR/changes before its answer,
so that they survive SIGKILL too (versions, markers and the state of versioning
included).
Control: HTTP on control_port, see peerctl.py.
"""
import argparse
import json
import os
import pickle
import re
import select
import signal
import socket
import ssl
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True          # the tree must stay clean
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peer_faults                      # noqa: E402
import peer_s3                          # noqa: E402
import peer_xml                         # noqa: E402

MAX_HEAD = 64 * 1024
MAX_READ = 8 * 1024 * 1024              # read and refused, not cut off
PIECE = 64 * 1024                       # of a flood
REDIRECTS = {301: 'PermanentRedirect', 302: 'Redirect', 303: 'SeeOther',
             307: 'TemporaryRedirect', 308: 'PermanentRedirect'}
UNTOLD = ('x-amz-date', 'x-amz-content-sha256', 'x-amz-security-token')
GARBAGE = b'\x00\xffthis is {not} <xml at all\r\n' * 4


class Gone(Exception):
    """The client closed, or what it sent is no HTTP."""


class Wire:
    """One connection: reads strict HTTP/1.1 requests, writes answers."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b''
        self.size = 0                   # of the request read last
        self.sent = 0                   # bytes given to the network in all

    def more(self):
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b''
        if not data:
            raise Gone()
        self.buffer += data

    def await_request(self):
        """Until a request begins; none of it may be read."""
        while not self.buffer and not select.select([self.sock], [], [])[0]:
            pass

    def read_only(self, length):
        """That many bytes of a request and no more, in a plain connection."""
        while len(self.buffer) < length:
            try:
                data = self.sock.recv(length - len(self.buffer))
            except OSError:
                data = b''
            if not data:
                raise Gone()
            self.buffer += data

    def read_request(self):
        while b'\r\n\r\n' not in self.buffer:
            if len(self.buffer) > MAX_HEAD:
                raise Gone()
            self.more()
        head, _, self.buffer = self.buffer.partition(b'\r\n\r\n')
        self.size = len(head) + 4
        lines = head.decode('utf-8', 'surrogateescape').split('\r\n')
        first = re.fullmatch(r'([A-Z]+) (/[\x21-\x7e]*) HTTP/1\.1', lines[0])
        if not first:
            raise Gone()
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(':')
            if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~\w-]+", name):
                raise Gone()
            headers.setdefault(name.lower(), []).append(value.strip())
        return peer_s3.Request(first.group(1), first.group(2), headers,
                               self.read_body(headers))

    def read_body(self, headers):
        if 'transfer-encoding' in headers:
            raise Gone()                # S3 wants the length beforehand
        length = headers.get('content-length', ['0'])
        if len(length) != 1 or not length[0].isdigit() or \
                int(length[0]) > MAX_READ:
            raise Gone()
        if headers.get('expect'):
            self.write(b'HTTP/1.1 100 Continue\r\n\r\n')
        while len(self.buffer) < int(length[0]):
            self.more()
        body = self.buffer[:int(length[0])]
        self.size += len(body)
        self.buffer = self.buffer[int(length[0]):]
        return body

    def write(self, data):
        try:
            self.sock.sendall(data)
            self.sent += len(data)
        except OSError:
            raise Gone()

    def client_gone(self):
        try:
            if not select.select([self.sock], [], [], 0)[0]:
                return False
            if isinstance(self.sock, ssl.SSLSocket):
                return not self.sock.recv(65536)
            return not self.sock.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack('ii', 1, 0))


class Peer:
    def __init__(self, options):
        self.options = options
        self.store = peer_s3.Store(options)
        self.script = peer_faults.Script()
        self.lock = threading.Lock()
        self.numbers = {'request': 0, 'connection': 0}
        self.tally = {}
        self.journal = open(self.path('journal'), 'a')
        self.tls = None
        if options.tls:
            self.present(options.tls)
        if options.keep and os.path.exists(self.path('store')):
            with open(self.path('store'), 'rb') as f:
                self.store.buckets.update(pickle.load(f))
        self.busy = 0
        if options.durable:
            self.make_durable()

    def make_durable(self):
        """Take in what was written since the last stop, and go on writing."""
        path = self.path('changes')
        if self.options.keep and os.path.exists(path):
            with open(path, 'rb') as f:
                self.replay(f)
            self.save()
        changes = open(path, 'wb')

        def watch(name, bucket):
            def tell(*change):
                pickle.dump((name,) + change, changes)
                changes.flush()
            bucket.tell = tell
            return bucket
        self.store.watch = watch
        for name, bucket in self.store.buckets.items():
            watch(name, bucket)

    def replay(self, f):
        try:
            while True:
                name, what, *rest = pickle.load(f)
                getattr(self.store.new_bucket(name), what)(*rest)
        except (EOFError, pickle.UnpicklingError):
            pass                        # the last one was cut: not answered

    def save(self):
        # Renamed into place: a kill while writing must not lose the old one.
        with open(self.path('store.new'), 'wb') as f:
            pickle.dump(self.store.buckets, f)
        os.rename(self.path('store.new'), self.path('store'))

    def present(self, files):
        """This certificate and key to whoever connects from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        self.tls = context

    def path(self, name):
        return os.path.join(self.options.dir, name)

    def number(self, what):
        with self.lock:
            self.numbers[what] += 1
            return self.numbers[what]

    def note(self, phase, number, **fields):
        line = json.dumps({'phase': phase, 'id': number,
                           'time': round(time.time(), 6), **fields})
        with self.lock:
            self.journal.write(line + '\n')
            self.journal.flush()

    # The S3 side

    def serve(self, sock):
        connection = self.number('connection')
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            wire = Wire(sock)
            while True:
                if self.cut_request(wire):
                    return
                request = wire.read_request()
                self.count_busy(1)
                try:
                    again = self.handle(wire, connection, request)
                finally:
                    self.count_busy(-1)
                if not again:
                    return
        except (Gone, OSError):
            pass
        finally:
            sock.close()

    def cut_request(self, wire):
        """Was the request that comes to be cut?"""
        if not self.script.cuts_requests():
            return False
        wire.await_request()
        fault = self.script.take(None)
        if not fault:
            return False
        wire.read_only(fault['cut_request'])
        self.note('sent', 0, how='request cut', bytes=0)
        return True

    def count_busy(self, n):
        with self.lock:
            self.busy += n

    def handle(self, wire, connection, request):
        """True if the connection may go on."""
        number = self.number('request')
        request.find_bucket(self.options.domain)
        request.note_keys()
        fault = self.script.take(request)
        fields = {'keys': request.keys} if request.keys is not None else {}
        fields['amz'] = {n: request.header(n) for n in request.headers
                         if n.startswith('x-amz-') and n not in UNTOLD}
        self.note('before', number, conn=connection, verb=request.method,
                  bucket=request.bucket, key=request.key,
                  query=request.target.partition('?')[2],
                  bytes=len(request.body), size=wire.size, **fields)
        if fault.get('stall'):
            self.script.wait(number, fault, 'stall', wire.client_gone)
            self.note('sent', number, how='stalled', bytes=0)
            return False
        if fault.get('hold') and not self.script.wait(number, fault, 'hold'):
            return False
        answer, acted = self.judge(request, fault)
        self.count(request, answer)
        self.note('after', number, verdict=answer.status, code=answer.code,
                  acted=acted, fault=fault.get('name', bool(fault)))
        if fault.get('late') and not self.script.wait(number, fault, 'late'):
            return False
        time.sleep(fault.get('delay', 0))
        before = wire.sent
        try:
            how = self.send(wire, number, request, answer, fault)
        except Gone:
            how = 'gone'
        self.note('sent', number, how=how, bytes=wire.sent - before)
        return how == 'sent' and request.header('connection') != 'close'

    def count(self, request, answer):
        name = '%s%s' % (request.method,
                         ' ?delete' if 'delete' in request.query else '')
        with self.lock:
            for key in (name, str(answer.status)):
                self.tally[key] = self.tally.get(key, 0) + 1

    def judge(self, request, fault):
        """The answer, and whether the request was carried out."""
        real = None
        instead = (set(fault) & {'status', 'redirect', 'error_in_200', 'xml',
                                 'garbage', 'endless', 'flood', 'flood_head'})
        if not instead or fault.get('act'):
            real = self.store.answer(request, fault)
        if not instead:
            return real, real.status < 300
        return self.scripted(request, fault), \
            bool(real) and real.status < 300

    def scripted(self, request, fault):
        headers = dict(fault.get('headers', {}))
        if 'redirect' in fault:
            headers['x-amz-bucket-region'] = fault.get('region', 'eu-west-1')
            headers['Location'] = fault.get('location',
                                            'http://127.0.0.1:1/elsewhere')
            return peer_s3.error_answer(
                fault['redirect'], REDIRECTS[fault['redirect']], '', headers,
                {'Endpoint': '127.0.0.1:1'})
        if 'error_in_200' in fault:
            answer = peer_s3.error_answer(200, fault['error_in_200'])
        elif 'garbage' in fault:
            answer = peer_s3.Answer(200, GARBAGE)
        elif 'xml' in fault:
            answer = peer_s3.Answer(200, peer_xml.document(fault['xml'],
                                                           request.keys))
        elif 'flood' in fault or 'flood_head' in fault:
            answer = peer_s3.Answer(200, peer_s3.document(
                'DeleteResult', peer_xml.claims(request.keys or [])))
        elif 'endless' in fault:
            answer = peer_s3.Answer(200)
        else:
            answer = peer_s3.error_answer(
                fault['status'], fault.get('code', 'InternalError'),
                fault.get('message', ''))
        if 'body' in fault:
            answer.body = fault['body'].encode()
        answer.headers.update(headers)
        return answer

    def head(self, number, answer, fault, length):
        when = self.store.now() + fault.get('date_offset', 0)
        headers = {'Date': peer_s3.http_date(when), 'Server': 'vf-peer',
                   'x-amz-request-id': 'REQ%09d' % number,
                   'Content-Type': 'application/xml', **length,
                   **answer.headers}
        return ('HTTP/1.1 %d %s\r\n%s\r\n' % (
            answer.status, answer.code or 'OK', ''.join(
                '%s: %s\r\n' % h for h in headers.items()))).encode()

    def send(self, wire, number, request, answer, fault):
        if fault.get('reset'):
            wire.reset()
            return 'cut'
        if fault.get('endless'):
            return self.send_endless(wire, number, answer, fault)
        if fault.get('flood') or fault.get('flood_head'):
            return self.send_flood(wire, number, answer, fault)
        if answer.status in (204, 304):
            answer.body = b''
        body = b'' if request.method == 'HEAD' else answer.body
        cut = fault.get('cut')
        if fault.get('chunked') and body:
            size = fault['chunked']
            data = self.head(number, answer, fault,
                             {'Transfer-Encoding': 'chunked'})
            for at in range(0, len(body), size):
                part = body[at:at + size]
                data += b'%x\r\n%s\r\n' % (len(part), part)
            data += b'0\r\n\r\n'
        elif fault.get('no_length'):
            data = self.head(number, answer, fault,
                             {'Connection': 'close'}) + body
            cut = len(data) if cut is None else cut
        else:
            length = {} if answer.status == 204 else \
                {'Content-Length': len(answer.body)}
            data = self.head(number, answer, fault, length) + body
        if cut is not None:
            wire.write(data[:cut])
            return 'cut'
        if 'stop_at' in fault:
            wire.write(data[:fault['stop_at']])
            self.script.wait(number, fault, 'stop_at', wire.client_gone)
            return 'stalled'
        step = fault.get('slow')
        if step:
            for at in range(0, len(data), max(1, step // 10)):
                wire.write(data[at:at + max(1, step // 10)])
                time.sleep(0.1)
            return 'sent'
        wire.write(data)
        return 'sent'

    def send_endless(self, wire, number, answer, fault):
        wire.write(self.head(number, answer, fault,
                             {'Transfer-Encoding': 'chunked'}))
        wire.write(b'5\r\n<End>\r\n')
        while not self.script.stopping:
            wire.write(b'1000\r\n' + b'x' * 4096 + b'\r\n')
        return 'cut'

    def send_flood(self, wire, number, answer, fault):
        """A head, or a body, of the length that was asked for: blanks behind
        a document that is complete, or lines that nobody wants."""
        total = fault.get('flood', len(answer.body))
        head = self.head(number, answer, fault, {'Content-Length': total})
        if 'flood_head' in fault:
            line = b'X-Flood: %s\r\n' % (b'x' * 4085)
            wire.write(head[:-2])
            self.send_pieces(wire, line,
                             fault['flood_head'] // len(line) * len(line))
            wire.write(b'\r\n')
        else:
            wire.write(head)
        wire.write(answer.body)
        self.send_pieces(wire, b'\n' * PIECE, total - len(answer.body))
        return 'sent'

    def send_pieces(self, wire, piece, left):
        while left > 0 and not self.script.stopping:
            wire.write(piece[:left] if left < len(piece) else piece)
            left -= len(piece)

    # The control side

    def control(self, sock):
        try:
            wire = Wire(sock)
            request = wire.read_request()
            try:
                status, result = 200, self.command(request)
            except (KeyError, ValueError, TypeError) as fault:
                status, result = 400, {'error': repr(fault)}
            body = json.dumps(result).encode()
            wire.write(b'HTTP/1.1 %d X\r\nContent-Length: %d\r\n'
                       b'Connection: close\r\n\r\n%s'
                       % (status, len(body), body))
        except Gone:
            pass
        finally:
            sock.close()

    def command(self, request):
        what = (request.method, request.path)
        given = json.loads(request.body) if request.body else None
        if what == ('POST', '/faults'):
            self.script.load(given)
        elif what == ('POST', '/faults/add'):
            self.script.load(given, append=True)
        elif what == ('GET', '/faults'):
            return self.script.rest()
        elif what == ('POST', '/release'):
            return self.script.release(given)
        elif what == ('GET', '/held'):
            return self.script.waiting()
        elif what == ('GET', '/store'):
            with self.store.lock:
                return {b: c.live_keys() for b, c in
                        self.store.buckets.items()}
        elif what == ('POST', '/object'):
            with self.store.lock:
                found = self.store.buckets[given['bucket']].live(given['key'])
            return found and found[2].decode('utf-8', 'surrogateescape')
        elif what == ('POST', '/versions'):
            with self.store.lock:
                return [v[0] for v in self.store.buckets[given['bucket']]
                        .objects.get(given['key'], [])]
        elif what == ('GET', '/history'):
            with self.store.lock:
                return {b: {k: len(v) for k, v in c.objects.items()}
                        for b, c in self.store.buckets.items()}
        elif what == ('GET', '/count'):
            with self.store.lock, self.lock:
                return {'keys': {b: len(c.live_keys()) for b, c in
                                 self.store.buckets.items()},
                        'connections': self.numbers['connection'],
                        'requests': self.numbers['request'], **self.tally}
        elif what == ('POST', '/lifecycle'):
            with self.store.lock:
                b = self.store.buckets[given['bucket']]
                if 'document' in given:
                    b.lifecycle = given['document'] and (
                        given['document'].encode(), given.get('minimum', ''))
                found = getattr(b, 'lifecycle', None)
                return found and [found[0].decode(), found[1]]
        elif what == ('POST', '/put'):
            with self.store.lock:
                b = self.store.new_bucket(given['bucket'])
                for key in given['keys']:
                    b.push(key, given.get('body', 'object').encode(),
                           self.store.now())
            return len(given['keys'])
        elif what == ('POST', '/uploads'):
            with self.store.lock:
                self.store.new_bucket(given['bucket']).uploads = [
                    tuple(u) for u in given['uploads']]
        elif what == ('POST', '/remove'):
            with self.store.lock:
                b = self.store.new_bucket(given['bucket'])
                for key in given['keys']:
                    if given.get('versions'):
                        b.forget(key)
                    else:
                        b.delete(key, None, self.store.now())
        elif what == ('POST', '/have'):
            with self.store.lock:
                b = self.store.new_bucket(given['bucket'])
                return [k for k in given['keys'] if b.live(k)]
        elif what == ('GET', '/busy'):
            with self.lock:
                return self.busy
        elif what == ('POST', '/set'):
            self.set(given)
        else:
            raise ValueError('no such command')
        return True

    def set(self, given):
        for name, value in given.items():
            if name == 'tls':
                self.present(value)
            elif name == 'versioning':
                for b, state in value.items():
                    self.store.buckets[b].set_versioning(state)
            elif name == 'mfa_delete':
                for b, state in value.items():
                    self.store.buckets[b].mfa_delete = state
            elif name == 'locked':
                for b, pairs in value.items():
                    self.store.buckets[b].locked = set(map(tuple, pairs))
            elif name == 'age':
                with self.store.lock:
                    self.store.age(value)
            elif name in ('clock', 'region', 'secret', 'key', 'token', 'md5',
                          'too_large', 'max_body', 'rate', 'page',
                          'conditions', 'lifecycle', 'lifecycle_lag',
                          'acls', 'keeps_acls', 'demand'):
                setattr(self.store, name, value)
            else:
                raise ValueError('cannot set ' + name)

    # Start and stop

    def listen(self, port, handler, name):
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(('127.0.0.1', port))
        server.listen(128)

        def loop():
            while True:
                sock, _ = server.accept()
                threading.Thread(target=handler, args=(sock,),
                                 daemon=True).start()
        threading.Thread(target=loop, daemon=True).start()
        return server.getsockname()[1]

    def tell(self, name, value):
        # Renamed into place: a waiting test never reads half a number.
        with open(self.path(name + '.new'), 'w') as f:
            f.write('%s\n' % value)
        os.rename(self.path(name + '.new'), self.path(name))

    def run(self):
        stop = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, stop)
        control = self.listen(0, self.control, 'control')
        port = self.listen(self.options.port, self.serve, 's3')
        self.tell('pid', os.getpid())
        self.tell('control_port', control)
        self.tell('port', port)
        signal.sigwait(stop)
        with self.script.condition:
            self.script.stopping = True
            self.script.condition.notify_all()
        with self.store.lock:
            self.save()
        if self.options.durable:
            os.unlink(self.path('changes'))
        for name in ('port', 'control_port', 'pid'):
            os.unlink(self.path(name))
        # Threads may wait for clients that never speak again.
        self.journal.flush()
        os._exit(0)


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--dir', required=True)
    p.add_argument('--port', type=int, default=0)
    p.add_argument('--bucket', action='append', default=[])
    p.add_argument('--key', default='vfowner')
    p.add_argument('--secret', default='vfownersecret')
    p.add_argument('--token')
    p.add_argument('--region', default='us-east-1')
    p.add_argument('--domain', action='append', default=[])
    p.add_argument('--tls', nargs=2, metavar=('CERT', 'KEY'))
    p.add_argument('--keep', action='store_true')
    p.add_argument('--durable', action='store_true')
    options = p.parse_args()
    options.domain = options.domain or ['s3.peer.test', 'localhost']
    os.makedirs(options.dir, exist_ok=True)
    Peer(options).run()


if __name__ == '__main__':
    main()
