"""peer_xml.py: answers that no S3 store gives and an attacker might.

Every document here claims, in words that a careless reader takes in, that the
keys asked for were deleted; none of them is a DeleteResult that may be
believed.  The peer did nothing: a client that confirms a key from one of them
has lost an object.
"""
import peer_s3

DEPTH = 100000
BOMB_LEVELS = 30                        # 10 to the 30th characters
LONG = 1024 * 1024


def claims(keys):
    return ''.join('<Deleted>%s</Deleted>' % peer_s3.element('Key', k)
                   for k in keys)


def entities():
    lines = ['<!ENTITY l0 "lol">']
    for n in range(1, BOMB_LEVELS):
        lines.append('<!ENTITY l%d "%s">' % (n, '&l%d;' % (n - 1) * 10))
    return '<!DOCTYPE DeleteResult [%s]>' % ''.join(lines)


def result(inner, before='', after=''):
    return '%s<DeleteResult>%s</DeleteResult>%s' % (before, inner, after)


def wrong_key(keys, form):
    return result(''.join('<Deleted><Key>%s</Key></Deleted>'
                          % form % peer_s3.text(k) for k in keys))


# name -> a function of the keys asked for, giving text or bytes.
DOCUMENTS = {
    'truncated': lambda k: result(claims(k))[:-len('</DeleteResult>')],
    'cut in a tag': lambda k: result(claims(k))[:-1],
    'unclosed': lambda k: '<DeleteResult>' + claims(k) + '<Deleted>',
    'crossed': lambda k: result(
        ''.join('<Deleted><Key>%s</Deleted></Key>' % peer_s3.text(x)
                for x in k)),
    'nested': lambda k: result(claims(k) + '<a>' * DEPTH + '</a>' * DEPTH),
    'nested before': lambda k: '<a>' * DEPTH + result(claims(k))
    + '</a>' * DEPTH,
    'entity bomb': lambda k: result(
        claims(k) + '<Message>&l%d;</Message>' % (BOMB_LEVELS - 1),
        before=entities()),
    'entity in a key': lambda k: result(
        '<Deleted><Key>&k;</Key></Deleted>', before='<!DOCTYPE DeleteResult '
        '[<!ENTITY k "%s">]>' % peer_s3.text(k[0] if k else '')),
    'external entity': lambda k: result(
        claims(k) + '<Message>&x;</Message>',
        before='<!DOCTYPE DeleteResult '
        '[<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
    'external subset': lambda k: result(
        claims(k), before='<!DOCTYPE DeleteResult SYSTEM '
        '"http://127.0.0.1:1/x.dtd">'),
    'undefined entity': lambda k: result(claims(k) + '&nope;'),
    'two roots': lambda k: result(claims(k)) + result(claims(k)),
    'text behind': lambda k: result(claims(k), after='and so on'),
    'NUL behind': lambda k: result(claims(k), after='\0'),
    'another root': lambda k: '<DeleteResults>' + claims(k)
    + '</DeleteResults>',
    'a root around': lambda k: '<html>' + result(claims(k)) + '</html>',
    'a level lower': lambda k: result('<Result>' + claims(k) + '</Result>'),
    'in a comment': lambda k: result('<!--' + claims(k) + '-->'),
    'in CDATA': lambda k: result('<![CDATA[' + claims(k) + ']]>'),
    'elements in a key': lambda k: wrong_key(k, '%s<b/>'),
    'a blank behind each key': lambda k: wrong_key(k, '%s '),
    'another case': lambda k: result(claims(x.upper() for x in k)),
    'coded as in a URL': lambda k: result(
        claims(x.replace('/', '%2F') for x in k)),
    'two keys in one': lambda k: result(''.join(
        '<Deleted><Key>x</Key>%s</Deleted>' % peer_s3.element('Key', x)
        for x in k)),
    'keys run together': lambda k: result(
        '<Deleted>%s</Deleted>' % peer_s3.element('Key', ''.join(k))),
    'a very long key': lambda k: result(
        claims(k) + '<Deleted><Key>%s</Key></Deleted>' % ('x' * LONG)),
    'UTF-16': lambda k: result(claims(k)).encode('utf-16'),
    'no UTF-8': lambda k: result(claims(k) + 'x').encode().replace(
        b'>x<', b'>\xff<'),
    'an error beside each': lambda k: result(claims(k) + ''.join(
        '<Error>%s<Code>InternalError</Code></Error>'
        % peer_s3.element('Key', x) for x in k)),
    'plain text': lambda k: ' '.join(k) + ' deleted',
    'JSON': lambda k: '{"Deleted": ["%s"]}' % '", "'.join(k),
}


def document(name, keys):
    made = DOCUMENTS[name](keys or [])
    return made if isinstance(made, bytes) else made.encode()
