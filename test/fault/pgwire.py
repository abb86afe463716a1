"""pgwire.py: as much of a PostgreSQL client as the crash harness needs.

One connection over a unix socket, trust, simple queries.  It knows the pid of
its backend, and tells a server that refuses (SqlError) from one that is gone
(Broken): after a kill that difference is the test.
"""
import os
import socket
import struct


class SqlError(Exception):
    def __init__(self, fields):
        self.state = fields.get('C', '')
        self.message = fields.get('M', '')
        self.fatal = fields.get('V') in ('FATAL', 'PANIC')
        super().__init__('%s %s' % (self.state, self.message))


class Broken(Exception):
    """The connection ended, or there never was one."""


class Connection:
    def __init__(self, directory, port, database, options='', timeout=60):
        self.pid, self.buffer = 0, b''
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        try:
            self.sock.connect(os.path.join(directory, '.s.PGSQL.%d' % port))
            self.start(database, options)
        except OSError as fault:
            self.close()
            raise Broken(str(fault))
        except (SqlError, Broken):
            self.close()
            raise

    def start(self, database, options):
        words = ('user', 'postgres', 'database', database,
                 'application_name', 'crash harness', 'options', options)
        body = struct.pack('!i', 196608) + b''.join(
            w.encode() + b'\0' for w in words) + b'\0'
        self.sock.sendall(struct.pack('!i', len(body) + 4) + body)
        self.answer()

    def close(self):
        self.sock.close()

    def more(self, n):
        while len(self.buffer) < n:
            try:
                data = self.sock.recv(65536)
            except OSError as fault:
                raise Broken(str(fault))
            if not data:
                raise Broken('the server closed the connection')
            self.buffer += data

    def message(self):
        self.more(5)
        kind, length = struct.unpack('!ci', self.buffer[:5])
        self.more(length + 1)
        body = self.buffer[5:length + 1]
        self.buffer = self.buffer[length + 1:]
        return kind, body

    def send(self, sql):
        body = sql.encode() + b'\0'
        try:
            self.sock.sendall(b'Q' + struct.pack('!i', len(body) + 4) + body)
        except OSError as fault:
            raise Broken(str(fault))

    def answer(self):
        """Rows of the last statement that gave some; or the error."""
        rows, error = [], None
        while True:
            kind, body = self.message()
            if kind == b'T':
                rows = []
            elif kind == b'D':
                rows.append(row(body))
            elif kind == b'K':
                self.pid = struct.unpack('!i', body[:4])[0]
            elif kind == b'E':
                error = SqlError(fields(body))
                if error.fatal:
                    raise error
            elif kind == b'Z':
                if error:
                    raise error
                return rows

    def query(self, sql):
        self.send(sql)
        return self.answer()

    def value(self, sql):
        rows = self.query(sql)
        return rows[0][0] if rows else None

    def column(self, sql):
        return [r[0] for r in self.query(sql)]


def row(body):
    n, at, values = struct.unpack('!h', body[:2])[0], 2, []
    for _ in range(n):
        length = struct.unpack('!i', body[at:at + 4])[0]
        at += 4
        if length < 0:
            values.append(None)
            continue
        values.append(body[at:at + length].decode('utf-8', 'replace'))
        at += length
    return tuple(values)


def fields(body):
    found = {}
    for part in body.split(b'\0'):
        if part:
            found[chr(part[0])] = part[1:].decode('utf-8', 'replace')
    return found


def literal(text):
    if text is None:
        return 'NULL'
    return "'%s'" % text.replace("'", "''")
