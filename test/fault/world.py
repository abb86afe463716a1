"""world.py: what the crash harness loads, and what must be true afterwards.

The harness knows the rules from the design, not from the extension: which
sessions are due, which orders pay, which keys may go.  It never asks the
extension what it did, it looks at rows and objects.
"""
import collections
import os
import re
import threading

from pgwire import literal
from parts import DATABASE, Violation
from undoers import Windows

DEMO = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), 'demo')

PAYING = ('paid', 'completed', 'expired', 'refunded', 'on_hold', None)
UNPAID = ('pending', 'failed', 'canceled', 'cancelled')
DELETABLE = ('temp_photos/', 'temp_audio/', 'waveforms/')
BASE = 300                              # sessions that are paid for ever
KEPT_ROUNDS = 2                         # what stays is looked at so long

# How many of each kind in a round, and what becomes of it by itself.
KINDS = (('free', 70),                  # due, no order
         ('pending', 20),               # due, an order that was never paid
         ('paid', 12),                  # due, and paid for
         ('checkout', 5),               # due, an order that is being paid
         ('young', 12),                 # not due
         ('app', 6))                    # not due; the application deletes it

ORDER_COLUMNS = ('id, stripe_payment_intent_id, email, amount_cents, status,'
                 ' session_token, pdf_s3_key, created_at, updated_at')

GATES = '''
CREATE FUNCTION public.gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock_shared(TG_ARGV[0]::int8);
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER gate BEFORE INSERT ON vf_outbox FOR EACH ROW
    WHEN (NEW.state = 'waiting') EXECUTE FUNCTION public.gate('4711');
'''


class Session:
    def __init__(self, token, kind, keys, status=None):
        self.token, self.kind, self.keys = token, kind, keys
        self.status = status            # of its order, if it has one

    def order(self):
        return 'o_' + self.token


