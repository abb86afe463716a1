"""undoers.py: who takes purges back, holds, erases, and ends undo windows.

Roles like those of actors.py, for the seeds with voiceframe.undo_window.

Time cannot be hurried, so the harness ends a window by writing its end.  In
life that end is the same for all who ever read it.  Here it is too: nobody is
within a statement that goes by it while it is moved (Windows), though whole
transactions may be open, payments and undos among them.  Windows of a second
or two end by the clock, wherever everybody is.
"""
import contextlib
import hashlib
import threading
import time
import uuid

from parts import Violation, wait_for
from pgwire import SqlError, literal

# As the servers write it: rows that can be taken back for a while to come.
OPEN = ("FROM vf_undo u JOIN vf_undo_batch b ON b.id = u.batch_id"
        " WHERE u.restored_at IS NULL"
        " AND b.until > clock_timestamp() + interval '10 minutes'")

# Entries that wait for a window that is over, or gone by now.  What others
# have locked waits on, which is no harm.
LET_GO = (
    "UPDATE vf_outbox SET not_before = now() - interval '1 second',"
    " next_attempt_at = now() - interval '1 second' WHERE id IN (SELECT o.id"
    " FROM vf_outbox o WHERE o.state = 'waiting' AND o.not_before > now()"
    " AND NOT EXISTS (SELECT FROM vf_undo_batch b WHERE b.id = o.undo_batch"
    " AND b.until > clock_timestamp()) FOR UPDATE SKIP LOCKED)")
END_WINDOWS = ("UPDATE vf_undo_batch SET until = now() - interval '1 second'"
               ' WHERE until > now()')


class Payment:
    def __init__(self, token, order, witnessed):
        self.token, self.order, self.witnessed = token, order, witnessed


class Windows:
    """Many may be within a statement, or one may move the ends."""

    def __init__(self):
        self.condition = threading.Condition()
        self.within, self.moving = 0, False

    @contextlib.contextmanager
    def still(self):
        with self.condition:
            self.condition.wait_for(lambda: not self.moving)
            self.within += 1
        try:
            yield
        finally:
            with self.condition:
                self.within -= 1
                self.condition.notify_all()

    @contextlib.contextmanager
    def moved(self, seconds):
        """True if nobody was within after that time at most."""
        with self.condition:
            self.moving = True
            alone = self.condition.wait_for(lambda: self.within == 0, seconds)
        try:
            yield alone
        finally:
            with self.condition:
                self.moving = False
                self.condition.notify_all()


def end_windows(conn):
    """All of them, when all is quiet."""
    conn.query('%s; %s' % (END_WINDOWS, LET_GO))


def session_id(token):
    """As World.insert() makes it."""
    return str(uuid.UUID(hashlib.md5(token.encode()).hexdigest()))


def take_back(conn, argument):
    """vf_undo_purge(); what it says is not put back must not be there."""
    rows = conn.query('SELECT session_id, outcome FROM vf_undo_purge(%s)'
                      % argument)
    kept = [literal(name) for name, outcome in rows
            if outcome in ('in flight', 'objects gone')]
    if kept and conn.query('SELECT 1 FROM sessions WHERE id::text IN (%s)'
                           % ', '.join(kept)):
        raise Violation('P3: put back, though its objects go or are gone')
    return rows


class Undoer:
    """One who changes his mind, in a transaction that may be rolled back."""

    def __init__(self, stage, rng, conn):
        self.stage, self.world, self.rng = stage, stage.world, rng
        self.conn = conn
        self.tokens = {session_id(t): t for t in self.world.sessions}

    def run(self):
        ways = ((self.undo_token, 6), (self.undo_run, 1), (self.hold, 2),
                (self.release, 2), (self.erase, 2), (self.discard_token, 1),
                (self.discard_run, 1))
        while not self.stage.over.is_set():
            way = self.rng.choices([w for w, _ in ways],
                                   [n for _, n in ways])[0]
            try:
                way()
            except SqlError as error:
                self.stage.note(error)
                self.conn.query('ROLLBACK')
            time.sleep(self.rng.random() / 30)

    def pick(self, what, source):
        found = self.conn.column('SELECT %s %s ORDER BY random() LIMIT 1'
                                 % (what, source))
        return found[0] if found else None

    def end(self, then=None):
        """Stay open a while, then commit; or not.  True if it is certain."""
        time.sleep(self.rng.random() / 30)
        if self.rng.random() < 0.15:
            self.conn.query('ROLLBACK')
            return False
        # Before the commit, as its answer may never come.
        if then is not None:
            with self.world.lock:
                then()
        self.conn.query('COMMIT')
        return True

    # Taking back

    def undo(self, argument):
        self.conn.query('BEGIN')
        doubtful = set(self.conn.column('SELECT key FROM vf_lookup'))
        with self.world.windows.still():
            rows = take_back(self.conn, argument)
        self.end(lambda: self.promise(rows, doubtful))

    def promise(self, rows, doubtful):
        """What had no object when it was purged again has none now."""
        for name, outcome in rows:
            token = self.tokens[name]
            self.world.tally[outcome] += 1
            if outcome == 'restored' and not doubtful.intersection(
                    self.world.sessions[token].keys):
                self.world.promised.add(token)
            elif outcome in ('restored', 'uncertain'):
                self.world.promised.discard(token)

    def undo_token(self):
        token = self.pick('session_token',
                          'FROM vf_undo WHERE restored_at IS NULL')
        if token:
            self.undo(literal(token))

    def undo_run(self):
        run = self.pick('run_id', 'FROM vf_undo_batch')
        if run:
            self.undo(run)

    # Letting go for good

    def discard_token(self):
        token = self.pick('session_token', 'FROM vf_undo')
        if token:
            self.give_up([token])
            self.conn.query('BEGIN; SELECT vf_undo_discard(%s)'
                            % literal(token))
            self.end()

    def discard_run(self):
        """One snapshot, so that what is counted is what goes."""
        run = self.pick('run_id', 'FROM vf_undo_batch')
        if not run:
            return
        self.conn.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
        self.give_up(self.conn.column(
            'SELECT session_token FROM vf_undo WHERE batch_id IN'
            ' (SELECT id FROM vf_undo_batch WHERE run_id = %s)' % run))
        self.conn.query('SELECT vf_undo_discard(%s)' % run)
        self.end()

    def give_up(self, tokens):
        with self.world.lock:
            self.world.discarded.update(tokens)

    def kept(self):
        with self.world.lock:
            return [s.token for s in self.world.sessions.values()
                    if s.kind in ('paid', 'checkout')]

    def erase(self):
        chance = self.rng.random()
        if chance < 0.5:
            token = self.pick('session_token',
                              'FROM vf_undo WHERE restored_at IS NULL')
        elif chance < 0.8:
            token = self.rng.choice(self.stage.targets).token
        else:                           # which an order keeps: refused
            token = self.rng.choice(self.kept())
        if not token:
            return
        self.give_up([token])
        self.conn.query('BEGIN')
        self.conn.query('SELECT * FROM vf_erase_session(%s)' % literal(token))
        if self.end():
            with self.world.lock:
                self.world.erased.add(token)
                self.world.tally['erased'] += 1

    # Holding

    def hold(self):
        token = self.rng.choice(self.stage.targets).token
        until = self.rng.choice(('NULL', "now() + interval '1 hour'",
                                 "clock_timestamp() + interval '150 ms'"))
        self.conn.query("BEGIN; SELECT vf_hold(%s, %s, 'of interest')" % (
            literal(token), until))
        self.end()

    def release(self):
        token = self.pick('session_token', 'FROM vf_hold')
        if token:
            with self.world.lock:
                self.world.promised.discard(token)
            self.conn.query('BEGIN; SELECT vf_release(%s)' % literal(token))
            self.end()


