"""sigv4.py: AWS Signature Version 4 for S3, in Python's own library alone.

Used by both sides of the tests: bucket.py signs with it, peer.py computes
what a request's signature ought to be.  bucket.py talks to a real store as
well, so a mistake here shows there.
"""
import hashlib
import hmac
import urllib.parse

EMPTY = hashlib.sha256(b'').hexdigest()


def quote(text, safe=''):
    """AWS's URI encoding: all but A-Z a-z 0-9 - . _ ~ as %XX."""
    return urllib.parse.quote(text, safe=safe + '-._~',
                              errors='surrogateescape')


def unquote(text, plus=False):
    if plus:
        text = text.replace('+', ' ')
    return urllib.parse.unquote(text, errors='surrogateescape')


def parse_query(query):
    """Pairs of a raw query string, in order, decoded; no '=' means ''."""
    pairs = []
    for part in query.split('&') if query else []:
        name, _, value = part.partition('=')
        pairs.append((unquote(name, True), unquote(value, True)))
    return pairs


def canonical_request(method, path, pairs, headers, signed, payload_hash):
    """path is decoded; headers maps lower-case names to lists of values."""
    query = '&'.join('%s=%s' % p for p in sorted(
        (quote(n), quote(v)) for n, v in pairs))
    lines = ''.join('%s:%s\n' % (h, ','.join(
        ' '.join(v.split()) for v in headers.get(h, ['']))) for h in signed)
    return '\n'.join([method, quote(path, '/') or '/', query, lines,
                      ';'.join(signed), payload_hash])


def signature(secret, date, region, canonical):
    """date is the x-amz-date, such as 20260102T030405Z."""
    scope = '%s/%s/s3/aws4_request' % (date[:8], region)
    text = '\n'.join(['AWS4-HMAC-SHA256', date, scope, hashlib.sha256(
        canonical.encode('utf-8', 'surrogateescape')).hexdigest()])
    key = ('AWS4' + secret).encode()
    for step in (date[:8], region, 's3', 'aws4_request'):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def sign(method, path, pairs, headers, body, key, secret, region, date):
    """Add x-amz-date, x-amz-content-sha256 and Authorization to headers, a
    dict of lower-case names that already has host; all of them are signed."""
    headers['x-amz-date'] = date
    headers.setdefault('x-amz-content-sha256',
                       hashlib.sha256(body).hexdigest())
    signed = sorted(headers)
    canonical = canonical_request(
        method, path, pairs, {h: [headers[h]] for h in signed}, signed,
        headers['x-amz-content-sha256'])
    headers['authorization'] = (
        'AWS4-HMAC-SHA256 Credential=%s/%s/%s/s3/aws4_request, '
        'SignedHeaders=%s, Signature=%s' % (
            key, date[:8], region, ';'.join(signed),
            signature(secret, date, region, canonical)))
