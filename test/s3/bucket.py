#!/usr/bin/python3
"""bucket.py: a small S3 client for tests, path style, standard library only.

  bucket.py mkbucket BUCKET
  bucket.py put-many BUCKET [THREADS]   keys from stdin, one a line
  bucket.py ls BUCKET [PREFIX]          all keys, sorted, one a line
  bucket.py rm BUCKET KEY...
  bucket.py head BUCKET KEY             exit code 1 if there is none
  bucket.py versions BUCKET KEY         the ids of the key's versions and markers
  bucket.py versioning BUCKET [on|off]  without a word: print the state
  bucket.py lifecycle BUCKET [FILE]     put the document ('-' for stdin), or
                                        print it; nothing if there is none
  bucket.py policy BUCKET FILE          put a bucket policy ('-' for stdin)
  bucket.py upload BUCKET KEY BYTES...  begin an upload of parts and leave it;
                                        prints its id
  bucket.py raw BUCKET JSON             {"method", "key", "query": {}, "headers":
                                        {}, "body"}; prints {"status",
                                        "headers", "body"}

Environment: S3_ENDPOINT, S3_KEY, S3_SECRET, S3_REGION (us-east-1), S3_TOKEN,
S3_CA (a file, for https).  In ls and put-many a backslash in a key is \\\\ and
a line break \\n, so that a key is always one line.
"""
import base64
import hashlib
import http.client
import json
import os
import queue
import ssl
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True          # the tree must stay clean
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sigv4                            # noqa: E402


class S3Error(Exception):
    def __init__(self, status, body):
        self.status, self.body = status, body
        self.code = tag_text(body, 'Code')
        super().__init__('%s %s' % (status, self.code or body[:200]))


def tag_text(body, tag):
    for element in elements(body, tag):
        return element.text or ''
    return ''


