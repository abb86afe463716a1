#!/usr/bin/python3
"""selftest.py DIR: prove that the peer running in DIR is strict and that its
faults do what they say.  Called by selftest.sh; prints one line per check."""
import base64
import hashlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import bucket                           # noqa: E402
import peer_xml                         # noqa: E402
import peerctl                          # noqa: E402
import sigv4                            # noqa: E402

DIR = sys.argv[1]
failed = 0


def check(good, what, saw=''):
    global failed
    failed += not good
    print('%s - %s%s' % ('ok' if good else 'not ok', what,
                         '' if good else '   (saw %r)' % (saw,)))


def ctl(*args, given=None):
    return subprocess.run(['/usr/bin/python3', HERE + '/peerctl.py', DIR,
                           *args], input=given, text=True, check=True,
                          stdout=subprocess.PIPE).stdout


def tell(path, value):
    """As ctl(), without a process."""
    peerctl.ask(DIR, 'POST', path, value)


def client(**kw):
    return bucket.Client(**kw)


def verdict(answer):
    return answer[0], bucket.tag_text(answer[2], 'Code')


def expect(answer, status, code, what):
    saw = verdict(answer)
    check(saw == (status, code), what, saw)


def vectors():
    """The two GET examples of AWS's documentation of SigV4 for S3."""
    secret = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
    for pairs, path, extra, want in (
            ([], '/test.txt', {'range': ['bytes=0-9']},
             'f0e8bdb87c964420e857bd35b5d6ed31'
             '0bd44f0170aba48dd91039c6036bdb41'),
            ([('prefix', 'J'), ('max-keys', '2')], '/', {},
             '34b48302e7b5fa45bde8084f4b7868a8'
             '6f0a534bc59db6670ed5711ef69dc6f7')):
        h = {'host': ['examplebucket.s3.amazonaws.com'],
             'x-amz-content-sha256': [sigv4.EMPTY],
             'x-amz-date': ['20130524T000000Z'], **extra}
        c = sigv4.canonical_request('GET', path, pairs, h, sorted(h),
                                    sigv4.EMPTY)
        check(sigv4.signature(secret, '20130524T000000Z', 'us-east-1', c)
              == want, 'AWS vector GET %s' % path)


def signatures():
    c = client()
    check(c.request('HEAD', '/b1')[0] == 200, 'right request accepted')
    expect(client(secret='wrong').request('GET', '/b1/k'), 403,
           'SignatureDoesNotMatch', 'wrong secret')
    expect(client(key='nobody').request('GET', '/b1/k'), 403,
           'InvalidAccessKeyId', 'wrong key')
    expect(client(token='T').request('GET', '/b1/k'), 403,
           'InvalidAccessKeyId', 'token where none is known')
    answer = client(region='eu-west-1').request('GET', '/b1/k')
    expect(answer, 400, 'AuthorizationHeaderMalformed', 'wrong region')
    check(bucket.tag_text(answer[2], 'Region') == 'us-east-2'
          == answer[1].get('x-amz-bucket-region'), 'right region told')
    for minutes, code in ((-16, 'RequestTimeTooSkewed'), (14, 'NoSuchKey'),
                          (16, 'RequestTimeTooSkewed')):
        skewed = client()
        skewed.clock = lambda m=minutes: time.time() + 60 * m
        saw = verdict(skewed.request('GET', '/b1/k'))
        check(saw[1] == code, 'clock %+d min' % minutes, saw)
    expect(raw('GET', '/b1/k', {}), 403, 'AccessDenied', 'not signed')
    tampered()


