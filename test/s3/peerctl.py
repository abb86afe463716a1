#!/usr/bin/python3
"""peerctl.py DIR COMMAND...: talk to the strict S3 peer that runs in DIR.

  start [PEER OPTION]...   start peer.py detached, wait until it listens;
                           prints the endpoint
  stop                     stop it by its pid, wait until it is gone
  faults JSON | add JSON   replace, or append to, the script of faults
  faults | clear           show what is left of it; empty it
  held                     requests that wait for a release
  wait-held N [SECONDS]    wait until N requests are held (10 s)
  release [NAME]           let them go
  put BUCKET               keys from stdin, as bucket.py put-many
  ls BUCKET                keys, as bucket.py ls, but asking nobody's leave
  count                    keys per bucket, connections, requests, answers
  set JSON                 {"clock": seconds ahead, "region", "secret", "key",
                           "token", "md5": "require|refuse|ignore",
                           "too_large": status, "max_body": bytes of a ?delete,
                           "rate": keys a second under each prefix,
                           "versioning": {BUCKET: STATE},
                           "mfa_delete": {BUCKET: BOOLEAN},
                           "locked": {BUCKET: [[KEY, VERSION]]},
                           "page": versions on a page of their list,
                           "conditions": "honour|ignore|refuse", of a PUT or
                           a DELETE,
                           "acls": "on|off|none", "keeps_acls": BOOLEAN,
                           "demand": {header of every request: value},
                           "age": seconds that every object grows older,
                           "tls": [certificate, key] shown from now on}
  cat BUCKET KEY           an object's bytes, asking nobody's leave
  versions BUCKET KEY      the ids of its versions, oldest first
  journal [PHASE]          the journal's lines; with PHASE only those
"""
import http.client
import json
import os
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True          # the tree must stay clean
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import bucket                           # noqa: E402


def read(directory, name):
    with open(os.path.join(directory, name)) as f:
        return f.read().strip()


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit('peerctl.py: gave up waiting for ' + what)
        time.sleep(0.02)


def ask(directory, method, path, value=None):
    connection = http.client.HTTPConnection(
        '127.0.0.1', int(read(directory, 'control_port')), timeout=60)
    connection.request(method, path,
                       json.dumps(value) if value is not None else None)
    answer = connection.getresponse()
    result = json.loads(answer.read())
    connection.close()
    if answer.status != 200:
        raise SystemExit('peerctl.py: %s' % result['error'])
    return result


def start(directory, options):
    os.makedirs(directory, exist_ok=True)
    for name in ('port', 'control_port', 'pid'):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            os.unlink(path)
    with open(os.path.join(directory, 'log'), 'a') as log:
        child = subprocess.Popen(
            ['/usr/bin/python3', os.path.join(HERE, 'peer.py'), '--dir',
             directory] + options, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True)
    port = os.path.join(directory, 'port')
    wait_for(lambda: os.path.exists(port) or child.poll() is not None, 20,
             'the peer')
    if not os.path.exists(port):
        raise SystemExit('peerctl.py: the peer did not start:\n'
                         + read(directory, 'log'))
    print('%s://127.0.0.1:%s' % ('https' if '--tls' in options else 'http',
                                 read(directory, 'port')))


def stop(directory):
    if not os.path.exists(os.path.join(directory, 'pid')):
        return
    pid = int(read(directory, 'pid'))

    def gone():
        # A zombie still has a pid; its state tells that it is over.
        try:
            with open('/proc/%d/stat' % pid) as f:
                return f.read().rpartition(')')[2].split()[0] == 'Z'
        except OSError:
            return True
    if not gone():
        os.kill(pid, signal.SIGTERM)
        wait_for(gone, 20, 'the peer to stop')


def show(value):
    print(json.dumps(value, indent=1, sort_keys=True))


def journal(directory, phase):
    with open(os.path.join(directory, 'journal')) as f:
        for line in f:
            if phase in (None, json.loads(line)['phase']):
                sys.stdout.write(line)


def main(argv):
    sys.stdin.reconfigure(newline='\n')     # a CR in a key is a CR
    if len(argv) < 2:
        raise SystemExit(__doc__)
    d, verb, rest = os.path.abspath(argv[0]), argv[1], argv[2:]
    first = rest[0] if rest else None
    if verb == 'start':
        start(d, rest)
    elif verb == 'stop':
        stop(d)
    elif verb == 'faults' and rest:
        ask(d, 'POST', '/faults', json.loads(first))
    elif verb == 'add':
        ask(d, 'POST', '/faults/add', json.loads(first))
    elif verb == 'clear':
        ask(d, 'POST', '/faults', [])
    elif verb in ('faults', 'held', 'count'):
        show(ask(d, 'GET', '/' + verb))
    elif verb == 'wait-held':
        wait_for(lambda: len(ask(d, 'GET', '/held')) >= int(first),
                 float(rest[1]) if len(rest) > 1 else 10, 'held requests')
    elif verb == 'release':
        print(ask(d, 'POST', '/release', first))
    elif verb == 'put':
        keys = [bucket.from_line(x) for x in sys.stdin.read().split('\n')]
        print(ask(d, 'POST', '/put', {'bucket': first,
                                      'keys': [k for k in keys if k]}))
    elif verb == 'ls':
        keys = ask(d, 'GET', '/store').get(first, [])
        sys.stdout.write(''.join(
            x + '\n' for x in sorted(bucket.to_line(k) for k in keys)))
    elif verb == 'cat':
        sys.stdout.write(ask(d, 'POST', '/object', {
            'bucket': first, 'key': rest[1]}) or '')
    elif verb == 'versions':
        print('\n'.join(ask(d, 'POST', '/versions',
                            {'bucket': first, 'key': rest[1]})))
    elif verb == 'set':
        ask(d, 'POST', '/set', json.loads(first))
    elif verb == 'journal':
        journal(d, first)
    else:
        raise SystemExit(__doc__)


if __name__ == '__main__':
    main(sys.argv[1:])
