"""actors.py: who does what to a cluster while the crash harness kills it.

Each actor is a thread with connections of its own, and a random generator
seeded by seed, round and name, so that a round's plan is that of its seed
(not so the order in which the processors run it).  An actor ends when it is
told to, or when its connection broke; what it knows of transactions that were
cut off is judged later, by the rows.
"""
import random
import signal
import threading
import time

from pgwire import Broken, SqlError, literal
from parts import Late, Violation, kill, wait_for
from undoers import OPEN, Payment, end_windows
from world import ORDER_COLUMNS, PAYING, order_row

ISOLATION = ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
GATE_SHUT = 4711                        # at the end of a batch
GATE_ROW = 4712                         # at a row that is being deleted

# Faults of a store while drains run; prefixes come from the round.
FAULTS = (
    {'status': 503, 'code': 'SlowDown'},
    {'status': 500, 'code': 'InternalError'},
    {'status': 500, 'code': 'InternalError', 'act': True},
    {'error_in_200': 'InternalError'},
    {'reset': True}, {'cut': 0}, {'cut': 150}, {'cut': -5},
    {'garbage': True}, {'chunked': 100}, {'delay': 0.1}, {'hold': True},
    {'late': True}, {'extra': ['temp_photos/base1.jpg']})
# What their requests have in the query, where versions go.
VERSION_QUERIES = ('delete', 'delete', 'versions', 'versioning')
# What drains have learned of the store's speed, forgotten.
FULL_PACE = (' DELETE FROM vf_pace; UPDATE vf_bucket SET batch_keys = DEFAULT,'
             ' batch_bytes = DEFAULT')

KEY_CODES = ('InternalError', 'SlowDown', 'AccessDenied', 'NoSuchNonsense')