def elements(body, tag):
    """Elements of that name, whatever the namespace; none if not XML."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return []
    return [e for e in root.iter() if e.tag.split('}')[-1] == tag]


class Client:
    """One kept-alive connection; not to be shared between threads."""

    def __init__(self, endpoint=None, key=None, secret=None, region=None,
                 token=None, ca=None):
        env = os.environ.get
        self.url = urllib.parse.urlsplit(endpoint or env('S3_ENDPOINT') or '')
        self.key = key or env('S3_KEY') or ''
        self.secret = secret or env('S3_SECRET') or ''
        self.region = region or env('S3_REGION') or 'us-east-1'
        self.token = token or env('S3_TOKEN')
        self.ca = ca or env('S3_CA')
        self.clock = time.time          # tests turn it
        self.connection = None
        if not self.url.hostname:
            raise SystemExit('bucket.py: S3_ENDPOINT is not set')

    def connect(self):
        if self.url.scheme == 'https':
            context = ssl.create_default_context(cafile=self.ca)
            return http.client.HTTPSConnection(
                self.url.hostname, self.url.port, timeout=60, context=context)
        return http.client.HTTPConnection(
            self.url.hostname, self.url.port, timeout=60)

    def request(self, method, path, pairs=(), body=b'', headers=None):
        """Returns status, headers, body of any answer.  path is decoded."""
        h = {'host': self.url.netloc}
        h.update(headers or {})
        if self.token:
            h['x-amz-security-token'] = self.token
        sigv4.sign(method, path, pairs, h, body, self.key, self.secret,
                   self.region, time.strftime('%Y%m%dT%H%M%SZ',
                                              time.gmtime(self.clock())))
        target = sigv4.quote(path, '/')
        if pairs:
            target += '?' + '&'.join(
                '%s=%s' % (sigv4.quote(n), sigv4.quote(v)) for n, v in pairs)
        if self.connection is None:
            self.connection = self.connect()
        try:
            self.connection.request(method, target, body or None, h)
            answer = self.connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except Exception:
            self.connection.close()
            self.connection = None
            raise

    def call(self, *args, **kwargs):
        status, headers, body = self.request(*args, **kwargs)
        if status >= 300:
            raise S3Error(status, body)
        return body

    def put(self, bucket, key, body=b'object'):
        self.call('PUT', '/%s/%s' % (bucket, key), body=body)

    def delete_many(self, bucket, keys, headers=None, quiet=False):
        body = ('<Delete>%s%s</Delete>' % (
            '<Quiet>true</Quiet>' if quiet else '',
            ''.join('<Object><Key>%s</Key></Object>' % escape(k)
                    for k in keys))).encode()
        if headers is None:
            headers = {'content-md5': base64.b64encode(
                hashlib.md5(body).digest()).decode()}
        return self.request('POST', '/' + bucket, [('delete', '')], body,
                            headers)

    def list(self, bucket, prefix='', page=1000):
        """All keys, page by page."""
        token = None
        while True:
            pairs = [('list-type', '2'), ('encoding-type', 'url'),
                     ('max-keys', str(page)), ('prefix', prefix)]
            if token:
                pairs.append(('continuation-token', token))
            body = self.call('GET', '/' + bucket, pairs)
            for contents in elements(body, 'Contents'):
                for e in contents:
                    if e.tag.split('}')[-1] == 'Key':
                        yield sigv4.unquote(e.text or '', True)
            if tag_text(body, 'IsTruncated') != 'true':
                return
            token = tag_text(body, 'NextContinuationToken')


def escape(text):
    for a, b in (('&', '&amp;'), ('<', '&lt;'), ('>', '&gt;'),
                 ('\r', '&#13;')):
        text = text.replace(a, b)
    return text


def to_line(key):
    return key.replace('\\', '\\\\').replace('\n', '\\n')


def from_line(line):
    return '\\'.join(p.replace('\\n', '\n') for p in line.split('\\\\'))


def put_many(bucket, keys, threads=8, make_client=Client):
    """Put each key once, over several connections; returns how many."""
    todo, faults, done = queue.SimpleQueue(), [], []
    for key in keys:
        todo.put(key)

    def work():
        client, n = make_client(), 0
        try:
            while not faults:
                client.put(bucket, todo.get_nowait())
                n += 1
        except queue.Empty:
            pass
        except Exception as fault:      # told by the caller's thread
            faults.append(fault)
        done.append(n)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    if faults:
        raise faults[0]
    return sum(done)


def versioning(client, bucket, word):
    if word is None:
        body = client.call('GET', '/' + bucket, [('versioning', '')])
        print(tag_text(body, 'Status') or 'off')
        return
    state = {'on': 'Enabled', 'off': 'Suspended'}[word]
    body = ('<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/'
            '2006-03-01/"><Status>%s</Status></VersioningConfiguration>'
            % state).encode()
    client.call('PUT', '/' + bucket, [('versioning', '')], body)


def policy(client, bucket, name):
    body = (sys.stdin if name == '-' else open(name)).read().encode()
    client.call('PUT', '/' + bucket, [('policy', '')], body)


def upload(client, bucket, key, sizes):
    path = '/%s/%s' % (bucket, key)
    name = tag_text(client.call('POST', path, [('uploads', '')]), 'UploadId')
    for number, size in enumerate(sizes, 1):
        client.call('PUT', path, [('partNumber', str(number)),
                                  ('uploadId', name)], b'x' * size)
    print(name)


def lifecycle(client, bucket, name):
    if name is None:
        status, _, body = client.request('GET', '/' + bucket,
                                         [('lifecycle', '')])
        if status < 300:
            sys.stdout.write(body.decode())
        elif tag_text(body, 'Code') != 'NoSuchLifecycleConfiguration':
            raise S3Error(status, body)
        return
    body = (sys.stdin if name == '-' else open(name)).read().encode()
    client.call('PUT', '/' + bucket, [('lifecycle', '')], body,
                {'content-md5': base64.b64encode(
                    hashlib.md5(body).digest()).decode()})


def raw(client, bucket, words):
    given = json.loads(words)
    path = '/' + bucket + ('/' + given['key'] if given.get('key') else '')
    status, headers, body = client.request(
        given.get('method', 'GET'), path, sorted(given.get('query', {}).items()),
        given.get('body', '').encode(), given.get('headers', {}))
    print(json.dumps({'status': status, 'body': body.decode('utf-8', 'replace'),
                      'headers': {n.lower(): v for n, v in headers.items()}}))


def main(argv):
    sys.stdin.reconfigure(newline='\n')     # a CR in a key is a CR
    if len(argv) < 2:
        raise SystemExit(__doc__)
    verb, bucket, rest = argv[0], argv[1], argv[2:]
    client = Client()
    if verb == 'mkbucket':
        client.call('PUT', '/' + bucket)
    elif verb == 'put-many':
        lines = sys.stdin.read().split('\n')
        keys = [from_line(x) for x in lines if x]
        print(put_many(bucket, keys, int(rest[0]) if rest else 8))
    elif verb == 'ls':
        keys = client.list(bucket, rest[0] if rest else '')
        sys.stdout.write(''.join(
            x + '\n' for x in sorted(to_line(k) for k in keys)))
    elif verb == 'rm':
        for key in rest:
            client.call('DELETE', '/%s/%s' % (bucket, key))
    elif verb == 'head':
        status, headers, _ = client.request(
            'HEAD', '/%s/%s' % (bucket, rest[0]))
        print(status, headers.get('ETag', ''), headers.get('Content-Length'))
        return 0 if status == 200 else 1
    elif verb == 'versions':
        body = client.call('GET', '/' + bucket,
                           [('prefix', rest[0]), ('versions', '')])
        for entry in ElementTree.fromstring(body):
            fields = {f.tag.rpartition('}')[2]: f.text for f in entry}
            if entry.tag.endswith(('Version', 'DeleteMarker')) \
                    and fields['Key'] == rest[0]:
                print(fields['VersionId'])
    elif verb == 'versioning':
        versioning(client, bucket, rest[0] if rest else None)
    elif verb == 'upload':
        upload(client, bucket, rest[0], [int(n) for n in rest[1:]])
    elif verb == 'lifecycle':
        lifecycle(client, bucket, rest[0] if rest else None)
    elif verb == 'policy':
        policy(client, bucket, rest[0])
    elif verb == 'raw':
        raw(client, bucket, rest[0])
    else:
        raise SystemExit(__doc__)
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except (S3Error, OSError) as error:
        raise SystemExit('bucket.py: %s' % error)
