#!/usr/bin/python3
"""cred_peer.py: a strict, scripted stand-in for the services that give
temporary credentials, on 127.0.0.1: STS, a container's endpoint, and EC2's
instance metadata service, version 2.

  cred_peer.py --dir DIR [--s3 DIR]

DIR/port and pid appear when it listens; SIGTERM ends it.  What it issues
replaces what the S3 peer that runs in --s3 accepts: only the newest
credentials are good.

  POST /                   STS: AssumeRoleWithWebIdentity, unsigned, its
                           parameters in the body
  GET  /credentials/...    the container's endpoint
  PUT  /latest/api/token   the metadata service: a session token, with its
                           time to live asked for; then with it
  GET  /latest/meta-data/iam/security-credentials/[ROLE]

DIR/script, read anew for every request, is a JSON object; all is optional:

  lifetime   seconds that what is issued lasts (3600); may be below 0
  same       true: issue what was issued last, expiry and all
  identity   the web identity token that STS takes
  role       the role's ARN that STS takes
  session    the role session's name that STS takes
  authorization   what the container's endpoint wants
  sts, container, token, list, role_credentials
             a fault for that step, any of
               status, body       answer this
               code, message      answer so, in the service's own form
               hold               do not answer while the script says so
               cut                close after N bytes of the answer

DIR/journal has a line of JSON for each request as it comes, {"what": step,
"verb", "path", "headers", "body"}, another when it is answered, {"what":
"answered", "step", "status"}, and {"what": "violation", "why"} for what no
client may do: metadata asked for without a session token, a signature or a
token in a URL to STS.  {"what": "connection"} for each connection makes it a
recorder too: of a proxy that nobody may use.
"""
import argparse
import http.client
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

STS_NS = 'https://sts.amazonaws.com/doc/2011-06-15/'
METADATA = '/latest/meta-data/iam/security-credentials/'
ROLE = 'voiceframe-role'
MAX_TTL = 21600


class Gone(Exception):
    pass


class Answer:
    def __init__(self, status, body, kind='application/json'):
        self.status, self.kind = status, kind
        self.body = body if isinstance(body, bytes) else body.encode()


def when(seconds):
    return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(seconds))


def sts_error(status, code, message):
    kind = 'Sender' if status < 500 else 'Receiver'
    return Answer(status, '<ErrorResponse xmlns="%s">\n  <Error>\n    <Type>%s'
                  '</Type>\n    <Code>%s</Code>\n    <Message>%s</Message>\n'
                  '  </Error>\n  <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf8'
                  '96c7</RequestId>\n</ErrorResponse>\n' % (
                      STS_NS, kind, code, escape(message)), 'text/xml')


def json_error(status, code, message):
    return Answer(status, json.dumps({'code': code, 'message': message}))


def metadata_error(status, code, message):
    # With status 200 the service tells that it has none to give.
    if status == 200:
        return Answer(200, json.dumps({
            'Code': code, 'Message': message, 'LastUpdated': when(time.time())
        }), 'text/plain')
    return Answer(status, '<?xml version="1.0"?><html><head><title>%d - %s'
                  '</title></head><body/></html>' % (status, code),
                  'text/html')


ERRORS = {'sts': sts_error, 'container': json_error, 'token': metadata_error,
          'list': metadata_error, 'role_credentials': metadata_error}


