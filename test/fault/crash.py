#!/usr/bin/python3
"""crash.py: torture of the whole extension, by seed; see crash.sh.

A round: load sessions, orders and objects; let payers, an application, purges
and drains at them, and a store that fails; kill somebody; start what is down
and let everything finish; then check what the design promises (world.py).  The
cluster and the store go on from round to round.
"""
import argparse
import functools
import os
import random
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True          # the tree must stay clean
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import actors                           # noqa: E402
import parts                            # noqa: E402
import undoers                          # noqa: E402
from pgwire import Broken, SqlError     # noqa: E402
from parts import Violation             # noqa: E402
from world import World                 # noqa: E402

KILLS = ('worker', 'backend', 'postmaster', 'immediate', 'store',
         'terminate', 'cancel', 'terminate', 'cancel')

CONF = '''
voiceframe.databases = 'voiceframe'
voiceframe.s3_credentials_file = '%(credentials)s'
voiceframe.naptime = 1
voiceframe.purge_batch_size = %(batch)d
voiceframe.purge_rate = %(rate)d
voiceframe.purge_brake_rows = 1000000000
voiceframe.s3_concurrency = %(concurrency)d
voiceframe.s3_max_attempts = 4
synchronous_commit = %(sync)s
wal_writer_delay = %(flush)s
full_page_writes = %(sync)s
max_connections = 60
voiceframe.undo_window = %(window)s
voiceframe.s3_delete_versions = %(versions)s
'''

# Every so many seeds have undo windows, or a bucket with versions.
UNDO_SEEDS = 3
VERSION_SEEDS = 4


def make_world(directory, options):
    rng = random.Random(options.seed)
    undo = options.seed % UNDO_SEEDS == 0
    versions = options.seed % VERSION_SEEDS == 0 and options.store == 'peer'
    credentials = os.path.join(directory, 'credentials')
    with open(os.open(credentials, os.O_WRONLY | os.O_CREAT, 0o600),
              'w') as f:
        f.write('[default]\naws_access_key_id = %s\n'
                'aws_secret_access_key = %s\n' % (parts.KEY, parts.SECRET))
    conf = CONF % {
        'credentials': credentials,
        # What is not flushed on purpose is then lost by a crash.
        'sync': 'on' if options.seed % 2 else 'off',
        'flush': '200ms' if options.seed % 2 else '5s',
        'batch': rng.choice((5, 8, 12)), 'rate': rng.choice((0, 800)),
        'concurrency': rng.randint(2, 4),
        'window': '1h' if undo else '0',
        'versions': 'on' if versions else 'off'}
    store = (parts.Ceph if options.store == 'ceph' else parts.Peer)(
        directory)
    try:
        cluster = parts.Cluster(directory, conf.split('\n'), options.library)
    except BaseException:
        store.stop()
        raise
    return World(cluster, store, options.seed, undo, versions)


def make_plan(rng, world):
    store, scenes = world.store, [None]
    if world.undo and store.faults_work:
        scenes = [None, None, undoers.window_scene, undoers.flight_scene]
    return {
        'scene': rng.choice(scenes),
        'guard': rng.random() < 0.5,
        'queue': rng.random() < 0.5,
        'worker': rng.random() < 0.6,
        'row_gate': rng.random() < 0.35,
        'lease': store.faults_work and rng.random() < 0.25,
        'bad_store': store.faults_work and rng.random() < 0.6,
        'power': store.faults_work and rng.random() < 0.15,
        'patience': rng.choice((0.1, 0.3)),
        'kills': KILLS}


