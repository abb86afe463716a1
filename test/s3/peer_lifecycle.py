"""peer_lifecycle.py: ?lifecycle as the strict S3 peer has it, and as odd stores
have it.

The document is kept as it was sent, in its order and with all that is in it.
Store.lifecycle is how the store behaves:

  know      as S3 does: MalformedXML for an empty document, for a mixture of
            the two versions, for a rule without ID or Status; Content-MD5, or
            a SHA-256 checksum, is needed
  bucket    the subresource is not known: GET lists the bucket, PUT is
            MalformedXML, DELETE deletes the bucket
  none      NotImplemented
  plain     as know, but transitions are InvalidStorageClass and noncurrent
            versions are MalformedXML
  careless  as know, but of what it is sent it keeps no Filter and no element
            named New...

Store.lifecycle_lag is how many GETs still show what was there before the last
change.
"""
import re
import xml.etree.ElementTree as ElementTree

XMLNS = 'http://s3.amazonaws.com/doc/2006-03-01/'
MINIMUM = 'x-amz-transition-default-minimum-object-size'


class Malformed(Exception):
    pass


def local(element):
    return element.tag.rpartition('}')[2]


def check(body):
    """Raise Malformed unless S3 would take it."""
    if b'<!' in body:
        raise Malformed('no DTD is allowed')
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as fault:
        raise Malformed(str(fault))
    if local(root) != 'LifecycleConfiguration' or not len(root):
        raise Malformed('no LifecycleConfiguration with rules')
    versions, ids = set(), []
    for rule in root:
        if local(rule) != 'Rule':
            continue
        parts = {local(e): e for e in rule}
        if not {'ID', 'Status'} <= set(parts):
            raise Malformed('a rule lacks ID or Status')
        ids.append(parts['ID'].text)
        versions |= {'Filter', 'Prefix'} & set(parts)
        if len(parts.get('Filter', ())) > 1:
            raise Malformed('a Filter has two conditions and no And')
    if len(versions) > 1:
        raise Malformed('Filter and Prefix are mixed')
    if len(set(ids)) != len(ids):
        raise Malformed('two rules have one ID')


def careless(body):
    text = re.sub(r'<Filter>.*?</Filter>', '<Prefix></Prefix>', body.decode())
    return re.sub(r'<(New\w*)>.*?</\1>', '', text).encode()


def serve(store, bucket, request, lists):
    """(status, code, message, body, headers); lists() answers as for a GET of
    the bucket.  None where the bucket is to be deleted."""
    how, method = store.lifecycle, request.method
    if how == 'none':
        return 501, 'NotImplemented', '', b'', {}
    if how == 'bucket':
        if method == 'GET':
            return lists()
        if method == 'PUT':
            return 400, 'MalformedXML', 'The XML you provided was not ' \
                'well-formed', b'', {}
        return None
    found = getattr(bucket, 'lifecycle', None)
    if method == 'GET':
        if store.lifecycle_lag > 0 and hasattr(bucket, 'lifecycle_before'):
            store.lifecycle_lag -= 1
            found = bucket.lifecycle_before
        if not found:
            return 404, 'NoSuchLifecycleConfiguration', '', b'', {}
        return 200, '', '', found[0], {MINIMUM: found[1]} if found[1] else {}
    if method == 'DELETE':
        bucket.lifecycle_before, bucket.lifecycle = found, None
        return 204, '', '', b'', {}
    return put(store, bucket, request)


def put(store, bucket, request):
    body = request.body
    if not request.header('content-md5') and \
            not request.header('x-amz-checksum-sha256'):
        return 400, 'InvalidRequest', 'Missing required header: ' \
            'Content-MD5', b'', {}
    try:
        check(body)
    except Malformed as fault:
        return 400, 'MalformedXML', str(fault), b'', {}
    if store.lifecycle == 'plain':
        if b'<Transition>' in body:
            return 400, 'InvalidStorageClass', 'no such class', b'', {}
        if b'<Noncurrent' in body:
            return 400, 'MalformedXML', 'unknown element', b'', {}
    if store.lifecycle == 'careless':
        body = careless(body)
    bucket.lifecycle_before = getattr(bucket, 'lifecycle', None)
    bucket.lifecycle = (body, request.header(MINIMUM))
    return 200, '', '', b'', {}