class Peer:
    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        self.journal = open(self.path('journal'), 'a')
        self.serial = 0
        self.last = None
        self.sessions = {}              # token of the metadata service: end

    def path(self, name):
        return os.path.join(self.options.dir, name)

    def note(self, what, **fields):
        with self.lock:
            self.journal.write(json.dumps({'what': what, **fields}) + '\n')
            self.journal.flush()

    def script(self):
        try:
            with open(self.path('script')) as f:
                return json.load(f)
        except FileNotFoundError:
            return {}

    # What is issued

    def issue(self, script):
        with self.lock:
            if not (script.get('same') and self.last):
                self.serial += 1
                self.last = {
                    'key': 'ASIAISSUED%d' % self.serial,
                    'secret': 'planted/secret+%d' % self.serial,
                    'token': 'planted.session.token/%d==' % self.serial,
                    'expires': time.time() + script.get('lifetime', 3600)}
            issued = dict(self.last)
        self.tell_s3(issued)
        return issued

    def tell_s3(self, issued):
        if not self.options.s3:
            return
        with open(os.path.join(self.options.s3, 'control_port')) as f:
            port = int(f.read())
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
        connection.request('POST', '/set', json.dumps({
            name: issued[name] for name in ('key', 'secret', 'token')}))
        if connection.getresponse().status != 200:
            raise RuntimeError('the S3 peer does not take what was issued')
        connection.close()

    # STS

    def sts(self, request, script):
        if 'authorization' in request.headers or '?' in request.target:
            self.note('violation', why='STS was asked with a signature or '
                      'with parameters in the URL')
        if not request.headers.get('content-type', '').startswith(
                'application/x-www-form-urlencoded'):
            return sts_error(400, 'InvalidAction', 'no form')
        given = dict(urllib.parse.parse_qsl(
            request.body.decode(), strict_parsing=True))
        if given.get('Version') != '2011-06-15' or \
                given.get('Action') != 'AssumeRoleWithWebIdentity':
            return sts_error(400, 'InvalidAction', 'Could not find operation')
        name = given.get('RoleSessionName', '')
        if not re.fullmatch(r'[\w+=,.@-]{2,64}', name, re.ASCII) or \
                script.get('session', name) != name or \
                not 20 <= len(given.get('RoleArn', '')) <= 2048:
            return sts_error(400, 'ValidationError', 'validation errors')
        if given.get('WebIdentityToken') != script.get('identity'):
            return sts_error(400, 'InvalidIdentityToken',
                             'No OpenIDConnect provider found for your token '
                             + given.get('WebIdentityToken', ''))
        if given['RoleArn'] != script.get('role'):
            return sts_error(403, 'AccessDenied', 'Not authorized to perform '
                             'sts:AssumeRoleWithWebIdentity')
        issued = self.issue(script)
        return Answer(200, '''\
<AssumeRoleWithWebIdentityResponse xmlns="%s">
  <AssumeRoleWithWebIdentityResult>
    <Audience>sts.amazonaws.com</Audience>
    <AssumedRoleUser>
      <AssumedRoleId>AROAEXAMPLE:%s</AssumedRoleId>
      <Arn>arn:aws:sts::123456789012:assumed-role/x/%s</Arn>
    </AssumedRoleUser>
    <Provider>arn:aws:iam::123456789012:oidc-provider/example</Provider>
    <Credentials>
      <AccessKeyId>%s</AccessKeyId>
      <SecretAccessKey>%s</SecretAccessKey>
      <SessionToken>%s</SessionToken>
      <Expiration>%s</Expiration>
    </Credentials>
    <SubjectFromWebIdentityToken>system:serviceaccount:a:b</Subject\
FromWebIdentityToken>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata><RequestId>ad4156e9-bce1</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>
''' % (STS_NS, name, name, issued['key'], escape(issued['secret']),
            escape(issued['token']), when(issued['expires'])), 'text/xml')

    # The container's endpoint

    def container(self, request, script):
        if request.headers.get('authorization') != script.get(
                'authorization'):
            return json_error(401, 'Unauthorized',
                              'not the token %s' % request.headers.get(
                                  'authorization'))
        issued = self.issue(script)
        return Answer(200, json.dumps({
            'RoleArn': 'arn:aws:iam::123456789012:role/x',
            'AccessKeyId': issued['key'], 'SecretAccessKey': issued['secret'],
            'Token': issued['token'], 'Expiration': when(issued['expires'])}))

    # The metadata service

    def token(self, request, script):
        ttl = request.headers.get('x-aws-ec2-metadata-token-ttl-seconds', '')
        if 'x-forwarded-for' in request.headers:
            return metadata_error(403, 'Forbidden', '')
        if not ttl.isdigit() or not 1 <= int(ttl) <= MAX_TTL or request.body:
            return metadata_error(400, 'Bad Request', '')
        with self.lock:
            name = 'AQAE-planted-metadata-token-%d==' % (
                len(self.sessions) + 1)
            self.sessions[name] = time.monotonic() + int(ttl)
        return Answer(200, name, 'text/plain')

    def has_session(self, request):
        name = request.headers.get('x-aws-ec2-metadata-token')
        if name is None:
            self.note('violation', why='metadata asked for by version 1')
        return self.sessions.get(name, 0) > time.monotonic()

    def list(self, request, script):
        if not self.has_session(request):
            return metadata_error(401, 'Unauthorized', '')
        return Answer(200, ROLE, 'text/plain')

    def role_credentials(self, request, script):
        if not self.has_session(request):
            return metadata_error(401, 'Unauthorized', '')
        issued = self.issue(script)
        return Answer(200, json.dumps({
            'Code': 'Success', 'LastUpdated': when(time.time()),
            'Type': 'AWS-HMAC', 'AccessKeyId': issued['key'],
            'SecretAccessKey': issued['secret'], 'Token': issued['token'],
            'Expiration': when(issued['expires'])}, indent=2), 'text/plain')

    # Requests

    def step_of(self, request):
        what = (request.verb, request.target.partition('?')[0])
        if what == ('POST', '/'):
            return 'sts'
        if what[0] == 'GET' and what[1].startswith('/credentials'):
            return 'container'
        if what == ('PUT', '/latest/api/token'):
            return 'token'
        if what == ('GET', METADATA):
            return 'list'
        if what == ('GET', METADATA + ROLE):
            return 'role_credentials'
        return None

    def scripted(self, step, fault):
        if 'code' in fault:
            return ERRORS[step](fault.get('status', 400), fault['code'],
                                fault.get('message', fault['code']))
        if 'body' in fault or 'status' in fault:
            return Answer(fault.get('status', 200), fault.get('body', ''))
        return None

    def judge(self, request):
        step = self.step_of(request)
        self.note(step or 'unknown', verb=request.verb, path=request.target,
                  headers=request.headers, body=request.body.decode())
        if step is None:
            return None, {}, Answer(404, '')
        while self.script().get(step, {}).get('hold'):
            if request.client_gone():
                raise Gone()
            time.sleep(0.02)
        script = self.script()
        fault = script.get(step, {})
        answer = self.scripted(step, fault)
        if answer is None:
            answer = getattr(self, step)(request, script)
        return step, fault, answer

    def serve(self, sock):
        self.note('connection')
        try:
            while True:
                request = Request(sock)
                step, fault, answer = self.judge(request)
                data = ('HTTP/1.1 %d X\r\nContent-Type: %s\r\n'
                        'Content-Length: %d\r\n\r\n' % (
                            answer.status, answer.kind, len(answer.body))
                        ).encode() + answer.body
                self.note('answered', step=step, status=answer.status)
                if 'cut' in fault:
                    sock.sendall(data[:fault['cut']])
                    return
                sock.sendall(data)
        except (Gone, OSError):
            pass
        finally:
            sock.close()

    def run(self):
        stop = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, stop)
        server = socket.socket()
        server.bind(('127.0.0.1', 0))
        server.listen(64)

        def loop():
            while True:
                sock, _ = server.accept()
                threading.Thread(target=self.serve, args=(sock,),
                                 daemon=True).start()
        threading.Thread(target=loop, daemon=True).start()
        for name, value in (('pid', os.getpid()),
                            ('port', server.getsockname()[1])):
            with open(self.path(name + '.new'), 'w') as f:
                f.write('%d\n' % value)
            os.rename(self.path(name + '.new'), self.path(name))
        signal.sigwait(stop)
        os._exit(0)


class Request:
    """One request, read whole."""

    def __init__(self, sock):
        self.sock, data = sock, b''
        while b'\r\n\r\n' not in data:
            data += self.more()
        head, _, rest = data.partition(b'\r\n\r\n')
        lines = head.decode('latin-1').split('\r\n')
        try:
            self.verb, self.target, _ = lines[0].split(' ')
        except ValueError:
            raise Gone()
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(':')
            self.headers[name.lower()] = value.strip()
        length = int(self.headers.get('content-length', 0))
        while len(rest) < length:
            rest += self.more()
        self.body = rest

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise Gone()
        return data

    def client_gone(self):
        try:
            return not self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--dir', required=True)
    p.add_argument('--s3')
    options = p.parse_args()
    os.makedirs(options.dir, exist_ok=True)
    Peer(options).run()


if __name__ == '__main__':
    sys.exit(main())
