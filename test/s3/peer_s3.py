"""peer_s3.py: what the strict S3 peer knows about S3.

Takes a whole request, gives a whole answer; knows no socket.  The order of
checks is that of a real store: credentials, region, clock, signature, body,
then the verb.  Where real stores differ the strictest one was taken.
"""
import base64
import binascii
import calendar
import hashlib
import re
import threading
import time
import xml.etree.ElementTree as ElementTree

import peer_lifecycle
import peer_copy
import sigv4

MAX_BODY = 1024 * 1024
MAX_KEYS = 1000
MAX_KEY_BYTES = 1024
XMLNS = 'http://s3.amazonaws.com/doc/2006-03-01/'
AUTH = re.compile(
    r'AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([^/,]+)/([^/,]+)/'
    r'aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$')


class Refusal(Exception):
    def __init__(self, status, code, message='', headers=None, extra=None):
        self.status, self.code, self.message = status, code, message or code
        self.headers, self.extra = headers or {}, extra or {}
        super().__init__(code)


class Request:
    """A request as read: target is raw, path and pairs are decoded."""

    def __init__(self, method, target, headers, body):
        self.method, self.target = method, target
        self.headers, self.body = headers, body
        raw, _, query = target.partition('?')
        self.path = sigv4.unquote(raw)
        self.pairs = sigv4.parse_query(query)
        self.query = dict(self.pairs)
        self.bucket = self.key = ''
        self.keys = None                # of ?delete

    def header(self, name):
        return ','.join(self.headers.get(name, [])).strip()

    def find_bucket(self, domains):
        host = re.sub(r':\d+$', '', self.header('host')).lower()
        for domain in domains:
            if host.endswith('.' + domain):
                self.bucket, self.key = host[:-len(domain) - 1], self.path[1:]
                return
        self.bucket, _, self.key = self.path[1:].partition('/')

    def note_keys(self):
        """For the journal and for matching faults, before any check."""
        if self.method == 'POST' and 'delete' in self.query:
            try:
                self.keys = [k for k, _, _ in parse_delete(self.body)[0]]
            except Refusal:
                self.keys = None


class Answer:
    def __init__(self, status=200, body=b'', headers=None, code=''):
        self.status, self.body, self.code = status, body, code
        self.headers = headers or {}


def text(value):
    """XML text; a carriage return must not become a line feed."""
    for a, b in (('&', '&amp;'), ('<', '&lt;'), ('>', '&gt;'),
                 ('\r', '&#13;')):
        value = value.replace(a, b)
    return value


def document(root, inner, namespace=True):
    return ('<?xml version="1.0" encoding="UTF-8"?>\n<%s%s>%s</%s>' % (
        root, ' xmlns="%s"' % XMLNS if namespace else '', inner, root)
    ).encode('utf-8', 'surrogateescape')


def element(name, value):
    return '<%s>%s</%s>' % (name, text(str(value)), name)


def error_answer(status, code, message='', headers=None, extra=None):
    inner = element('Code', code) + element('Message', message or code)
    inner += ''.join(element(n, v) for n, v in (extra or {}).items())
    return Answer(status, document('Error', inner, False), headers or {}, code)


def parse_delete(body):
    """((key, version or None, ETag or None), ...), quiet; MalformedXML if it
    is not so."""
    if b'<!' in body.replace(b'<![CDATA[', b''):
        raise Refusal(400, 'MalformedXML', 'no DTD is allowed')
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as fault:
        raise Refusal(400, 'MalformedXML', str(fault))
    name = lambda e: e.tag.split('}')[-1]   # noqa: E731
    if name(root) != 'Delete':
        raise Refusal(400, 'MalformedXML', 'the root is no Delete')
    keys, quiet = [], False
    for child in root:
        if name(child) == 'Quiet':
            quiet = (child.text or '').strip() == 'true'
        elif name(child) == 'Object':
            parts = {name(e): e.text or '' for e in child}
            if set(parts) - {'Key', 'VersionId', 'ETag'} or \
                    not parts.get('Key'):
                raise Refusal(400, 'MalformedXML', 'an Object is odd')
            keys.append((parts['Key'], parts.get('VersionId'),
                         parts.get('ETag')))
        else:
            raise Refusal(400, 'MalformedXML', 'unknown ' + name(child))
    return keys, quiet


