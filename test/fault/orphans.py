#!/usr/bin/python3
"""orphans.py: orphans listed and deleted, against a model, while all changes.

  orphans.py [--objects N] [--store peer|ceph] [--endpoint URL] [--seed N]

Fills a bucket, scans it, and lets threads at bucket and rows while it is
scanned again and again, a day apart as the database sees it: uploads, uploads
of old keys, deletes, sessions that name existing objects, rows deleted,
purges with and without an undo window, drains.  The model knows when each
object was written and looks at rows, undo and outbox itself.  It tells of each
key whether it must be listed, or must not: what is fresh, referenced, uploaded
again or queued is never an orphan.  What changes under a scan may be seen
either way until the next one; at the end nothing is left open, and the list is
exactly the model's.

Then orphans are deleted too while all that goes on: what is queued and claimed
is uploaded again and named by rows, drains are ended and killed.  reaped.py
says of each object that is gone whether it may be, and of each key that was
queued what must have become of it.  At last the bucket is quiet: exactly the
list goes.  Every fourth seed has a bucket with versions (on the peer).

--endpoint takes a store that runs already and knows ceph.sh's keys.
"""
import argparse
import collections
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True          # the tree must stay clean
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import parts                            # noqa: E402
import reaped                           # noqa: E402
from parts import Violation, bucket     # noqa: E402
from pgwire import SqlError, literal    # noqa: E402
from steady import Steady               # noqa: E402

DEMO = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), 'demo')
ORPHAN_PREFIXES = ('temp_photos/', 'temp_audio/', 'waveforms/',
                   'pdfs/preview_')
GRACE = 7 * 86400                       # voiceframe.orphan_grace
DRAINERS = 2
# Time to come between the look at an object and its delete.
SLOW_LOOKS = {'match': {'verb': 'HEAD'}, 'delay': 0.05, 'times': 0}
CONF = '''
voiceframe.databases = 'none'
voiceframe.s3_credentials_file = '%s'
voiceframe.purge_brake_rows = 1000000000
max_connections = 60
shared_buffers = 64MB
'''

# What a key may be, of a thousand: shares of the bulk.
KINDS = (('kept', 450),                 # a session that stays names it
         ('due', 60),                   # one that the purge takes
         ('app', 30),                   # one that the application deletes
         ('lost', 400),                 # nothing does
         ('outside', 60))               # nothing does, and it is not ours
ODD = ('a+b', 'a b', '%41', 'a\nb', 'a\rb', 'ä', '..', '<&>"', '😀\\n', "'")


class Running(parts.Ceph):
    """One that somebody else started, and stops: of another version.

    It may have been filled before.
    """

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.client().call('PUT', '/' + parts.BUCKET)

    def fill(self, keys):
        had = set(self.client().list(parts.BUCKET))
        self.remove(had - set(keys))
        bucket.put_many(parts.BUCKET, [k for k in keys if k not in had], 16,
                        self.client)

    def stop(self):
        pass


class Written:
    """An object as we wrote it last: when the request began and ended."""

    def __init__(self, began, ended, first):
        self.began, self.ended, self.first = began, ended, first
        self.deleted = None             # (began, ended)


