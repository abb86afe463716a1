"""peer_copy.py: what an object of the strict S3 peer has beside its bytes:
headers, tags, encryption, access control; and copies, which keep them.

A bucket's extras: key -> {"headers": {name: value}, "tags": text,
"grants": [[kind, who, permission]]}, of the current version.
"""
import hashlib
import re
import xml.etree.ElementTree as ElementTree

import peer_s3
import sigv4

OWNER = 'peer-owner'
EVERYBODY = 'http://acs.amazonaws.com/groups/global/AllUsers'
PRIVATE = [['ID', OWNER, 'FULL_CONTROL']]
KEPT = re.compile('cache-control|content-(type|language|disposition|encoding)'
                  '|expires|x-amz-meta-.*|x-amz-server-side-encryption.*')
XSI = 'http://www.w3.org/2001/XMLSchema-instance'
TYPES = {'ID': 'CanonicalUser', 'URI': 'Group',
         'EmailAddress': 'AmazonCustomerByEmail'}


def extras(bucket, key):
    return bucket.extras.get(
        key, {'headers': {}, 'tags': '', 'grants': PRIVATE})


def headers_of(request):
    return {'Content-Type' if n == 'content-type' else n: request.header(n)
            for n in request.headers if KEPT.fullmatch(n)}


def canned(store, request):
    """The grants that a PUT asks for by x-amz-acl."""
    word = request.header('x-amz-acl')
    if word and store.acls != 'on':
        raise peer_s3.Refusal(400, 'AccessControlListNotSupported')
    if word in ('', 'private'):
        return PRIVATE
    if word == 'public-read':
        return PRIVATE + [['URI', EVERYBODY, 'READ']]
    raise peer_s3.Refusal(501, 'NotImplemented', word)


def write(store, bucket, key, body, extra):
    """Put an object; returns its version and ETag."""
    vid = bucket.push(key, body, store.now())
    version = bucket.objects[key][-1]
    mode = extra['headers'].get('x-amz-server-side-encryption', '')
    if mode.startswith('aws:'):         # then it is no digest of the bytes
        version[1] = hashlib.md5(('%s %d' % (key, bucket.serial)).encode()
                                 ).hexdigest()
    bucket.extras[key] = extra
    return vid, version[1]


def put(store, bucket, request):
    extra = {'headers': headers_of(request),
             'tags': request.header('x-amz-tagging'),
             'grants': canned(store, request)}
    vid, etag = write(store, bucket, request.key, request.body, extra)
    return peer_s3.Answer(200, headers={
        'ETag': '"%s"' % etag,
        **({'x-amz-version-id': vid} if bucket.versioning else {})})


def copy(store, bucket, request):
    source = sigv4.unquote(request.header('x-amz-copy-source'))
    name, _, key = source.lstrip('/').partition('/')
    origin = store.buckets.get(name)
    found = origin and origin.live(key)
    if not found:
        raise peer_s3.Refusal(404, 'NoSuchKey')
    match = request.header('x-amz-copy-source-if-match')
    if match and store.conditions == 'honour' and match != '"%s"' % found[1]:
        raise peer_s3.Refusal(412, 'PreconditionFailed')
    for what in ('metadata', 'tagging'):
        if request.header('x-amz-%s-directive' % what) not in ('', 'COPY'):
            raise peer_s3.Refusal(501, 'NotImplemented', what)
    old = extras(origin, key)
    # Encryption and access control are not copied: who wants them says so.
    kept = {n: v for n, v in old['headers'].items()
            if not n.startswith('x-amz-server-side-')}
    extra = {'headers': {**kept, **{
        n: v for n, v in headers_of(request).items()
        if n.startswith('x-amz-server-side-')}},
        'tags': old['tags'], 'grants': canned(store, request)}
    _, etag = write(store, bucket, request.key, found[2], extra)
    return peer_s3.Answer(200, peer_s3.document(
        'CopyObjectResult',
        peer_s3.element('LastModified', peer_s3.list_date(store.now()))
        + peer_s3.element('ETag', '"%s"' % etag)))