def order(key):
    return key.encode('utf-8', 'surrogateescape')


class Bucket:
    """key -> versions, oldest first; a version is [id, etag, body, mtime],
    and a delete marker has None as its body."""

    def __init__(self):
        self.objects, self.versioning, self.serial = {}, '', 0
        self.mfa_delete = False
        self.locked = set()             # (key, version) under retention
        self.uploads = []               # [key, id, class, sizes of parts]
        self.extras = {}                # key -> see peer_copy.py

    @staticmethod
    def tell(*change):
        """Called for each change, before it is answered for."""

    def __getstate__(self):
        return {n: v for n, v in self.__dict__.items() if n != 'tell'}

    def live(self, key):
        versions = self.objects.get(key)
        if versions and versions[-1][2] is not None:
            return versions[-1]
        return None

    def live_keys(self):
        # Bytes, not code points, order keys in S3.
        return sorted((k for k in self.objects if self.live(k)), key=order)

    def set_versioning(self, state):
        self.tell('set_versioning', state)
        self.versioning = state

    def forget(self, key):
        """Every version of it, and every marker."""
        self.tell('forget', key)
        self.objects.pop(key, None)

    def push(self, key, body, now):
        self.tell('push', key, body, now)
        self.extras.pop(key, None)
        self.serial += 1
        vid = 'v%06d' % self.serial if self.versioning == 'Enabled' else 'null'
        etag = '' if body is None else hashlib.md5(body).hexdigest()
        old = self.objects.get(key, [])
        if not self.versioning:
            old = []
        elif vid == 'null':
            old = [v for v in old if v[0] != 'null']
        self.objects[key] = old + [[vid, etag, body, now]]
        return vid

    def delete(self, key, version, now):
        """(version id or None, a marker was written or removed)"""
        if version is not None:
            self.tell('delete', key, version, now)
            kept = [v for v in self.objects.get(key, []) if v[0] != version]
            gone = [v for v in self.objects.get(key, []) if v[0] == version]
            self.objects[key] = kept
            if not kept:
                del self.objects[key]
            return version, bool(gone) and gone[0][2] is None
        if self.versioning:
            return self.push(key, None, now), True
        self.tell('delete', key, version, now)
        self.objects.pop(key, None)
        return None, False