class Round:
    def __init__(self, world, number):
        self.world, self.number = world, number
        self.rng = random.Random('%s/%d' % (world.seed, number))
        self.plan = make_plan(self.rng, world)

    def run(self):
        self.prepare()
        if self.plan['scene']:
            self.plan['scene'](self.stage, self.rng)
        elif self.plan['lease']:
            actors.lease_scene(self.stage, self.rng)
        if self.plan['power']:
            actors.power_scene(self.stage, self.rng)
        else:
            self.play()
        self.recover()
        self.settle()
        if self.stage.strange:
            raise Violation('; '.join(self.stage.strange[:3]))
        before = self.world.look()
        self.world.check(before)
        self.check_second(before)
        self.world.forget_old_rounds()

    def prepare(self):
        admin, plan = self.world.admin, self.plan
        admin.query('SELECT * FROM vf_configure(payment_guard => %s,'
                    ' queue_deletes => %s)' % (plan['guard'], plan['queue']))
        sessions = self.world.load_round(self.number, self.rng)
        if plan['row_gate']:
            admin.query("CREATE TRIGGER row_gate BEFORE DELETE ON sessions"
                        " FOR EACH ROW EXECUTE FUNCTION public.gate('4712')")
        self.stage = actors.Stage(self.world, self.number, sessions, plan)
        if self.world.undo and self.rng.random() < 0.7:
            # Else the best of the round is over before there is any undo.
            admin.query('SELECT * FROM vf_purge_now()')

    def play(self):
        stage, plan = self.stage, self.plan
        roles = [('payer1', stage.payer), ('payer2', stage.payer),
                 ('attacher', stage.attacher), ('purger', stage.purger),
                 ('drainer1', stage.drainer), ('killer', stage.killer),
                 ('gatekeeper', stage.gatekeeper), ('arrivals', stage.arrive)]
        if plan['worker']:
            self.world.admin.query('SELECT vf_worker_start()')
        else:
            roles.append(('drainer2', stage.drainer))
        if plan['queue']:
            roles.append(('application', stage.app_deletes))
        if plan['bad_store']:
            self.world.store.faults([stage.fault(self.rng) for _ in range(
                self.rng.randint(1, 4))])
            roles.append(('store', stage.bad_store))
        if self.world.undo:
            roles += [(name, functools.partial(function, stage))
                      for name, function in (
                          ('undoer1', undoers.undoer),
                          ('undoer2', undoers.undoer),
                          ('late payer1', undoers.late_payer),
                          ('late payer2', undoers.late_payer),
                          ('clock', undoers.clock))]
        for name, function in roles:
            stage.start(name, function)
        stage.over.wait((0.6 if self.world.undo else 0.3)
                        + self.rng.random() / 3)
        stage.over.set()

    # After the kill

    def recover(self):
        """Start what is down; all that was under way comes to its end."""
        world, store = self.world, self.world.store

        began = time.monotonic()

        def quiet():
            try:
                store.faults([])
                store.release()
            except OSError:
                pass                    # just killed; started again below
            # Without the guard each batch would wait for them.
            self.end_transactions()
            if time.monotonic() - began > 1:
                self.cancel()
            return not [t for t in self.stage.threads if t.is_alive()]
        parts.wait_for(quiet, 'the actors to end', 60)
        self.stage.join()
        if not store.running():
            store.start()
        store.faults([])
        store.release()
        world.cluster.start()
        parts.wait_for(self.reconnect, 'a connection', 60)
        for conn in self.stage.all:
            conn.close()
        world.insert_missing()
        parts.wait_for(self.alone, 'the others to be gone', 60)
        parts.wait_for(lambda: store.busy() == 0, 'requests to end', 60)
        # Another start of the server waits until the lease of the old is over.
        store.grow_old()
        # A row that a crash brought back would soon be purged once more.
        world.check_live(world.look())

    def cancel(self):
        """A drain that has learned to be slow would take its time."""
        try:
            for conn in self.stage.ours:
                self.world.admin.query('SELECT pg_cancel_backend(%d)'
                                       % conn.pid)
        except (Broken, SqlError):
            pass                        # killed

    def reconnect(self):
        try:
            self.world.admin.close()
            self.world.connect()
            self.world.admin.query('SELECT vf_worker_stop()')
            return True
        except (Broken, SqlError):
            return False

    def end_transactions(self):
        """Those left open over the kill, if they are still there."""
        while self.stage.left_open:
            conn = self.stage.left_open.pop()
            try:
                conn.query(self.rng.choice(('COMMIT', 'ROLLBACK')))
            except (Broken, SqlError):
                pass

    def alone(self):
        """No holder of a lease lives; none may when leases are ended."""
        if self.world.store.faults_work:
            self.world.store.release()
        self.world.admin.query('SELECT vf_worker_stop()')
        return not self.world.admin.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = 'voiceframe'"
            " AND pid <> pg_backend_pid() AND backend_type IN"
            " ('client backend', 'voiceframe_retention worker')")

    # To the end

    def settle(self):
        admin = self.world.admin
        admin.query('DROP TRIGGER IF EXISTS row_gate ON sessions')
        if self.world.undo:
            self.settle_undo()
        for _ in range(30):
            undoers.end_windows(admin)
            # Holders are dead and the store has no request of theirs.
            admin.query(
                "UPDATE vf_outbox SET next_attempt_at = now() - interval"
                " '1 second' WHERE state IN ('waiting', 'claimed');"
                ' UPDATE vf_bucket SET next_attempt_at = NULL;'
                + actors.FULL_PACE)
            self.call('CALL vf_purge()')
            self.call('CALL vf_drain()')
            admin.query('SELECT vf_outbox_retry()')
            if not admin.query("SELECT 1 FROM vf_outbox"
                               " WHERE state <> 'cancelled' LIMIT 1"):
                break
        self.call('CALL vf_purge()')
        held = admin.query("SELECT id FROM vf_outbox WHERE state = 'claimed'")
        if held:
            raise Violation('P4: entry %s keeps its lease' % held[0][0])

    def settle_undo(self):
        """With the windows as they are; and take back something in peace."""
        admin = self.world.admin
        for _ in range(2):
            admin.query("UPDATE vf_outbox SET next_attempt_at = now() -"
                        " interval '1 second' WHERE state IN ('waiting',"
                        " 'claimed'); UPDATE vf_bucket SET next_attempt_at ="
                        ' NULL;' + actors.FULL_PACE)
            self.call('CALL vf_purge()')
            self.call('CALL vf_drain()')
        self.world.check_open()
        last = undoers.Undoer(self.stage, self.rng, admin)
        for way in (last.undo_run, last.undo_token):
            try:
                way()
            except SqlError as error:
                if error.state != '42704':      # nothing to put back
                    raise Violation('undo when all was quiet: %s' % error)
                admin.query('ROLLBACK')
        self.world.check_open()

    def call(self, statement):
        try:
            self.world.admin.query(statement)
        except SqlError as error:
            raise Violation('%s failed when all was quiet: %s' % (
                statement, error))

    def check_second(self, before):
        """A second run changes nothing, and no run is left open."""
        admin = self.world.admin
        self.call('CALL vf_purge()')
        self.call('CALL vf_drain()')
        after = self.world.look()
        if not before.same(after):
            raise Violation('a second run changed something')
        running = admin.query("SELECT kind, id FROM vf_run"
                              " WHERE outcome = 'running'")
        # A kind that never ran again has not had its next run.
        if [k for k, _ in running if k == 'purge']:
            raise Violation('P10: purge %s is left running' % running[0][1])
        late = admin.query(
            "SELECT r.id FROM vf_run r WHERE r.outcome = 'running' AND EXISTS"
            " (SELECT FROM vf_run l WHERE l.kind = r.kind AND l.id > r.id"
            " AND l.outcome <> 'interrupted')")
        if late:
            raise Violation('P10: run %s is left running' % late[0][0])