class World:
    """One cluster, one store, and what the harness knows of both."""

    def __init__(self, cluster, store, seed, undo=False, versions=False):
        self.cluster, self.store, self.seed = cluster, store, seed
        self.undo, self.versions = undo, versions
        self.windows = Windows()
        self.lock = threading.Lock()    # of all below
        self.sessions = {}              # token -> Session, of rounds kept
        self.rounds = []                # [number, tokens, keys]
        self.payments = []
        self.updated = set()            # orders that a payer has taken
        self.unproven = set()           # keys attached to perhaps too late
        self.must_stay = {}             # key -> SQL that finds its row
        self.arrivals = []              # (mark, sessions) still to come
        self.promised = set()           # tokens put back, objects and all
        self.discarded = set()          # tokens whose undo may be forgotten
        self.erased = set()             # tokens that were erased
        self.tally = collections.Counter()  # of what was undone
        self.depth = {}                 # key -> how many versions were put
        self.admin = None

    # Set up

    def connect(self):
        self.admin = self.cluster.connect(
            options='-c synchronous_commit=on')
        return self.admin

    def set_up(self):
        self.cluster.start()
        first = self.cluster.connect('postgres')
        first.query('CREATE DATABASE ' + DATABASE)
        first.close()
        self.cluster.psql('-v', 'indexes=1', '-f',
                          os.path.join(DEMO, 'voiceframe.sql'))
        admin = self.connect()
        if self.versions:
            self.store.keep_versions()
        base = [Session('base%d' % i, 'paid', [
            'permanent/base%d.%s' % (i, x) for x in ('jpg', 'mp3', 'png')],
            'completed') for i in range(BASE)]
        self.load_sessions(base)
        self.insert(admin, base, 'base')
        admin.query('CREATE EXTENSION voiceframe_retention')
        if self.cluster.library:
            admin.query(
                "UPDATE pg_proc SET probin = %s WHERE probin LIKE "
                "'%%voiceframe_retention'" % literal(os.path.join(
                    self.cluster.library, 'voiceframe_retention')))
        self.cluster.preload()
        self.cluster.stop()
        self.cluster.start()
        admin = self.connect()
        admin.query('SELECT * FROM vf_configure()')
        admin.query("SELECT * FROM vf_configure_bucket(bucket => %s,"
                    " region => 'us-east-1', endpoint => %s,"
                    " path_style => 'path')" % (
                        literal(DATABASE), literal(self.store.endpoint)))
        admin.query(GATES)
        admin.query('SELECT vf_resume()')
        admin.query('SELECT vf_worker_stop()')

    # Loading

    def load_sessions(self, sessions):
        keys = sorted({k for s in sessions for k in s.keys})
        self.store.put(keys)
        self.depth.update(dict.fromkeys(keys, 1))
        if self.versions:
            # Some were written twice, some deleted in between.
            covered, twice = keys[::5], keys[::3]
            self.store.cover(covered)
            self.store.put(sorted(set(covered + twice)))
            for key in keys:
                self.depth[key] += (key in covered) + (
                    key in covered or key in twice)
        for s in sessions:
            self.sessions[s.token] = s

    def insert(self, conn, sessions, marker):
        """Rows of sessions and their orders, one commit, with a mark.

        It is as durable as the connection's commits are: what a crash takes
        back, mark and all, comes again.
        """
        rows, orders = [], [order_row(marker, None, 'completed',
                                      email=marker)]
        for s in sessions:
            created, expires = ages(s)
            rows.append('(md5(%s)::uuid, %s, %s, now() AT TIME ZONE \'UTC\''
                        ' - interval %s, now() AT TIME ZONE \'UTC\''
                        ' + interval %s)' % (
                            literal(s.token), literal(s.token),
                            ', '.join(literal(k) for k in s.keys),
                            literal(created), literal(expires)))
            if s.kind in ('pending', 'paid', 'checkout'):
                age = '1 hour' if s.kind == 'checkout' else '20 days'
                orders.append(order_row(s.order(), s.token, s.status, age))
        conn.query(
            'BEGIN; INSERT INTO sessions (id, session_token, photo_s3_key,'
            ' audio_s3_key, waveform_s3_key, created_at, expires_at)'
            ' VALUES %s; INSERT INTO orders (%s) VALUES %s; COMMIT' % (
                ', '.join(rows), ORDER_COLUMNS, ', '.join(orders)))

    def load_round(self, number, rng):
        """The first sessions of a round; those to come are in arrivals."""
        sessions = []
        for kind, n in KINDS:
            for i in range(n):
                sessions.append(make_session(
                    'r%d_%s%d' % (number, kind, i), kind, rng))
        rng.shuffle(sessions)
        first = len(sessions) // 3
        together = [sessions[:first]] + [
            sessions[at:at + 9] for at in range(first, len(sessions), 9)]
        for some_of_them in together:
            share_keys(some_of_them, rng)
        self.load_sessions(sessions)
        self.insert(self.admin, together[0], 'r%d_first' % number)
        self.arrivals = [('r%d_arrive%d' % (number, i), some_of_them)
                         for i, some_of_them in enumerate(together[1:])]
        self.rounds.append([number, [s.token for s in sessions],
                            {k for s in sessions for k in s.keys}])
        return sessions

    def insert_missing(self):
        """What did not arrive: the mark tells, for sessions come and go."""
        for marker, sessions in self.arrivals:
            if not self.admin.query('SELECT 1 FROM orders WHERE'
                                    ' stripe_payment_intent_id = '
                                    + literal(marker)):
                self.insert(self.admin, sessions, marker)

    def forget_old_rounds(self):
        """Take away what the oldest rounds left, past everything."""
        while len(self.rounds) > KEPT_ROUNDS:
            number, tokens, keys = self.rounds.pop(0)
            pattern = literal('r%d\\_%%' % number)
            extra = set(self.admin.column(
                'SELECT photo_s3_key FROM sessions WHERE session_token LIKE '
                + pattern))
            self.admin.query(
                'BEGIN; SET LOCAL synchronous_commit = on;'
                ' SET LOCAL session_replication_role = replica;'
                ' DELETE FROM sessions WHERE session_token LIKE %s'
                " OR photo_s3_key LIKE '%%/r%d\\_%%';"
                ' DELETE FROM orders WHERE session_token LIKE %s'
                " OR email LIKE %s OR pdf_s3_key LIKE '%%/r%d\\_%%';"
                # A row may hold keys of younger rounds too.
                ' WITH o AS (SELECT id, ARRAY(SELECT k FROM unnest(keys) k'
                "  WHERE k NOT LIKE '%%/r%d\\_%%') AS rest FROM vf_outbox"
                "  WHERE state = 'cancelled' AND keys::text LIKE '%%/r%d\\_%%'),"
                " none AS (DELETE FROM vf_outbox USING o"
                "  WHERE vf_outbox.id = o.id AND rest = '{}')"
                ' UPDATE vf_outbox SET keys = rest, nkeys = cardinality(rest)'
                "  FROM o WHERE vf_outbox.id = o.id AND rest <> '{}';"
                " DELETE FROM vf_lookup WHERE key LIKE '%%/r%d\\_%%';"
                ' DELETE FROM vf_hold WHERE session_token LIKE %s; COMMIT' %
                (pattern, number, pattern, pattern, number, number, number,
                 number, pattern))
            gone = keys | {k for k in extra if k}
            self.store.remove(sorted(gone))
            for token in tokens:
                del self.sessions[token]
            self.unproven -= gone
            for key in gone:
                self.must_stay.pop(key, None)
                self.depth.pop(key, None)
            prefix = 'r%d_' % number
            self.payments = [p for p in self.payments
                             if not p.token.startswith(prefix)]
            for known in (self.promised, self.discarded, self.erased):
                known -= {t for t in known if t.startswith(prefix)}

    # Looking

    def look(self):
        return View(self.admin, self.store)

    def check(self, view):
        self.check_sessions(view)
        self.check_objects(view)
        self.check_versions(view)
        self.check_outbox(view)
        self.check_undo(view)

    def check_open(self):
        """While windows are open: nothing of what can be put back is gone."""
        named = self.admin.query(
            'SELECT DISTINCT unnest(u.keys) FROM vf_undo u JOIN vf_undo_batch'
            ' b ON b.id = u.batch_id WHERE u.restored_at IS NULL'
            ' AND b.until > now()')
        gone = {k for k, in named} - self.store.keys()
        if gone - self.uncertain() - self.unproven:
            raise Violation('P3: an undo row names it, and its window is'
                            ' open: ' + some(gone))

    def uncertain(self):
        """Of what was put back though a request may have reached it."""
        return set(self.admin.column('SELECT key FROM vf_lookup'))

    def check_undo(self, view):
        gone = [t for t in view.held - view.sessions
                if t in self.sessions]
        if gone:
            raise Violation('a session that is held is gone: ' + some(gone))
        lost = [k for t in self.promised & view.sessions
                if t in self.sessions for k in self.sessions[t].keys
                if k not in view.objects]
        if lost:
            raise Violation('P3: reported as restored, and has no object: '
                            + some(lost))
        if self.admin.query('SELECT 1 FROM vf_undo UNION ALL'
                            ' SELECT 1 FROM vf_undo_batch'):
            raise Violation('P7: undo rows are left when all windows are over')
        # What a crash takes back was not done.
        back = [t for t in self.erased & view.sessions
                if t not in view.paid_tokens and self.seed % 2]
        if back:
            raise Violation('an erased session is there: ' + some(back))

    def check_versions(self, view):
        """Nothing of what stays has lost a version."""
        for s in self.sessions.values():
            if s.kind not in ('paid', 'checkout', 'young'):
                continue
            less = [k for k in s.keys
                    if view.history.get(k, 0) < self.depth[k]]
            if less:
                raise Violation('P3: versions are gone: ' + some(less))

    def check_sessions(self, view):
        lost = [p for p in self.payments if p.witnessed
                and view.pays(p.order) and p.token not in view.sessions]
        if lost:
            raise Violation('P1: a payment that found its session lost it: '
                            + some(p.token for p in lost))
        for s in self.sessions.values():
            there = s.token in view.sessions
            if s.kind in ('paid', 'checkout', 'young') and not there:
                raise Violation('P1: session %s of kind %s is gone' % (
                    s.token, s.kind))
            if s.kind in ('free', 'pending') and there and \
                    s.token not in view.paid_tokens | view.held:
                raise Violation('P6: session %s is due and was left' %
                                s.token)

    def check_live(self, view):
        """Whenever all is quiet."""
        missing = view.references - view.objects - self.unproven \
            - self.uncertain()
        if missing:
            raise Violation('P3: no object for a row that is there: '
                            + some(missing))

    def check_objects(self, view):
        gone = [k for k, find in self.must_stay.items()
                if k not in view.objects and self.admin.query(find)]
        if gone:
            raise Violation('P3: deleted though a row named the object '
                            'before its claim: ' + some(gone))
        self.check_live(view)
        left = set(view.history) - view.references - view.dead
        left = [k for k in left if k.startswith(DELETABLE)]
        if left:
            raise Violation('P2, P4: an object that no row and no entry '
                            'names: ' + some(left))
        outside = [k for s in self.sessions.values() for k in s.keys
                   if not k.startswith(DELETABLE) and s.kind != 'app'
                   and s.token not in view.sessions]
        if set(outside) - view.objects:
            raise Violation('P3: deleted outside the prefixes: '
                            + some(set(outside) - view.objects))
        if set(outside) - set(view.cancelled):
            raise Violation('P4: neither deleted nor cancelled: '
                            + some(set(outside) - set(view.cancelled)))

    def check_outbox(self, view):
        if view.waiting:
            raise Violation('P4: keys still wait after everything: '
                            + some(view.waiting))
        without = [k for k, code in view.cancelled.items() if not code]
        if without:
            raise Violation('P4: cancelled without a reason: '
                            + some(without))

    def check_log(self, at):
        """What the server says of itself; returns where to go on."""
        with open(self.cluster.log, errors='replace') as f:
            f.seek(at)
            text = f.read()
            end = f.tell()
        found = re.search(
            r'.*(TRAP:|PANIC:|terminated by signal (?!9\b)\d+).*', text)
        if found:
            raise Violation('the server: ' + found.group(0)[:300])
        return end