class Store:
    def __init__(self, options):
        self.buckets = {b: Bucket() for b in options.bucket}
        self.key, self.secret = options.key, options.secret
        self.token, self.region = options.token, options.region
        self.clock = 0.0                # our clock minus the machine's
        self.md5 = 'require'            # or 'refuse', or 'ignore'
        self.too_large = 413
        self.max_body = MAX_BODY
        self.rate = 0                   # of each prefix; 0: as it comes
        self.spent = {}                 # prefix: keys left, and when it was
        self.page = 1000                # versions on a page of their list
        self.conditions = 'honour'      # or 'ignore', or 'refuse'
        self.lifecycle = 'bucket'       # see peer_lifecycle.py
        self.acls = 'on'                # or 'off', or 'none': unknown
        self.keeps_acls = True
        self.demand = {}                # headers of every request
        self.lifecycle_lag = 0
        self.lock = threading.Lock()
        self.watch = lambda name, bucket: bucket    # sees each new bucket

    def new_bucket(self, name):
        """The bucket of that name, made if there is none."""
        if name not in self.buckets:
            self.buckets[name] = self.watch(name, Bucket())
        return self.buckets[name]

    def now(self):
        return time.time() + self.clock

    def answer(self, request, fault):
        """Check everything, act, answer.  fault may bend a ?delete."""
        try:
            if request.header('authorization') or \
                    not peer_copy.may_read(self, request):
                self.check_signature(request)
                self.check_body(request)
                peer_copy.check_demands(self, request)
            with self.lock:
                return self.act(request, fault)
        except Refusal as r:
            return error_answer(r.status, r.code, r.message, r.headers,
                                r.extra)

    # Credentials, region, clock, signature

    def check_signature(self, request):
        given = request.header('authorization')
        if not given:
            raise Refusal(403, 'AccessDenied', 'anonymous')
        match = AUTH.match(given)
        if not match:
            raise Refusal(400, 'AuthorizationHeaderMalformed')
        key, day, region, service, names, signature = match.groups()
        if key != self.key:
            raise Refusal(403, 'InvalidAccessKeyId')
        if region != self.region or service != 's3':
            raise Refusal(400, 'AuthorizationHeaderMalformed',
                          "the region '%s' is wrong; expecting '%s'"
                          % (region, self.region),
                          {'x-amz-bucket-region': self.region},
                          {'Region': self.region})
        date = request.header('x-amz-date')
        self.check_clock(date, day)
        self.check_token(request)
        signed = names.split(';')
        self.check_signed_headers(request, signed)
        canonical = sigv4.canonical_request(
            request.method, request.path, request.pairs, request.headers,
            signed, request.header('x-amz-content-sha256'))
        if signature != sigv4.signature(self.secret, date, region, canonical):
            raise Refusal(403, 'SignatureDoesNotMatch')

    # Nobody here may get round an object's retention.
    def check_governance(self, request):
        if request.header('x-amz-bypass-governance-retention'):
            raise Refusal(400, 'InvalidRequest', 'governance bypassed')

    def check_clock(self, date, day):
        try:
            sent = calendar.timegm(time.strptime(date, '%Y%m%dT%H%M%SZ'))
        except ValueError:
            raise Refusal(403, 'AccessDenied', 'x-amz-date is needed')
        if date[:8] != day:
            raise Refusal(400, 'AuthorizationHeaderMalformed',
                          'the day of the scope is not that of x-amz-date')
        if abs(sent - self.now()) > 900:
            raise Refusal(403, 'RequestTimeTooSkewed', '', {}, {
                'ServerTime': time.strftime('%Y-%m-%dT%H:%M:%SZ',
                                            time.gmtime(self.now()))})

    def check_token(self, request):
        token = request.header('x-amz-security-token')
        if self.token and not token or token and not self.token:
            raise Refusal(403, 'InvalidAccessKeyId')
        if self.token and token != self.token:
            raise Refusal(400, 'InvalidToken')

    def check_signed_headers(self, request, signed):
        if signed != sorted(set(signed)):
            raise Refusal(403, 'SignatureDoesNotMatch', 'headers not sorted')
        must = {'host'} | {h for h in request.headers
                           if h.startswith('x-amz-')}
        if must - set(signed):
            raise Refusal(403, 'AccessDenied', 'not signed: '
                          + ', '.join(sorted(must - set(signed))))

    # The body

    def check_body(self, request):
        self.check_governance(request)
        claimed = request.header('x-amz-content-sha256')
        if not re.fullmatch('[0-9a-f]{64}', claimed):
            raise Refusal(400, 'InvalidRequest',
                          'Missing required header: x-amz-content-sha256')
        if claimed != hashlib.sha256(request.body).hexdigest():
            raise Refusal(400, 'XAmzContentSHA256Mismatch')
        proof = self.check_md5(request) | self.check_sha256(request)
        if request.method == 'POST' and 'delete' in request.query:
            if len(request.body) > self.max_body:
                raise Refusal(self.too_large, 'EntityTooLarge')
            if not request.body:
                raise Refusal(400, 'MissingRequestBodyError')
            if not proof and self.md5 != 'ignore':
                raise Refusal(400, 'InvalidRequest',
                              'Missing required header: Content-MD5')

    def check_md5(self, request):
        given = request.header('content-md5')
        if not given or self.md5 == 'ignore':
            return False
        if self.md5 == 'refuse':
            raise Refusal(400, 'InvalidRequest', 'MD5 is not allowed here')
        if decoded(given, 16) != hashlib.md5(request.body).digest():
            raise Refusal(400, 'BadDigest')
        return True

    def check_sha256(self, request):
        given = request.header('x-amz-checksum-sha256')
        if not given:
            return False
        if decoded(given, 32) != hashlib.sha256(request.body).digest():
            raise Refusal(400, 'BadDigest')
        return True

    # Verbs

    def act(self, request, fault):
        method, query = request.method, request.query
        if not request.bucket:
            raise Refusal(501, 'NotImplemented', 'no bucket is named')
        if method == 'PUT' and not request.key and not query:
            self.new_bucket(request.bucket)
            return Answer(200, headers={'Location': '/' + request.bucket})
        bucket = self.buckets.get(request.bucket)
        if bucket is None:
            raise Refusal(404, 'NoSuchBucket')
        if request.key:
            return self.act_on_object(bucket, request)
        if method == 'HEAD':
            return Answer(200, headers={'x-amz-bucket-region': self.region})
        if 'lifecycle' in query and method in ('GET', 'PUT', 'DELETE'):
            served = peer_lifecycle.serve(
                self, bucket, request, lambda: self.list_plainly(bucket,
                                                                 request))
            if served:
                status, code, message, body, headers = served
                if status >= 300 and code:
                    raise Refusal(status, code, message, headers)
                return Answer(status, body, headers)
        if method == 'DELETE':
            # As on a store that does not know ?lifecycle: all is gone.
            del self.buckets[request.bucket]
            return Answer(204)
        if method == 'POST' and 'delete' in query:
            return self.delete_objects(bucket, request, fault)
        if method == 'GET' and 'versioning' in query:
            return Answer(200, document(
                'VersioningConfiguration', bucket.versioning
                and element('Status', bucket.versioning)
                + element('MfaDelete', 'Enabled' if bucket.mfa_delete
                          else 'Disabled')))
        if method == 'GET' and 'uploads' in query:
            return self.list_uploads(bucket, request)
        if method == 'GET' and 'versions' in query:
            return self.list_versions(bucket, request)
        if method == 'PUT' and 'versioning' in query:
            state = re.search(b'<Status>(Enabled|Suspended)</Status>',
                              request.body)
            if not state:
                raise Refusal(400, 'MalformedXML')
            bucket.set_versioning(state.group(1).decode())
            return Answer(200)
        if method == 'GET' and 'location' in query:
            return Answer(200, document(
                'LocationConstraint',
                '' if self.region == 'us-east-1' else text(self.region)))
        if method == 'GET' and query.get('list-type') == '2':
            return self.list_objects(bucket, request)
        raise Refusal(501, 'NotImplemented')

    def act_on_object(self, bucket, request):
        if len(order(request.key)) > MAX_KEY_BYTES:
            raise Refusal(400, 'KeyTooLongError')
        answer = peer_copy.act(self, bucket, request)
        if answer:
            return answer
        if request.method == 'PUT':
            self.check_conditions(bucket, request)
            return peer_copy.put(self, bucket, request)
        if request.method == 'DELETE':
            match = request.header('if-match')
            if match and self.conditions == 'refuse':
                raise Refusal(501, 'NotImplemented')
            code = self.etag_error(bucket, request.key, match)
            if code:
                raise Refusal(412 if code[0] == 'P' else 404, code)
            vid, marker = bucket.delete(
                request.key, request.query.get('versionId'), self.now())
            return Answer(204, headers={
                **({'x-amz-version-id': vid} if vid else {}),
                **({'x-amz-delete-marker': 'true'} if marker else {})})
        if request.method not in ('GET', 'HEAD'):
            raise Refusal(405, 'MethodNotAllowed')
        if 'uploadId' in request.query:
            return self.list_parts(bucket, request)
        found = bucket.live(request.key)
        if not found:
            raise Refusal(404, 'NoSuchKey', '', {
                'x-amz-delete-marker': 'true'}
                if request.key in bucket.objects else {})
        return Answer(200, found[2], {
            'ETag': '"%s"' % found[1], 'Content-Type': 'binary/octet-stream',
            'Last-Modified': http_date(found[3]),
            **peer_copy.extras(bucket, request.key)['headers'],
            **({'x-amz-version-id': found[0]} if bucket.versioning else {})})

    def check_conditions(self, bucket, request):
        """If-Match and If-None-Match: * of a PUT."""
        match = request.header('if-match')
        none = request.header('if-none-match')
        if not match and not none or self.conditions == 'ignore':
            return
        if self.conditions == 'refuse':
            raise Refusal(501, 'NotImplemented', 'a header you provided '
                          'implies functionality that is not implemented')
        found = bucket.live(request.key)
        if none and none != '*' or match and none:
            raise Refusal(501, 'NotImplemented')
        if match and not found:
            raise Refusal(404, 'NoSuchKey')
        if none and found or match and match != '"%s"' % found[1]:
            raise Refusal(412, 'PreconditionFailed')

    def etag_error(self, bucket, key, etag):
        """The condition of a delete: quotes or none, as S3 takes both."""
        found = bucket.live(key)
        if not etag or self.conditions == 'ignore':
            return None
        if not found:
            return 'NoSuchKey'
        return None if etag.strip('"') == found[1] else 'PreconditionFailed'

    def age(self, seconds):
        """Every object was written that much earlier."""
        for bucket in self.buckets.values():
            for versions in bucket.objects.values():
                for version in versions:
                    version[3] -= seconds

    def delete_objects(self, bucket, request, fault):
        keys, quiet = parse_delete(request.body)
        if not 1 <= len(keys) <= MAX_KEYS:
            raise Refusal(400, 'MalformedXML', '%d keys' % len(keys))
        if self.rate:
            self.spend([key for key, _, _ in keys])
        if self.conditions == 'refuse' and any(etag for _, _, etag in keys):
            raise Refusal(400, 'MalformedXML', 'unknown element ETag')
        inner = []
        for key, version, etag in keys:
            code = fault.key_error(key) or self.etag_error(bucket, key, etag)
            if len(key.encode()) > MAX_KEY_BYTES:
                code = 'KeyTooLongError'
            if code:
                if not fault.omits(key):
                    inner.append('<Error>%s%s%s</Error>' % (
                        element('Key', key), element('Code', code),
                        element('Message', '%s: no right to %s/%s' % (
                            code, request.bucket, key)
                            if fault.get('key_message') else code)))
                continue
            if fault.omits(key):        # neither done nor answered for
                continue
            if version and (bucket.mfa_delete
                            or (key, version) in bucket.locked):
                inner.append('<Error>%s%s%s%s</Error>' % (
                    element('Key', key), element('VersionId', version),
                    element('Code', 'AccessDenied'),
                    element('Message', 'Access Denied because object '
                            'protected by object lock.')))
                continue
            vid, marker = bucket.delete(key, version, self.now())
            if not quiet:
                inner.append('<Deleted>%s%s%s</Deleted>' % (
                    element('Key', key),
                    element('VersionId', version) if version else '',
                    '<DeleteMarker>true</DeleteMarker>'
                    + element('DeleteMarkerVersionId', vid)
                    if marker else ''))
        for key in fault.get('extra', []):
            inner.append('<Deleted>%s</Deleted>' % element('Key', key))
        return Answer(200, document('DeleteResult', ''.join(inner)))

    # As S3 counts: each key of a request, under its prefix.  A second's worth
    # may come at once.
    def spend(self, keys):
        now, counts, left = time.monotonic(), {}, {}
        for key in keys:
            prefix = key.partition('/')[0]
            counts[prefix] = counts.get(prefix, 0) + 1
        for prefix, n in counts.items():
            had, at = self.spent.get(prefix, (self.rate, now))
            left[prefix] = min(self.rate, had + (now - at) * self.rate)
            if n > left[prefix]:
                raise Refusal(503, 'SlowDown')
        for prefix, n in counts.items():
            self.spent[prefix] = (left[prefix] - n, now)

    def list_objects(self, bucket, request):
        query = request.query
        if 'delimiter' in query or query.get('encoding-type', 'url') != 'url':
            raise Refusal(501, 'NotImplemented')
        try:
            most = min(int(query.get('max-keys', '1000')), 1000)
        except ValueError:
            raise Refusal(400, 'InvalidArgument', 'max-keys')
        prefix, after = query.get('prefix', ''), query.get('start-after', '')
        if 'continuation-token' in query:
            after = read_token(query['continuation-token'])
        # S3 encodes a space as + here: a client that only knows %20 shows.
        quote = text
        if 'encoding-type' in query:
            quote = lambda s: sigv4.quote(s, '/ ').replace(' ', '+')  # noqa
        found = [k for k in bucket.live_keys()
                 if k.startswith(prefix) and order(k) > order(after)]
        page = found[:most]
        more = len(found) > len(page) and most > 0
        inner = (element('Name', request.bucket)
                 + element('Prefix', quote(prefix))
                 + element('KeyCount', len(page)) + element('MaxKeys', most)
                 + element('IsTruncated', str(more).lower()))
        if 'encoding-type' in query:
            inner += '<EncodingType>url</EncodingType>'
        if more:
            inner += element('NextContinuationToken', make_token(page[-1]))
        for key in page:
            _, etag, body, mtime = bucket.live(key)
            inner += '<Contents><Key>%s</Key>%s%s%s%s</Contents>' % (
                quote(key), element('LastModified', list_date(mtime)),
                element('ETag', '"%s"' % etag), element('Size', len(body)),
                element('StorageClass', 'STANDARD'))
        return Answer(200, document('ListBucketResult', inner))

    def list_plainly(self, bucket, request):
        """What a GET of the bucket gives, whatever else was asked."""
        answer = self.list_objects(bucket, Request('GET', '/x', {}, b''))
        return answer.status, '', '', answer.body, {}

    def list_versions(self, bucket, request):
        """Newest first within a key; pages end anywhere, also within one."""
        query = request.query
        most = min(int(query.get('max-keys', '1000')), self.page)
        prefix = query.get('prefix', '')
        quote = text
        if 'encoding-type' in query:
            quote = lambda s: sigv4.quote(s, '/ ').replace(' ', '+')  # noqa
        found = [(key, v) for key in sorted(
                     (k for k in bucket.objects if k.startswith(prefix)),
                     key=order)
                 for v in reversed(bucket.objects[key])]
        if 'key-marker' in query:
            after = (query['key-marker'], query.get('version-id-marker'))
            places = [i for i, (key, v) in enumerate(found)
                      if (key, v[0]) == after]
            found = found[places[0] + 1:] if places else [
                (key, v) for key, v in found if order(key) > order(after[0])]
        page, more = found[:most], len(found) > most
        inner = (element('Name', request.bucket)
                 + element('Prefix', quote(prefix))
                 + element('MaxKeys', most)
                 + element('IsTruncated', str(more).lower()))
        if more:
            inner += (element('NextKeyMarker', quote(page[-1][0]))
                      + element('NextVersionIdMarker', page[-1][1][0]))
        for key, (vid, etag, body, mtime) in page:
            name = 'DeleteMarker' if body is None else 'Version'
            latest = vid == bucket.objects[key][-1][0]
            inner += '<%s><Key>%s</Key>%s%s%s%s</%s>' % (
                name, quote(key), element('VersionId', vid),
                element('IsLatest', str(latest).lower()),
                element('LastModified', list_date(mtime)),
                '' if body is None else element('ETag', '"%s"' % etag)
                + element('Size', len(body))
                + element('StorageClass', 'STANDARD'), name)
        # Behind the entries, as one store has it.
        if 'encoding-type' in query:
            inner += '<EncodingType>url</EncodingType>'
        return Answer(200, document('ListVersionsResult', inner))


    def list_uploads(self, bucket, request):
        query = request.query
        most = min(int(query.get('max-uploads', '1000')), self.page)
        quote = text
        if 'encoding-type' in query:
            quote = lambda s: sigv4.quote(s, '/ ').replace(' ', '+')  # noqa
        place = lambda u: (order(u[0]), u[1])   # noqa: E731
        found = sorted(bucket.uploads, key=place)
        if 'upload-id-marker' in query and 'key-marker' not in query:
            raise Refusal(400, 'InvalidArgument', 'upload-id-marker')
        if 'key-marker' in query:
            after = (order(query['key-marker']),
                     query.get('upload-id-marker', '\U0010ffff'))
            found = [u for u in found if place(u) > after]
        page, more = found[:most], len(found) > most
        inner = (element('Bucket', request.bucket)
                 + element('KeyMarker', quote(query.get('key-marker', '')))
                 + element('MaxUploads', most)
                 + element('IsTruncated', str(more).lower()))
        if more:
            inner += (element('NextKeyMarker', quote(page[-1][0]))
                      + element('NextUploadIdMarker', page[-1][1]))
        for key, upload, kind, _ in page:
            who = '<ID>x</ID><DisplayName>x</DisplayName>'
            inner += ('<Upload><Key>%s</Key>%s<Initiator>%s</Initiator>'
                      '<Owner>%s</Owner>%s%s</Upload>' % (
                          quote(key), element('UploadId', upload), who, who,
                          element('StorageClass', kind),
                          element('Initiated', list_date(self.now()))))
        if 'encoding-type' in query:
            inner += '<EncodingType>url</EncodingType>'
        return Answer(200, document('ListMultipartUploadsResult', inner))

    def list_parts(self, bucket, request):
        query = request.query
        parts = [sizes for key, upload, _, sizes in bucket.uploads
                 if (key, upload) == (request.key, query['uploadId'])]
        if not parts:
            raise Refusal(404, 'NoSuchUpload')
        most = min(int(query.get('max-parts', '1000')), self.page)
        after = int(query.get('part-number-marker', '0'))
        left = list(enumerate(parts[0], 1))[after:]
        more = len(left) > most
        inner = (element('Bucket', request.bucket)
                 + element('Key', request.key)
                 + element('UploadId', query['uploadId'])
                 + element('PartNumberMarker', after)
                 + element('MaxParts', most)
                 + element('IsTruncated', str(more).lower())
                 + element('StorageClass', 'STANDARD'))
        if more:
            inner += element('NextPartNumberMarker', left[most - 1][0])
        for number, size in left[:most]:
            inner += '<Part>%s%s%s%s</Part>' % (
                element('PartNumber', number),
                element('LastModified', list_date(self.now())),
                element('ETag', '"x"'), element('Size', size))
        return Answer(200, document('ListPartsResult', inner))


def decoded(value, length):
    """A base64 digest's bytes; InvalidDigest unless it has that length."""
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error:
        raw = b''
    if len(raw) != length:
        raise Refusal(400, 'InvalidDigest')
    return raw


# These three bytes make + and / of base64 appear in every token.
def make_token(key):
    return base64.b64encode(b'\xfb\xef\xff' + order(key)).decode()


def read_token(token):
    try:
        raw = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        raw = b''
    if not raw.startswith(b'\xfb\xef\xff'):
        raise Refusal(400, 'InvalidArgument',
                      'The continuation token provided is incorrect')
    return raw[3:].decode('utf-8', 'surrogateescape')


def list_date(when):
    return time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(when))


def http_date(when):
    return time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime(when))