class Model:
    def __init__(self, directory, options):
        self.options, self.lock = options, threading.Lock()
        self.rng = random.Random(options.seed)
        self.written, self.scans = {}, []
        self.pools = collections.defaultdict(list)
        self.tally, self.errors = collections.Counter(), []
        self.figures, self.checks = {}, 0
        self.prefixes, self.honours = ORPHAN_PREFIXES, options.store == 'peer'
        self.versions = self.honours and options.seed % 4 == 0
        self.ledger, self.taken = reaped.Ledger(self), set()
        self.kills = 0
        self.drains = [threading.Lock() for _ in range(DRAINERS)]
        credentials = os.path.join(directory, 'credentials')
        with open(os.open(credentials, os.O_WRONLY | os.O_CREAT, 0o600),
                  'w') as f:
            f.write('[default]\naws_access_key_id = %s\n'
                    'aws_secret_access_key = %s\n'
                    % (parts.KEY, parts.SECRET))
        if options.endpoint:
            self.store = Running(options.endpoint)
        else:
            self.store = (parts.Ceph if options.store == 'ceph'
                          else parts.Peer)(directory)
        try:
            self.cluster = parts.Cluster(
                directory, (CONF % credentials).split('\n'))
        except BaseException:
            self.store.stop()
            raise

    def client(self):
        return bucket.Client(self.store.endpoint, parts.KEY, parts.SECRET,
                             parts.REGION)

    def connect(self):
        return Steady(self.cluster)

    # Setting up

    def set_up(self):
        self.cluster.preload()
        self.cluster.start()
        first = self.cluster.connect('postgres')
        first.query('CREATE DATABASE ' + parts.DATABASE)
        first.close()
        self.cluster.psql('-v', 'indexes=1', '-f',
                          os.path.join(DEMO, 'voiceframe.sql'))
        self.admin = self.connect()
        self.admin.query('CREATE EXTENSION voiceframe_retention')
        self.admin.query('SELECT * FROM vf_configure()')
        self.admin.query(
            "SELECT * FROM vf_configure_bucket(bucket => %s,"
            " region => 'us-east-1', endpoint => %s, path_style => 'path',"
            ' probe => false)' % (literal(parts.BUCKET),
                                  literal(self.store.endpoint)))
        self.admin.query('SELECT vf_resume()')
        self.admin.query(
            'SELECT vf_waive_reference(table_name::regclass, column_name,'
            " 'a log') FROM vf_references WHERE state = 'unknown'")
        self.admin.query(reaped.LEDGER)
        if self.versions:
            self.store.keep_versions()
            self.admin.query('ALTER DATABASE %s SET'
                             ' voiceframe.s3_delete_versions = on'
                             % parts.DATABASE)
        self.fill()

    def fill(self):
        rng, keys, rows = self.rng, [], []
        kinds = [k for k, share in KINDS for _ in range(share)]
        for i in range(self.options.objects):
            kind = rng.choice(kinds)
            prefix = rng.choice(('temp_photos2/', 'pdfs/', 'permanent/')
                                if kind == 'outside' else ORPHAN_PREFIXES)
            key = '%s%06d%s' % (prefix, i, rng.choice(ODD)
                                if rng.random() < 0.02 else '.jpg')
            keys.append(key)
            self.pools[kind].append(key)
            if kind in ('kept', 'due', 'app'):
                rows.append((key, kind))
                self.ledger.named.add(key)
            if kind == 'kept':
                self.ledger.kept_at[key] = 0
        began = time.time()
        if self.options.endpoint:
            self.store.fill(keys)
        elif self.options.store == 'peer':
            for at in range(0, len(keys), 10000):
                self.store.put(keys[at:at + 10000])
        else:
            bucket.put_many(parts.BUCKET, keys, 16, self.client)
        ended = time.time()
        self.figures['objects a second'] = round(len(keys) / (ended - began))
        for key in keys:
            self.written[key] = Written(began, ended, True)
        for at in range(0, len(rows), 5000):
            self.admin.query(insert(rows[at:at + 5000]))
        self.ledger.filled = set(keys)
        self.admin.query('ANALYZE')
        for pool in self.pools.values():
            rng.shuffle(pool)

        # All that comes later is in another second, by any store's clock.
        self.boundary = int(ended) + 1
        parts.wait_for(lambda: time.time() > self.boundary + 1,
                       'the next second')

    # Scans

    def scan(self):
        """In a process of its own, whose memory is looked at."""
        conn, began = self.connect(), time.time()
        conn.query('CALL vf_s3_scan()')
        self.scans.append((began, time.time()))
        number = int(conn.column("SELECT max(id) FROM vf_scan"
                                 " WHERE state = 'complete'")[0])
        self.ledger.scans[number] = reaped.Scan(number, *self.scans[-1])
        self.note('scan seconds', time.time() - began)
        self.note('scan MB', peak(conn))
        conn.close()

    def pass_a_day(self):
        self.admin.query(
            "UPDATE vf_scan SET started_at = started_at - interval '25 h',"
            " ended_at = ended_at - interval '25 h'")

    def set_boundary(self, when, conn=None):
        """What was written before is older than the grace."""
        (conn or self.admin).query(
            'UPDATE vf_scan SET store_time = to_timestamp(%f)'
            " + interval '%d seconds' WHERE id = (SELECT max(id)"
            " FROM vf_scan WHERE state = 'complete')" % (when, GRACE))

    def note(self, name, value):
        self.figures[name] = max(self.figures.get(name, 0), round(value, 1))

    def orphans(self):
        conn, began = self.connect(), time.time()
        found = conn.column('SELECT key FROM vf_s3_orphans')
        self.note('list seconds', time.time() - began)
        self.note('list MB', peak(conn))
        conn.close()
        if len(found) != len(set(found)):
            raise Violation('a key is listed twice')
        return set(found)

    def references(self):
        """All that names a key, as one statement sees it.

        Cancelled are keys outside deletable_prefixes, such as previews.
        """
        return set(self.admin.column(
            'SELECT photo_s3_key FROM sessions WHERE photo_s3_key IS NOT NULL'
            ' UNION ALL SELECT unnest(keys) FROM vf_undo'
            ' WHERE restored_at IS NULL'
            ' UNION ALL SELECT unnest(keys) FROM vf_outbox'
            " WHERE state <> 'cancelled'"))

    # Checking

    def judge(self, key, held, boundary):
        """True: must be listed; False: must not; None: either."""
        w, (p, last) = self.written[key], self.scans[-2:]
        if not key.startswith(ORPHAN_PREFIXES):
            return False
        if w.deleted:
            return False if w.deleted[1] < last[0] else None
        if w.ended >= last[0]:          # the last scan may not have seen it
            return False if w.first and w.began > p[1] else None
        if w.ended >= boundary or w.began > p[1]:
            return False                # young, or not seen by both
        if w.ended >= p[0]:
            return None
        return True if key in held else None

    def check_both(self, what, exact=False, some=True):
        held = self.store.keys()
        self.check(what + ', old objects', self.boundary, held, exact,
                   some)
        self.check(what + ', no grace', time.time() + 1, held, exact, some)

    def check(self, what, boundary, held, exact, some):
        """When all is quiet."""
        self.set_boundary(boundary)
        listed = self.orphans()
        named, open_keys, must = self.references(), 0, 0
        for key in self.written:
            verdict = False if key in named else \
                self.judge(key, held, boundary)
            if exact and verdict is None:
                verdict = key in held
            must += verdict is True
            open_keys += verdict is None
            if verdict is not None and verdict != (key in listed):
                raise Violation('P3: %s: %r must %sbe listed (%s)' % (
                    what, key, '' if verdict else 'not ',
                    'named' if key in named else 'not named'))
        if listed - set(self.written):
            raise Violation('%s: listed, and not ours: %r' % (
                what, sorted(listed - set(self.written))[:3]))
        self.checks += 1
        print('%s: %d listed, %d had to be, %d open, %d keys named' % (
            what, len(listed), must, open_keys, len(named)), flush=True)
        if some and must == 0:
            raise Violation('%s: nothing was an orphan' % what)

    def glance(self):
        """While all goes on: what is named all the time is never listed.

        A key may be given up and listed, and be queued as an orphan, while
        we look.
        """
        began = time.time()
        before = self.references()
        listed = self.orphans()
        wrong = listed & before & self.references()
        wrong -= set(self.admin.column(
            'SELECT unnest(those) FROM public.ledger'
            " WHERE what = 'queued' AND extract(epoch FROM at) >= %f" % began))
        if wrong:
            raise Violation('P3: named all the time, and listed: %r'
                            % sorted(wrong)[:3])
        self.checks += 1

    # Actors; each takes keys from pools of its own

    def take(self, pool):
        with self.lock:
            while self.pools[pool]:
                key = self.pools[pool].pop()
                if key not in self.taken:
                    self.taken.add(key)
                    return key
        return None

    def upload(self, rng, client, key, first):
        """The same bytes again, or others."""
        body = rng.choice((b'object', b'object %d' % rng.getrandbits(60)))
        began = time.time()
        client.put(parts.BUCKET, key, body)
        with self.lock:
            w = Written(began, time.time(), first)
            self.written[key] = w
            self.ledger.uploads[key].append(
                reaped.Upload(began, w.ended, body))
        self.tally['uploaded' if first else 'uploaded again'] += 1

    def uploader(self, rng, client, conn):
        self.upload(rng, client, '%sfresh%d%s' % (
            rng.choice(ORPHAN_PREFIXES), rng.getrandbits(60),
            rng.choice(ODD + ('',) * 90)), True)

    def again(self, rng, client, conn):
        key = self.take('lost')
        if key:
            self.upload(rng, client, key, False)

    def deleter(self, rng, client, conn):
        keys = [k for k in (self.take('lost') for _ in range(5)) if k]
        began = time.time()
        if keys:
            client.delete_many(parts.BUCKET, keys)
        for key in keys:
            self.written[key].deleted = (began, time.time())
        self.tally['deleted'] += len(keys)

    def namer(self, rng, client, conn):
        """A session names an old object, or one that it has just uploaded."""
        key = self.take('lost')
        if key is None:
            return
        if rng.random() < 0.3:
            self.upload(rng, client, key, False)
        self.name(rng, conn, key)

    def name(self, rng, conn, key):
        kind = rng.choice(('kept', 'due'))
        self.ledger.named.add(key)
        conn.query(insert([(key, kind)]))
        if kind == 'kept':
            self.ledger.kept_at[key] = time.time()
        self.tally['named'] += 1

    def application(self, rng, client, conn):
        key = self.take('app')
        if key:
            conn.query('DELETE FROM sessions WHERE photo_s3_key = '
                       + literal(key))
            self.tally['rows deleted'] += 1

    def purger(self, rng, client, conn):
        conn.query("SET voiceframe.undo_window = '%s'"
                   % rng.choice(('0', '1h')))
        conn.query('CALL vf_purge(max_sessions => %d)'
                   % max(5, self.options.objects // 2000))
        self.tally['purges'] += 1

    def drainer(self, rng, client, conn):
        conn.query('CALL vf_drain(%d)' % max(5, self.options.objects // 4000))
        self.tally['drains'] += 1

    # Actors of the deletion

    def reaper(self, rng, client, conn):
        boundary = rng.choice((self.boundary, time.time() + 1))
        self.set_boundary(boundary, conn)
        try:
            n = sum(int(o) for o in conn.column(
                'SELECT objects FROM vf_s3_delete_orphans()'))
        except SqlError as fault:
            self.bear(fault)
            return
        self.ledger.calls.append(reaped.Call(time.time(), boundary))
        # Rows that go meanwhile may make some more.
        try:
            conn.query('SELECT * FROM vf_s3_delete_orphans(dry_run => false,'
                       ' max_objects => %d, confirm => %d)' % (
                           max(50, self.options.objects // 20), n + 1000))
            self.tally['reaps'] += 1
        except SqlError as fault:
            self.bear(fault)

    def bear(self, fault):
        """A scan met a marker that the killer took away: till the next one."""
        if 'not known whether another database' not in fault.message:
            raise fault
        self.tally['reaps refused'] += 1

    def chase(self, rng, conn):
        """A key that is about to go, and nobody else's."""
        keys = conn.column(
            'SELECT k FROM (SELECT keys FROM vf_outbox WHERE orphan_scan IS'
            " NOT NULL AND state IN ('waiting', 'claimed')"
            " ORDER BY state = 'waiting', random() LIMIT 1) o, unnest(keys) k"
            ' ORDER BY random() LIMIT 5')
        with self.lock:
            for key in keys:
                if key not in self.taken:
                    self.taken.add(key)
                    return key
        return None

    def chaser(self, rng, client, conn):
        for _ in range(4):
            key = self.chase(rng, conn)
            if key:
                self.upload(rng, client, key, False)
                self.tally['chased'] += 1

    def claimant(self, rng, client, conn):
        key = self.chase(rng, conn)
        if key:
            self.name(rng, conn, key)

    def drain(self, rng, conn, number):
        with self.drains[number]:
            if not conn.once('CALL vf_drain(%d)' %
                             max(200, self.options.objects // 50)):
                self.tally['drains cut short'] += 1
        self.tally['drains'] += 1

    def first_drain(self, rng, client, conn):
        self.drain(rng, conn, 0)

    def second_drain(self, rng, client, conn):
        self.drain(rng, conn, 1)

    def killer(self, rng, client, conn):
        """Ends a drain at work, one in three with the server's processes."""
        pids = conn.column(
            "SELECT pid FROM vf_outbox, pg_stat_activity WHERE pid = lease_pid"
            " AND vf_outbox.state = 'claimed' AND orphan_scan IS NOT NULL")
        if not pids:
            return
        self.stop.wait(rng.random() * 0.3)
        self.kills += 1
        crash = self.kills % 3 == 2
        if crash:
            parts.kill(int(pids[0]), signal.SIGKILL)
        else:
            conn.query('SELECT pg_terminate_backend(%s)' % pids[0])
        self.tally['crashes' if crash else 'drains ended'] += 1
        for lock in self.drains:
            lock.acquire()
        try:
            self.give_up_leases(conn, crash)
        finally:
            for lock in self.drains:
                lock.release()

    def give_up_leases(self, conn, crash):
        """As if the time had passed that makes the dead lose their leases.

        No drain is at work; what the dead have sent is carried out first.
        """
        parts.wait_for(lambda: self.store.busy() == 0, 'requests to end', 60)
        if crash:
            client = self.client()
            client.delete_many(parts.BUCKET, list(
                client.list(parts.BUCKET, parts.MARKERS)) or ['none'])
        conn.query("UPDATE vf_outbox SET next_attempt_at = now()"
                   " - interval '1 second' WHERE state IN ('waiting',"
                   " 'claimed'); UPDATE vf_bucket SET next_attempt_at = NULL")

    # All together

    def act(self, name, n):
        rng = random.Random('%d %s %d' % (self.options.seed, name,
                                          len(self.scans)))
        try:
            client, conn, done = self.client(), self.connect(), 0
            while not self.stop.is_set() or done < n:
                getattr(self, name)(rng, client, conn)
                done += 1
                if done >= n and self.stop.wait(0.05):
                    break
            conn.close()
        except Exception as fault:      # told by the main thread
            self.errors.append('%s: %r' % (name, fault))

    def play(self, reaping=False):
        """Actors before, under and behind a scan; each acts often enough."""
        n, self.stop = max(20, self.options.objects // 400), threading.Event()
        often = {'purger': 4, 'drainer': 3, 'application': n // 4,
                 'deleter': n // 8, 'reaper': 5, 'killer': 8,
                 'first_drain': 8, 'second_drain': 8}
        actors = [threading.Thread(target=self.act,
                                   args=(name, often.get(name, n)))
                  for name in ('uploader', 'again', 'deleter', 'namer',
                               'application', 'purger') + (
                                   ('reaper', 'chaser', 'claimant', 'killer',
                                    'first_drain', 'second_drain')
                                   if reaping else ('drainer',))]
        before = self.tally['uploaded again']
        for a in actors:
            a.start()
        try:
            parts.wait_for(
                lambda: self.errors or
                self.tally['uploaded again'] >= before + n // 2
                or not self.pools['lost'], 'the actors', 300)
            if len(self.scans) > 1:
                self.glance()
            self.scan()
            if len(self.scans) > 1:
                self.glance()
        finally:
            self.stop.set()
            for a in actors:
                a.join()
        if self.errors:
            raise Violation(self.errors[0])

    def run(self):
        self.scan()
        for name in ('first', 'second'):
            self.pass_a_day()
            self.play()
            self.check_both(name)
        for name in ('third', 'fourth'):
            self.pass_a_day()
            self.scan()
            self.check_both(name, exact=name == 'fourth')
        for name in ('fifth', 'sixth'):
            self.pass_a_day()
            self.store.faults([SLOW_LOOKS])
            self.play(reaping=True)
            self.store.faults([])
            self.drain_all()
            self.check_reaped(name)
            self.check_both(name, some=False)
        for name in ('seventh', 'eighth'):
            self.pass_a_day()
            self.scan()
            self.check_both(name, exact=name == 'eighth', some=False)
        self.reap_all()

    def drain_all(self):
        """Until nothing waits; no window is left to wait for."""
        def done():
            self.admin.query('CALL vf_drain()')
            self.give_up_leases(self.admin, False)
            return not self.admin.query(
                "SELECT FROM vf_outbox WHERE state IN ('waiting', 'claimed')")
        # The last crash may have left a lease in the bucket.
        self.give_up_leases(self.admin, True)
        self.admin.query('SELECT vf_undo_discard()')
        parts.wait_for(done, 'the outbox to be empty',
                       60 + self.options.objects // 100)

    def check_reaped(self, name):
        held = self.store.keys()
        self.ledger.read()
        self.ledger.check_queued()
        self.ledger.check_gone(held)
        self.ledger.check_fates(held)
        if self.versions:
            self.ledger.check_versions(held)
        self.checks += 1
        print('%s: %d orphans queued so far' % (
            name, len(self.ledger.queued)), flush=True)

    def reap_all(self):
        """Nobody else is there: all that is listed goes, and no more."""
        before, boundary = self.store.keys(), time.time() + 1
        self.set_boundary(boundary)
        listed = self.orphans()
        self.ledger.calls.append(reaped.Call(time.time(), boundary))
        began = time.time()
        self.admin.query('SELECT * FROM vf_s3_delete_orphans('
                         'dry_run => false, max_objects => 1000000,'
                         ' confirm => %d)' % len(listed))
        self.note('queue seconds', time.time() - began)
        began = time.time()
        self.drain_all()
        gone = before - self.store.keys()
        self.figures['orphans a second'] = round(
            len(gone) / (time.time() - began))
        if gone != listed:
            raise Violation('P2, P3: %d orphans, %d gone: %r' % (
                len(listed), len(gone), sorted(gone ^ listed)[:3]))
        self.check_reaped('the end')
        if self.orphans() & listed:
            raise Violation('gone, and listed: %r' % sorted(
                self.orphans() & listed)[:3])
        for what in ('confirmed', 'OrphanChanged', 'Referenced'):
            if what not in self.ledger.ever:
                raise Violation('nothing was seen of: ' + what)


def insert(rows):
    return (
        'INSERT INTO sessions (id, session_token, photo_s3_key, created_at,'
        " expires_at) SELECT md5(k)::uuid, md5(k), k, now() AT TIME ZONE"
        " 'UTC' - a * interval '3 days', now() AT TIME ZONE 'UTC'"
        " + (1 - 3 * a) * interval '1 day' FROM (VALUES %s) v (k, a)"
        % ', '.join('(%s, %d)' % (literal(key), kind == 'due')
                    for key, kind in rows) + ' ON CONFLICT DO NOTHING')


def peak(conn):
    """MB that the backend had for itself alone, at most."""
    with open('/proc/%d/status' % conn.pid) as f:
        fields = dict(line.split(':', 1) for line in f)
    return (int(fields['VmHWM'].split()[0])
            - int(fields['RssShmem'].split()[0])) / 1024


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--objects', type=int, default=3000)
    p.add_argument('--seed', type=int)
    p.add_argument('--store', choices=('peer', 'ceph'), default='peer')
    p.add_argument('--endpoint')
    options = p.parse_args()
    if options.endpoint:
        options.store = 'ceph'
    if options.seed is None:
        options.seed = random.SystemRandom().randint(1, 999999)
    print('seed %d' % options.seed, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    directory = tempfile.mkdtemp(prefix='vf-orphans.', dir='/tmp')
    model, fine = Model(directory, options), False
    try:
        model.set_up()
        model.run()
        fine = True
    except Violation as violation:
        print('VIOLATION %s' % violation, flush=True)
    finally:
        model.cluster.stop()
        model.store.stop()
        if fine:
            shutil.rmtree(directory)
        else:
            print('kept: ' + directory, flush=True)
    for counts in (model.tally, model.ledger.seen, model.figures):
        print(', '.join('%s %s' % each for each in sorted(counts.items())))
    print('%d checks, %d violations' % (model.checks, not fine), flush=True)
    return 0 if fine else 1


if __name__ == '__main__':
    sys.exit(main())