def undoer(stage, rng):
    conn = stage.connect('-c lock_timeout=%d' % rng.choice((0, 50, 400)))
    stage.ours.append(conn)
    Undoer(stage, rng, conn).run()


def late_payer(stage, rng):
    """Pays for what is gone, while it can be brought back."""
    conn, watch = stage.connect(), stage.connect()
    targets = {t.token: t for t in stage.targets}
    while not stage.over.is_set():
        gone = watch.column('SELECT u.session_token %s ORDER BY random()'
                            ' LIMIT 3' % OPEN)
        for token in gone:
            if token not in targets:
                continue
            try:
                if stage.pay(conn, watch, rng, targets[token]):
                    conn = stage.connect()
            except SqlError as error:
                stage.note(error)
                conn.query('ROLLBACK')
        time.sleep(rng.random() / 50)


def clock(stage, rng):
    """Windows end, some at a time, whatever is under way."""
    conn = stage.connect('-c lock_timeout=200')
    while not stage.over.is_set():
        with stage.world.windows.moved(0.02) as alone:
            try:
                if alone:
                    conn.query(
                        "UPDATE vf_undo_batch SET until = clock_timestamp()"
                        " - interval '1 ms' WHERE id IN (SELECT id FROM"
                        ' vf_undo_batch WHERE until > now() ORDER BY random()'
                        ' LIMIT %d); %s' % (rng.randint(1, 2), LET_GO))
            except SqlError as error:
                stage.note(error)
        stage.over.wait(0.05 + rng.random() / 5)


def window_scene(stage, rng):
    """Windows end while sessions are being put back, and a drain comes by.

    It must see who has said so, though their rows are not there yet.  Of a
    batch that is being undone the entries are locked; not so of one whose
    session comes back by a payment, nor others with a key in common.
    """
    world = stage.world
    world.admin.query('CALL vf_purge()')
    gone = world.admin.column('SELECT u.session_token %s ORDER BY random()'
                              ' LIMIT 4' % OPEN)
    targets = {t.token: t for t in stage.targets}
    conns = []
    for token in gone:
        if token not in targets:
            continue
        conn = stage.connect('-c lock_timeout=100')
        try:
            put_back(stage, conn, rng, targets[token])
            conns.append(conn)
        except SqlError:
            conn.query('ROLLBACK')      # another one has the batch
    end_windows(world.admin)
    world.admin.query('CALL vf_drain()')
    for conn in conns:
        conn.query(rng.choice(('COMMIT', 'COMMIT', 'ROLLBACK')))


def put_back(stage, conn, rng, target):
    """In a transaction that stays open."""
    conn.query('BEGIN')
    if stage.plan['guard'] and rng.random() < 0.7:
        order = stage.pay_statement(conn, rng, target)
        if order:
            stage.world.payments.append(Payment(
                target.token, order, stage.sees(conn, target)))
    else:
        conn.query('SELECT * FROM vf_undo_purge(%s)' % literal(target.token))


def flight_scene(stage, rng):
    """Somebody takes back what a request is under way for."""
    world, store = stage.world, stage.world.store
    world.admin.query('CALL vf_purge()')
    end_windows(world.admin)
    store.faults([{'hold': True, 'match': {'query': 'delete'}}])
    drain, conn = stage.connect(), stage.connect('-c lock_timeout=1000')
    drain.send('CALL vf_drain()')
    wait_for(store.held, 'a request under way')
    for token in world.admin.column('SELECT session_token FROM vf_undo WHERE'
                                    ' restored_at IS NULL ORDER BY random()'
                                    ' LIMIT %d' % rng.randint(1, 5)):
        take_back(conn, literal(token))
    store.release()
    store.faults([])
    drain.answer()