def get_tags(bucket, key):
    pairs = sigv4.parse_query(extras(bucket, key)['tags'])
    return peer_s3.Answer(200, peer_s3.document('Tagging', '<TagSet>%s</TagSet>'
                          % ''.join('<Tag>%s%s</Tag>' % (
                              peer_s3.element('Key', n),
                              peer_s3.element('Value', v)) for n, v in pairs)))


def get_acl(store, bucket, key):
    grants = extras(bucket, key)['grants'] if store.acls == 'on' else PRIVATE
    return peer_s3.Answer(200, peer_s3.document(
        'AccessControlPolicy',
        '<Owner>%s</Owner><AccessControlList>%s</AccessControlList>' % (
            peer_s3.element('ID', OWNER), ''.join(
                '<Grant><Grantee xmlns:xsi="%s" xsi:type="%s">%s</Grantee>%s'
                '</Grant>' % (XSI, TYPES[kind], peer_s3.element(kind, who),
                              peer_s3.element('Permission', permission))
                for kind, who, permission in grants))))


def put_acl(store, bucket, request):
    if store.acls == 'off':
        raise peer_s3.Refusal(400, 'AccessControlListNotSupported')
    if not request.header('content-md5') and \
            not request.header('x-amz-checksum-sha256'):
        raise peer_s3.Refusal(400, 'InvalidRequest',
                              'Missing required header: Content-MD5')
    try:
        root = ElementTree.fromstring(request.body)
    except ElementTree.ParseError as fault:
        raise peer_s3.Refusal(400, 'MalformedACLError', str(fault))
    ns = '{%s}' % peer_s3.XMLNS
    if root.tag != ns + 'AccessControlPolicy' or \
            root.findtext('%sOwner/%sID' % (ns, ns)) != OWNER:
        raise peer_s3.Refusal(403, 'AccessDenied', 'another owner')
    grants = []
    for grant in root.iter(ns + 'Grant'):
        grantee = grant.find(ns + 'Grantee')
        who = [[e.tag[len(ns):], e.text] for e in grantee]
        if len(who) != 1 or TYPES.get(who[0][0]) != \
                grantee.get('{%s}type' % XSI):
            raise peer_s3.Refusal(400, 'MalformedACLError')
        grants.append(who[0] + [grant.findtext(ns + 'Permission')])
    if not store.keeps_acls:
        return peer_s3.Answer(200)
    bucket.extras[request.key] = {**extras(bucket, request.key),
                                  'grants': grants}
    return peer_s3.Answer(200)


def act(store, bucket, request):
    """The answer to a request that is about these things, or None."""
    method, query = request.method, request.query
    if 'acl' in query and request.key:
        if store.acls == 'none':
            raise peer_s3.Refusal(501, 'NotImplemented')
        if not bucket.live(request.key):
            raise peer_s3.Refusal(404, 'NoSuchKey')
        if method == 'GET':
            return get_acl(store, bucket, request.key)
        return put_acl(store, bucket, request)
    if method == 'GET' and 'tagging' in query:
        return get_tags(bucket, request.key)
    if method == 'PUT' and request.header('x-amz-copy-source'):
        return copy(store, bucket, request)
    return None


def may_read(store, request):
    """May anybody, without a signature?"""
    bucket = store.buckets.get(request.bucket)
    return (store.acls == 'on'
            and request.method in ('GET', 'HEAD') and not request.query
            and bucket is not None and bucket.live(request.key)
            and ['URI', EVERYBODY, 'READ'] in
            extras(bucket, request.key)['grants'])


def check_demands(store, request):
    """Headers that every request has to have, for the one or other bucket."""
    for name, value in store.demand.items():
        if request.header(name) != value:
            raise peer_s3.Refusal(403, 'AccessDenied', 'no ' + name)
    source = request.header('x-amz-copy-source')
    owner = store.demand.get('x-amz-expected-bucket-owner')
    if source and owner and \
            request.header('x-amz-source-expected-bucket-owner') != owner:
        raise peer_s3.Refusal(403, 'AccessDenied', 'no owner of the source')