def raw(method, target, headers, body=b''):
    connection = http.client.HTTPConnection(c0.url.hostname, c0.url.port,
                                            timeout=20)
    connection.request(method, target, body or None, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def tampered():
    """A good signature must not cover another path, query, header, body."""
    def signed(headers=None, body=b'', method='GET'):
        h = {'host': c0.url.netloc, **(headers or {})}
        sigv4.sign(method, '/b1/key', [('a', 'b')], h, body, c0.key,
                   c0.secret, c0.region,
                   time.strftime('%Y%m%dT%H%M%SZ', time.gmtime()))
        return h
    good = '/b1/key?a=b'
    expect(raw('GET', good, signed()), 404, 'NoSuchKey', 'hand-made request')
    for target in ('/b1/kez?a=b', '/b1/key?a=c', '/b1/key?a=b&c=d',
                   '/b1/key', '/b1//key?a=b', '/b1/./key?a=b'):
        expect(raw('GET', target, signed()), 403, 'SignatureDoesNotMatch',
               'tampered target ' + target)
    expect(raw('DELETE', good, signed()), 403, 'SignatureDoesNotMatch',
           'tampered verb')
    h = signed({'x-amz-meta-a': '1'})
    h['x-amz-meta-a'] = '2'
    expect(raw('GET', good, h), 403, 'SignatureDoesNotMatch',
           'tampered header')
    h = dict(signed(), **{'x-amz-meta-b': '1'})
    expect(raw('GET', good, h), 403, 'AccessDenied', 'x-amz header unsigned')
    expect(raw('PUT', good, signed(body=b'one', method='PUT'), b'two'), 400,
           'XAmzContentSHA256Mismatch', 'tampered body')


def digests():
    keys = ['d/a', 'd/b']
    for h, status, code, what in (
            ({}, 400, 'InvalidRequest', 'Content-MD5 missing'),
            ({'content-md5': 'abc'}, 400, 'InvalidDigest', 'MD5 is no base64'),
            ({'content-md5': base64.b64encode(b'short').decode()}, 400,
             'InvalidDigest', 'MD5 too short'),
            ({'content-md5': base64.b64encode(bytes(16)).decode()}, 400,
             'BadDigest', 'MD5 of another body')):
        expect(c0.delete_many('b1', keys, h), status, code, what)
    check(c0.delete_many('b1', keys)[0] == 200, 'right MD5 accepted')
    expect(c0.delete_many('b1', ['k%d' % i for i in range(1001)]), 400,
           'MalformedXML', '1,001 keys')
    check(len(bucket.elements(c0.delete_many(
        'b1', ['k%d' % i for i in range(1000)])[2], 'Deleted')) == 1000,
        '1,000 keys')
    expect(c0.delete_many('b1', ['x' * 1100 + '%d' % i for i in range(990)]),
           413, 'EntityTooLarge', 'body over 1 MiB')
    for body in (b'<Delete/>', b'<Delete><Object/></Delete>', b'no',
                 b'<!DOCTYPE d><Delete><Object><Key>a</Key></Object></Delete>'):
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        expect(c0.request('POST', '/b1', [('delete', '')], body,
                          {'content-md5': md5}), 400, 'MalformedXML',
               'body %s' % body.decode())


def objects():
    odd = ['o/a b', 'o/a+b', 'o/100%25', 'o/ü日本', 'o/&<>"\'', 'o/x\ny',
           'o/cr\rlf', 'o/a/../b', 'o/a/./b', 'o//d', 'o/~*()!', 'o/tab\t']
    for key in odd:
        c0.put('b1', key)
    check(list(c0.list('b1', 'o/', page=5)) == sorted(odd, key=str.encode),
          'odd keys put and listed, page by page',
          list(c0.list('b1', 'o/', page=5)))
    token = bucket.tag_text(c0.call('GET', '/b1', [
        ('list-type', '2'), ('prefix', 'o/'), ('max-keys', '1')]),
        'NextContinuationToken')
    check('+' in token and '/' in token, 'token has + and /', token)
    gone = bucket.elements(c0.delete_many('b1', odd)[2], 'Key')
    check([k.text for k in gone] == odd, 'odd keys deleted in one body',
          [k.text for k in gone])
    check(not list(c0.list('b1', 'o/')), 'nothing left')
    expect(c0.request('GET', '/none/k'), 404, 'NoSuchBucket', 'no bucket')
    check(c0.delete_many('b1', ['q/1'], quiet=True)[2].find(b'Deleted>') < 0,
          'Quiet is quiet')
    # By its Host header alone: Python does not resolve b1.localhost.
    for domain in ('localhost', 's3.peer.test'):
        host = 'b1.%s:%d' % (domain, c0.url.port)
        saw = c0.request('PUT', '/v/key', body=b'x', headers={'host': host})
        check(saw[0] == 200 and 'v/key' in c0.list('b1'), 'host ' + domain,
              saw)
        c0.call('DELETE', '/b1/v/key')
    c0.put('b1', 'v/key')
    ctl('set', '{"versioning": {"b1": "Enabled"}}')
    answer = c0.delete_many('b1', ['v/key'])[2]
    check(b'<DeleteMarker>true' in answer, 'delete marker', answer)
    ctl('set', '{"versioning": {"b1": ""}}')


def conditions():
    path = '/b1/cond/k'

    def put(body, **headers):
        return client().request('PUT', path, body=body, headers={
            n.replace('_', '-'): v for n, v in headers.items()})
    first = put(b'1', if_none_match='*')
    check(first[0] == 200, 'If-None-Match: * where nothing is', first)
    expect(put(b'2', if_none_match='*'), 412, 'PreconditionFailed',
           'If-None-Match: * where something is')
    etag = first[1]['ETag']
    check(put(b'3', if_match=etag)[0] == 200, 'If-Match with its ETag')
    expect(put(b'4', if_match=etag), 412, 'PreconditionFailed',
           'If-Match with an old ETag')
    ctl('set', '{"age": 1000}')
    answer = client().request('GET', path)
    seen = [time.mktime(time.strptime(answer[1][h][5:25],
                                      '%d %b %Y %H:%M:%S'))
            for h in ('Date', 'Last-Modified')]
    check(999 <= seen[0] - seen[1] <= 1010 and answer[2] == b'3',
          'objects grow old', (seen, answer[2]))
    ctl('set', '{"conditions": "refuse"}')
    expect(put(b'5', if_match=etag), 501, 'NotImplemented',
           'conditions refused as such')
    ctl('set', '{"conditions": "ignore"}')
    check(put(b'6', if_match=etag)[0] == 200, 'conditions ignored')
    ctl('set', '{"conditions": "honour"}')
    client().request('DELETE', path)
    expect(put(b'7', if_match=etag), 404, 'NoSuchKey',
           'If-Match where nothing is')


def with_fault(fault, verb='delete', keys=('f/a', 'f/b')):
    tell('/put', {'bucket': 'b1', 'keys': list(keys)})
    tell('/faults', fault)
    try:
        return c0.delete_many('b1', keys)
    except (http.client.HTTPException, OSError) as fault:
        return 0, {}, type(fault).__name__.encode()


def left():
    return [k for k in peerctl.ask(DIR, 'GET', '/store')['b1']
            if k.startswith('f/')]


def faults():
    expect(with_fault({'status': 503, 'code': 'SlowDown'}), 503, 'SlowDown',
           'scripted 503')
    check(left() == ['f/a', 'f/b'], 'and nothing was done', left())
    expect(with_fault({'status': 500, 'act': True}), 500, 'InternalError',
           'scripted 500 after acting')
    check(left() == [], 'and all was done', left())
    check(c0.request('HEAD', '/b1')[0] == 200, 'one fault, one request')
    saw = with_fault({'key_errors': {'f/a': 'AccessDenied'}})[2]
    check(b'<Error><Key>f/a</Key><Code>AccessDenied' in saw
          and b'<Deleted><Key>f/b' in saw and left() == ['f/a'],
          'an error for one key', saw)
    saw = with_fault({'omit': ['f/b']})[2]
    check(b'f/b' not in saw and left() == ['f/b'], 'a key left out', saw)
    saw = with_fault({'extra': ['never/sent']})[2]
    check(b'<Key>never/sent' in saw, 'a key never sent', saw)
    expect(with_fault({'error_in_200': 'InternalError'}), 200,
           'InternalError', 'Error in a 200')
    answer = with_fault({'redirect': 301, 'region': 'eu-west-1'})
    expect(answer, 301, 'PermanentRedirect', 'redirect')
    check(answer[1]['x-amz-bucket-region'] == 'eu-west-1', 'with the region')
    for cut in (0, 10, -1):
        saw = with_fault({'cut': cut})
        check(saw[0] == 0 and left() == [], 'cut at %d' % cut, saw)
        c0.connection = None
    check(with_fault({'reset': True})[0] == 0, 'reset')
    saw = with_fault({'chunked': 7})
    check(saw[0] == 200 and b'</DeleteResult>' in saw[2], 'chunked', saw)
    check(with_fault({'slow': 20000})[0] == 200, 'slow')
    saw = with_fault({'date_offset': 7200})
    check(saw[1]['Date'] != c0.request('HEAD', '/b1')[1]['Date'], 'Date')
    saw = with_fault({'garbage': True})
    check(saw[0] == 200 and not bucket.elements(saw[2], 'Deleted'), 'garbage')
    c0.connection.close()
    c0.connection = None
    ctl('faults', json.dumps([{'endless': True, 'match': {'verb': 'GET'}}]))
    connection = c0.connect()
    connection.request('GET', '/b1')
    check(len(connection.getresponse().read(1000000)) == 1000000, 'endless')
    connection.close()


def many_statuses():
    for status in (200, 204, 206, 304, 400, 403, 404, 409, 412, 429, 500,
                   503, 599):
        saw = with_fault({'status': status, 'body': ''})
        check(saw[0] == status and left() == ['f/a', 'f/b'],
              'status %d' % status, saw)
    for status in (301, 302, 303, 307, 308):
        saw = with_fault({'redirect': status, 'location': 'http://h/x'})
        check(saw[0] == status and saw[1]['Location'] == 'http://h/x'
              and left() == ['f/a', 'f/b'], 'redirect %d' % status, saw)


def hostile_xml():
    well_formed = set()
    for name in sorted(peer_xml.DOCUMENTS):
        status, _, body = with_fault({'xml': name})
        check(status == 200 and left() == ['f/a', 'f/b']
              and body == peer_xml.document(name, ['f/a', 'f/b']),
              'xml ' + name, body[:200])
        try:
            ElementTree.fromstring(body if b'<!' not in body else b'')
            well_formed.add(name)
        except (ElementTree.ParseError, ValueError, RecursionError):
            pass
    check('another root' in well_formed and not well_formed & {
        'truncated', 'cut in a tag', 'unclosed', 'crossed', 'two roots',
        'text behind', 'NUL behind', 'no UTF-8', 'plain text', 'JSON'},
        'the malformed ones are', well_formed)
    body = peer_xml.document('nested', ['f/a'])
    check(body.count(b'<a>') == peer_xml.DEPTH, 'nested deeply')
    body = peer_xml.document('entity bomb', ['f/a'])
    check(len(body) < 10000 and body.count(b'<!ENTITY') == 30
          and b'&l29;' in body, 'a bomb is small')


def floods():
    connection = flooded({'flood': 10 ** 10})
    answer = connection.getresponse()
    check(answer.getheader('Content-Length') == str(10 ** 10),
          '10 GB are announced')
    first = answer.read(1000)
    check(b'</DeleteResult>' in first, 'a document leads them')
    got = len(first)
    while got < 300 * 10 ** 6:
        got += len(answer.read(1 << 20))
    with open('/proc/%s/status' % open(DIR + '/pid').read().strip()) as f:
        peak = int(re.search(r'VmHWM:\s+(\d+) kB', f.read()).group(1))
    check(peak < 200 * 1024, '300 MB of them are nowhere in memory', peak)
    connection.close()
    saw = with_fault({'flood': 100000})
    check(saw[0] == 200 and len(saw[2]) == 100000, 'a small flood ends')
    connection = flooded({'flood_head': 10 ** 10})
    connection.sock.settimeout(20)
    got = 0
    while got < 10 ** 7:
        got += len(connection.sock.recv(1 << 20))
    check(got >= 10 ** 7, 'a head without end')
    connection.close()


def flooded(fault):
    ctl('faults', json.dumps(dict(fault, match={'verb': 'GET'})))
    c0.connection = None
    connection = c0.connect()
    connection.request('GET', '/b1')
    return connection


def cuts():
    """At every byte of the answer and of the request."""
    whole = len(wire_bytes({}))
    check(whole > 300, 'an answer is some bytes long', whole)
    ctl('faults', json.dumps([{'cut': n} for n in range(whole)]))
    lengths = [len(wire_bytes()) for _ in range(whole)]
    check(lengths == list(range(whole)), 'cut at every byte of the answer')
    lines = [json.loads(x) for x in ctl('journal', 'sent').splitlines()]
    check([x['bytes'] for x in lines][-whole:] == lengths,
          'the journal tells how many')
    saw = wire_bytes({'no_length': True})
    check(b'Content-Length' not in saw and saw.endswith(b'</DeleteResult>'),
          'an answer without its length', saw)
    asked = len(request_bytes())
    size = json.loads(ctl('journal', 'before').splitlines()[-1])['size']
    check(size == asked, "the journal has a request's size", size)
    ctl('put', 'b1', given='f/a\nf/b\n')
    ctl('faults', json.dumps([{'cut_request': n} for n in range(asked)]))
    lengths = [len(wire_bytes()) for _ in range(asked)]
    check(set(lengths) == {0}, 'cut at every byte of the request', lengths)
    check(left() == ['f/a', 'f/b'], 'and nothing was done')
    check(wire_bytes({}).startswith(b'HTTP/1.1 200'), 'then none')
    tell('/faults', {'cut_request': 3, 'skip': 1})
    lengths = [len(wire_bytes()) > 0 for _ in range(3)]
    check(lengths == [True, False, True], 'a cut may let one pass', lengths)


def request_bytes():
    body = b'<Delete><Object><Key>f/a</Key></Object><Object><Key>f/b</Key>' \
        b'</Object></Delete>'
    h = {'host': c0.url.netloc, 'content-md5': base64.b64encode(
        hashlib.md5(body).digest()).decode()}
    sigv4.sign('POST', '/b1', [('delete', '')], h, body, c0.key, c0.secret,
               c0.region, time.strftime('%Y%m%dT%H%M%SZ', time.gmtime()))
    head = ''.join('%s: %s\r\n' % x for x in h.items())
    return ('POST /b1?delete= HTTP/1.1\r\n%sContent-Length: %d\r\n'
            'Connection: close\r\n\r\n' % (head, len(body))).encode() + body


def wire_bytes(fault=None):
    """All that comes back on a connection of its own."""
    if fault is not None:
        tell('/put', {'bucket': 'b1', 'keys': ['f/a', 'f/b']})
        tell('/faults', fault or [])
    sock = socket.create_connection((c0.url.hostname, c0.url.port), 20)
    data = b''
    try:
        sock.sendall(request_bytes())
        while True:
            more = sock.recv(65536)
            if not more:
                break
            data += more
    except OSError:
        pass                            # reset: bytes were left unread
    sock.close()
    return data


def certificates():
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(['bash', HERE + '/tls.sh', d + '/tls'], check=True)
        one = [d + '/tls/good.pem', d + '/tls/good.key']
        out = subprocess.run(
            ['/usr/bin/python3', HERE + '/peerctl.py', d, 'start', '--bucket',
             'b1', '--tls', *one], text=True, check=True,
            stdout=subprocess.PIPE).stdout.strip()
        try:
            for name, word in (('good', ''), ('other_host', 'mismatch'),
                               ('expired', 'has expired'),
                               ('not_yet', 'not yet valid'),
                               ('other_ca', 'local issuer'),
                               ('self_signed', 'self-signed')):
                subprocess.run(
                    ['/usr/bin/python3', HERE + '/peerctl.py', d, 'set',
                     json.dumps({'tls': ['%s/tls/%s.%s' % (d, name, e)
                                         for e in ('pem', 'key')]})],
                    check=True)
                try:
                    c = client(endpoint=out, ca=d + '/tls/ca.pem',
                               region='us-east-1')
                    saw = str(c.request('HEAD', '/b1')[0])
                except OSError as fault:
                    saw = str(fault).replace('self signed', 'self-signed')
                check(word in saw if word else saw == '200',
                      'certificate ' + name, saw)
        finally:
            subprocess.run(['/usr/bin/python3', HERE + '/peerctl.py', d,
                            'stop'], check=True)


def waiting():
    for how, before, after in (('stall', ['f/a', 'f/b'], ['f/a', 'f/b']),
                               ('stop_at', [], []),
                               ('hold', ['f/a', 'f/b'], []),
                               ('late', [], [])):
        box = []
        ctl('clear')
        thread = threading.Thread(target=lambda: box.append(
            with_fault({how: 10 if how == 'stop_at' else True,
                        'name': 'w'})))
        thread.start()
        ctl('wait-held', '1')
        held = left()
        check(held == before, '%s: before the release' % how, held)
        check(ctl('release', 'w').strip() == '1', '%s: released' % how)
        thread.join()
        c0.connection = None
        check((box[0][0] == 200) == (how in ('hold', 'late'))
              and left() == after,
              '%s: after it' % how, (box, left()))


def journal():
    lines = [json.loads(x) for x in ctl('journal').splitlines()]
    sent = [x for x in lines if x['phase'] == 'before' and x.get('keys')]
    done = {x['id'] for x in lines if x['phase'] == 'after' and x['acted']}
    check(sent[-1]['keys'] == ['f/a', 'f/b'] and sent[-1]['id'] in done,
          'the journal has keys and verdicts', sent[-1])
    check(not [x for x in lines if 'secret' in json.dumps(x)], 'no secret')


def with_boto3():
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        return
    s3 = boto3.client(
        's3', endpoint_url='http://127.0.0.1:%d' % c0.url.port,
        aws_access_key_id=c0.key, aws_secret_access_key=c0.secret,
        region_name=c0.region, config=Config(
            s3={'addressing_style': 'path'}, proxies={}))
    s3.put_object(Bucket='b1', Key='boto/ü +', Body=b'x')
    keys = [o['Key'] for o in s3.list_objects_v2(
        Bucket='b1', Prefix='boto/')['Contents']]
    gone = s3.delete_objects(Bucket='b1', Delete={'Objects': [
        {'Key': k} for k in keys]})['Deleted']
    check(keys == ['boto/ü +'] == [g['Key'] for g in gone],
          'boto3 agrees', keys)


c0 = client()
vectors()
signatures()
digests()
objects()
conditions()
faults()
many_statuses()
hostile_xml()
floods()
cuts()
certificates()
waiting()
journal()
with_boto3()
print('%d failed' % failed)
sys.exit(failed > 0)