class Stage:
    """One round's actors, and what they share."""

    def __init__(self, world, number, sessions, plan):
        self.world, self.number, self.plan = world, number, plan
        self.over = threading.Event()
        self.threads, self.left_open, self.strange = [], [], []
        self.all, self.ours = [], []    # connections; of drains and purges
        self.targets = [s for s in sessions if s.kind in ('free', 'pending')]
        self.app = [s for s in sessions if s.kind == 'app']
        self.serial = 0

    def random(self, name):
        return random.Random('%s/%s/%s' % (self.world.seed, self.number,
                                           name))

    def name(self, what):
        with self.world.lock:
            self.serial += 1
            return 'r%d_%s%d' % (self.number, what, self.serial)

    def start(self, name, function):
        def run():
            try:
                function(self.random(name))
            except (Broken, OSError):
                pass                    # the server, or the store, is dead
            except SqlError as error:
                self.note(error)
            except (Late, Violation) as fault:
                self.strange.append(str(fault))
        thread = threading.Thread(target=run, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()

    def note(self, error):
        """Errors that are a fault whoever is killed."""
        if error.state.startswith('XX'):
            self.strange.append('internal error: %s' % error)

    def join(self):
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                raise Violation('P6: %s does not end' % thread.name)

    def connect(self, options=''):
        conn = self.world.cluster.connect(options=options)
        self.all.append(conn)
        return conn

    # Payments

    def pay(self, conn, watch, rng, target, quick=False):
        """One payment; True if the connection now belongs to the round.

        The witness is another connection that looks after the payment's
        statement returned and before it commits: a session that is there then
        may not go any more, if the payment comes to stand.
        """
        with self.world.windows.still():
            back = self.can_come_back(watch, target)
            conn.query('BEGIN ISOLATION LEVEL ' + rng.choice(ISOLATION))
            if rng.random() < 0.3:
                conn.query('SELECT 1 FROM orders LIMIT 1')
                if not quick:
                    time.sleep(rng.random() / 100)
            order = self.pay_statement(conn, rng, target)
        if order is None:
            conn.query('ROLLBACK')
            return False
        witnessed = self.sees(watch, target)
        if self.world.undo and self.plan['guard'] and not witnessed:
            witnessed = self.sees(conn, target)
            self.world.tally['brought back by a payment'] += \
                back and witnessed
            if back and not witnessed and \
                    target.token not in self.world.discarded:
                raise Violation('P1: a payment within the undo window did not'
                                ' bring %s back' % target.token)
        fate = 1.0 if quick else rng.random()
        if fate < 0.12:
            conn.query('ROLLBACK')
            return False
        with self.world.lock:
            self.world.payments.append(
                Payment(target.token, order, witnessed))
        if fate < 0.2:
            with self.world.lock:
                self.left_open.append(conn)
            return True
        if not quick:
            time.sleep(rng.random() / 40)
        conn.query('COMMIT')
        return False

    def sees(self, conn, target):
        return bool(conn.query('SELECT 1 FROM sessions WHERE session_token = '
                               + literal(target.token)))

    def can_come_back(self, watch, target):
        """Was it purged, and is its window open for some time to come?"""
        return self.world.undo and bool(watch.query(
            'SELECT 1 %s AND u.session_token = %s' % (
                OPEN, literal(target.token))))

    def pay_statement(self, conn, rng, target):
        if target.kind == 'pending' and rng.random() < 0.7:
            # Once: two payers of an order could not be told apart.
            with self.world.lock:
                if target.order() in self.world.updated:
                    return None
                self.world.updated.add(target.order())
            conn.query('UPDATE orders SET status = %s, updated_at = now()'
                       ' WHERE stripe_payment_intent_id = %s' % (
                           literal(rng.choice(PAYING[:5])),
                           literal(target.order())))
            return target.order()
        name = self.name('pay')
        conn.query('INSERT INTO orders (%s) VALUES %s' % (
            ORDER_COLUMNS, order_row(name, target.token,
                                     rng.choice(PAYING))))
        return name

    def payer(self, rng):
        conn, watch = self.connect(), self.connect()
        for _ in range(12):
            if self.over.is_set():
                return
            try:
                if self.pay(conn, watch, rng, rng.choice(self.targets)):
                    conn = self.connect()
            except SqlError as error:
                self.note(error)
                conn.query('ROLLBACK')
            time.sleep(rng.random() / 50)

    # The application

    def arrive(self, rng):
        """Sessions fall due all the time."""
        conn = self.connect()
        for marker, sessions in self.world.arrivals:
            if self.over.wait(rng.random() / 15):
                return
            self.world.insert(conn, sessions, marker)

    def app_deletes(self, rng):
        """Sessions that it deletes itself, where their keys are queued."""
        conn = self.connect()
        for s in self.app:
            if self.over.is_set():
                return
            try:
                conn.query('BEGIN; DELETE FROM sessions WHERE session_token'
                           ' = %s' % literal(s.token))
                time.sleep(rng.random() / 30)
                conn.query(rng.choice(('COMMIT', 'COMMIT', 'ROLLBACK')))
            except SqlError as error:
                self.note(error)
                conn.query('ROLLBACK')

    def attach(self, conn, rng):
        found = conn.query(
            "SELECT keys[1 + (random() * (nkeys - 1))::int] FROM vf_outbox"
            " WHERE state = 'waiting' ORDER BY random() LIMIT 1")
        if found:
            self.attach_key(conn, rng, found[0][0])

    def attach_key(self, conn, rng, key):
        """A new live row for a key that waits to be deleted.

        Proven to be in time if afterwards the key's entries, all of them, can
        be locked as waiting: whoever claims them next sees the row.
        """
        world = self.world
        with world.lock:
            world.unproven.add(key)
        name = self.name('att')
        if rng.random() < 0.5:
            find = 'sessions WHERE session_token = ' + literal(name)
            insert = ("INSERT INTO sessions (id, session_token, photo_s3_key,"
                      " created_at, expires_at) VALUES (md5(%s)::uuid, %s, %s,"
                      " now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'"
                      " + interval '1 day')" % (
                          literal(name), literal(name), literal(key)))
        else:
            find = 'orders WHERE stripe_payment_intent_id = ' + literal(name)
            insert = 'INSERT INTO orders (%s) VALUES %s' % (
                ORDER_COLUMNS, order_row(name, None, 'completed', key=key,
                                         email=name))
        conn.query(insert)
        free, all_ = conn.query(
            "WITH l AS MATERIALIZED (SELECT id FROM vf_outbox"
            " WHERE state = 'waiting' AND keys @> ARRAY[{0}]"
            " FOR UPDATE SKIP LOCKED) SELECT (SELECT count(*) FROM l),"
            " (SELECT count(*) FROM vf_outbox WHERE keys @> ARRAY[{0}]"
            " AND state IN ('waiting', 'claimed'))".format(literal(key)))[0]
        if int(free) > 0 and free == all_ and world.store.have(key):
            with world.lock:
                world.unproven.discard(key)
                world.must_stay[key] = 'SELECT 1 FROM ' + find

    def attacher(self, rng):
        conn = self.connect()
        for _ in range(8):
            if self.over.is_set():
                return
            self.attach(conn, rng)
            # A bucket that failed is tried again at once, or all would wait.
            conn.query('UPDATE vf_bucket SET next_attempt_at = NULL;'
                       ' UPDATE vf_outbox SET next_attempt_at = now()'
                       " WHERE state = 'waiting'")
            time.sleep(rng.random() / 20)

    # Purges and drains

    def call(self, conn, statement):
        try:
            conn.query(statement)
        except SqlError as error:
            self.note(error)
            if error.fatal:
                raise Broken(str(error))
            return False
        return True

    def purger(self, rng):
        options = '-c voiceframe.purge_rate=%d' % rng.choice(
            (0, 0, 400, 1500))
        if self.world.undo:
            # None at all, one that ends by the clock, and that of the rest.
            options += ' -c voiceframe.undo_window=%s' % rng.choice(
                ('0', '1s', '2s', '1h', '1h'))
        conn = self.connect(options)
        self.ours.append(conn)
        while not self.over.is_set():
            way = rng.random()
            if way < 0.5:
                self.call(conn, 'CALL vf_purge()')
            elif way < 0.6:
                self.call(conn, 'CALL vf_purge(max_sessions => %d)'
                          % rng.randint(1, 30))
            elif self.call(conn, 'BEGIN') and self.call(
                    conn, 'SELECT vf_purge_now(%s)' % rng.choice(
                        ('', '5', '25'))):
                time.sleep(rng.random() / 20)
                self.call(conn, rng.choice(('COMMIT', 'ROLLBACK')))
            else:
                self.call(conn, 'ROLLBACK')
            time.sleep(rng.random() / 20)

    def drainer(self, rng):
        conn = self.connect()
        self.ours.append(conn)
        while not self.over.is_set():
            self.call(conn, rng.choice(('CALL vf_drain()',
                                        'CALL vf_drain(40)')))
            time.sleep(rng.random() / 50)

    # Gates: a payment at a chosen point of a purge

    def gatekeeper(self, rng):
        gate, conn, watch = (self.connect(), self.connect(
            '-c lock_timeout=40'), self.connect())
        number = rng.choice((GATE_SHUT, GATE_ROW)) \
            if self.plan['row_gate'] else GATE_SHUT
        for _ in range(3):
            if self.over.is_set():
                return
            gate.query('SELECT pg_advisory_lock(%d)' % number)
            try:
                if self.reached(watch, number):
                    for target in rng.sample(self.targets, 4):
                        self.pay_or_not(conn, watch, rng, target)
            finally:
                gate.query('SELECT pg_advisory_unlock(%d)' % number)
            time.sleep(rng.random() / 20)

    def reached(self, watch, number):
        end = time.monotonic() + 0.15
        while time.monotonic() < end and not self.over.is_set():
            if watch.query("SELECT 1 FROM pg_locks WHERE NOT granted AND"
                           " locktype = 'advisory' AND objid = %d" % number):
                return True
            time.sleep(0.002)
        return False

    def pay_or_not(self, conn, watch, rng, target):
        try:
            self.pay(conn, watch, rng, target, quick=True)
        except SqlError as error:
            self.note(error)
            conn.query('ROLLBACK')

    # Faults of the store

    def bad_store(self, rng):
        store, end = self.world.store, time.monotonic() + 20
        # What is held goes on a little later, if it is not killed before.
        while not self.over.is_set() and time.monotonic() < end:
            time.sleep(rng.random() / 5)
            store.release()

    def fault(self, rng):
        fault = dict(rng.choice(FAULTS))
        if rng.random() < 0.5:
            prefixes = ['%sr%d_%s%d' % (
                rng.choice(('temp_photos/', 'temp_audio/', 'waveforms/')),
                self.number, rng.choice(('free', 'pending')),
                rng.randint(0, 9)) for _ in range(3)]
            fault = {'omit': prefixes} if rng.random() < 0.5 else {
                'key_errors': {p: rng.choice(KEY_CODES) for p in prefixes}}
            return {**fault, 'times': rng.randint(1, 4),
                    'match': {'query': 'delete', 'key': prefixes[0]}}
        query = rng.choice(VERSION_QUERIES) if self.world.versions \
            else 'delete'
        return {**fault, 'times': rng.randint(1, 4),
                'skip': rng.randint(0, 4), 'match': {'query': query}}

    # Kills

    def killer(self, rng):
        """Between once and three times, until the server is down."""
        conn = self.connect()
        for _ in range(rng.randint(1, 3)):
            if self.over.wait(0.02 + rng.random() * self.plan['patience']):
                return
            if self.kill(conn, rng):
                self.over.set()
                return

    def kill(self, conn, rng):
        """True if the server goes down with it."""
        what = rng.choice(self.plan['kills'])
        cluster, store = self.world.cluster, self.world.store
        if what == 'postmaster':
            cluster.kill(signal.SIGKILL)
        elif what == 'immediate':
            cluster.kill(signal.SIGQUIT)
        elif what in ('worker', 'backend'):
            pid = self.victim(conn, rng, what)
            if pid is None:
                return False
            kill(pid, signal.SIGKILL)
        elif what == 'store':
            store.kill()
            time.sleep(rng.random() / 10)
            store.start()
            return False
        else:
            pid = self.victim(conn, rng, rng.choice(('worker', 'ours')))
            if pid is not None:
                conn.query('SELECT pg_%s_backend(%d)' % (what, pid))
            return False
        return True

    def victim(self, conn, rng, what):
        if what == 'ours':
            pids = [c.pid for c in self.ours]
        else:
            pids = [int(p) for p in conn.column(
                "SELECT pid FROM pg_stat_activity WHERE pid <>"
                " pg_backend_pid() AND datname = 'voiceframe' AND"
                " backend_type %s 'voiceframe_retention worker'"
                % ('=' if what == 'worker' else '<>'))]
        return rng.choice(sorted(pids)) if pids else None


def lease_scene(stage, rng):
    """A lease ends while the request of its living holder is under way.

    A second drain takes the entry over and sends its request.  Then the first
    one hears that its own failed: that must change nothing, or the entry would
    wait, and a row that now names one of its objects would lose it.

    It is the clock that keeps the first one from sending more, by halves or at
    a pace, and here the clock is not what it seems: so it may have no more.
    """
    world, store = stage.world, stage.world.store
    failure = rng.choice((
        {'status': 503, 'code': 'SlowDown'},
        {'key_errors': {'temp_': 'InternalError', 'wave': 'InternalError'}},
        {'status': 403, 'code': 'AccessDenied'}))
    world.admin.query('CALL vf_purge()')
    world.admin.query(FULL_PACE)
    end_windows(world.admin)
    store.faults([{'hold': True, 'name': 'first',
                   'match': {'query': 'delete'}, **failure}])
    first = stage.connect()
    first.send('CALL vf_drain()')
    held = wait_for(store.held, 'the first request')
    keys = store.keys_of(held[0]['id'])
    key = rng.choice(keys)
    second = take_over(stage, key)
    store.release('first')
    finish(stage, first)
    if store.have(key):
        stage.attach_key(world.admin, rng, key)
    store.release('second')
    finish(stage, second)
    store.faults([])


def take_over(stage, key):
    """End the lease of the key's entry, and let another drain claim it."""
    world, store = stage.world, stage.world.store
    store.faults([{'hold': True, 'name': 'second',
                   'match': {'query': 'delete', 'key': key}}])
    world.admin.query(
        "UPDATE vf_outbox SET next_attempt_at = now() - interval '1 second'"
        " WHERE state = 'claimed' AND keys @> ARRAY[%s]" % literal(key))
    second = stage.connect()
    second.send('CALL vf_drain()')
    wait_for(lambda: [h for h in store.held() if h['name'] == 'second'],
             'the second request')
    return second


def finish(stage, conn):
    try:
        conn.answer()
    except SqlError as error:
        stage.note(error)
    conn.close()


def power_scene(stage, rng):
    """The server dies when the store has acted and nobody has heard it yet.

    What it has not put on disk is lost with it, which is a lot where commits
    are asynchronous.  The purge whose objects are gone must not be among that.
    The first drain is for the lease, which is put on disk when it is taken.
    """
    world, store = stage.world, stage.world.store
    world.admin.query(FULL_PACE)
    conn = stage.connect()
    for marker, sessions in world.arrivals[:2]:
        conn.query('CALL vf_purge()')
        end_windows(conn)
        conn.query('CALL vf_drain()')
        world.insert(world.admin, sessions, marker)
    # Little: whole pages of WAL are with the system, which lives on.
    conn.query('CALL vf_purge(max_sessions => 2)')
    end_windows(conn)
    store.faults([{'late': True, 'match': {'query': 'delete'}}])
    conn.send('CALL vf_drain()')
    wait_for(store.held, 'the last request')
    world.cluster.kill(rng.choice((signal.SIGKILL, signal.SIGQUIT)))
    store.release()