class View:
    """Rows, objects and entries at one moment when all is quiet."""

    def __init__(self, admin, store):
        self.sessions, self.references = set(), set()
        for token, *keys in admin.query(
                'SELECT session_token, photo_s3_key, audio_s3_key,'
                ' waveform_s3_key FROM sessions'):
            self.sessions.add(token)
            self.references.update(k for k in keys if k)
        self.paying, self.paid_tokens = set(), set()
        for name, token, status, *keys in admin.query(
                'SELECT stripe_payment_intent_id, session_token, status,'
                ' pdf_s3_key, permanent_photo_s3_key FROM orders'):
            self.references.update(k for k in keys if k)
            if status not in UNPAID:
                self.paying.add(name)
                self.paid_tokens.add(token)
        self.waiting, self.dead, self.cancelled = set(), set(), {}
        for key, state, code in admin.query(
                'SELECT unnest(keys), state, last_error_code FROM vf_outbox'):
            if state == 'cancelled':
                self.cancelled[key] = code
            else:
                (self.dead if state == 'dead' else self.waiting).add(key)
        self.held = set(admin.column(
            'SELECT session_token FROM vf_hold WHERE until > now()'))
        self.objects, self.history = store.keys(), store.history()

    def pays(self, order):
        return order in self.paying

    def same(self, other):
        return (self.sessions, self.history, self.waiting, self.dead,
                self.cancelled) == (
                    other.sessions, other.history, other.waiting, other.dead,
                    other.cancelled)