def rounds(world, options, started):
    at, log = 0, 0
    while at < options.rounds and (
            not options.seconds
            or time.monotonic() - started < options.seconds):
        at += 1
        try:
            Round(world, at).run()
            log = world.check_log(log)
        except (Violation, parts.Late, SqlError, Broken) as fault:
            print('VIOLATION seed %d round %d: %s' % (
                options.seed, at, fault), flush=True)
            return at, False
        if at % 10 == 0:
            print('round %d, %.2f s each' % (
                at, (time.monotonic() - started) / at), flush=True)
    return at, True


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--rounds', type=int, default=100)
    p.add_argument('--seconds', type=float, default=0)
    p.add_argument('--seed', type=int)
    p.add_argument('--store', choices=('peer', 'ceph'), default='peer')
    p.add_argument('--library')         # folder of another build, for mutants
    options = p.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randint(1, 999999)
    print('seed %d' % options.seed, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    directory = tempfile.mkdtemp(prefix='vf-fault.', dir='/tmp')
    world, fine = make_world(directory, options), False
    try:
        world.set_up()
        at, fine = rounds(world, options, time.monotonic())
        if world.undo:
            print('undo: ' + ', '.join('%s %d' % each for each in sorted(
                world.tally.items())))
        print('%d rounds, %d violations' % (at, not fine), flush=True)
    finally:
        world.cluster.stop()
        world.store.stop()
        if fine:
            shutil.rmtree(directory)
        else:
            print('kept: ' + directory, flush=True)
    return 0 if fine else 1


if __name__ == '__main__':
    sys.exit(main())