def ages(session):
    """Since when it was there, and when it expires, from now."""
    if session.kind in ('young', 'app'):
        return '1 hour', '1 day'
    # Half of the due ones by each rule.
    if sum(session.token.encode()) % 2:
        return '3 days', '-2 days'
    return '9 days', '10 days'


def order_row(name, token, status, age='0', email='x', key=None):
    return ("(md5(%s)::uuid, %s, %s, 1, %s, %s, %s, now() AT TIME ZONE 'UTC'"
            " - interval %s, now() AT TIME ZONE 'UTC' - interval %s)" % (
                literal(name), literal(name), literal(email),
                literal(status), literal(token), literal(key), literal(age),
                literal(age)))


def make_session(token, kind, rng):
    keys = ['temp_photos/%s.jpg' % token, 'temp_audio/%s.mp3' % token,
            'waveforms/%s.png' % token]
    if kind != 'app' and rng.random() < 0.04:
        keys[0] = 'permanent/%s.jpg' % token
    status = rng.choice(PAYING) if kind == 'paid' else rng.choice(UNPAID)
    return Session(token, kind, keys, status)


def share_keys(sessions, rng):
    """Some that come together have a key in common, whatever they are."""
    sessions = [s for s in sessions if s.kind != 'app']
    for _ in range(len(sessions) // 6):
        a, b = rng.sample(sessions, 2)
        b.keys[1] = a.keys[1]


def some(things):
    things = sorted(things)
    return '%d: %s' % (len(things), ', '.join(things[:5]))
